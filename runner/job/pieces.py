"""Parts of divided files: their names, their keys, and parts of the same file that they replace.

`--rows-per-part` divides large files by row groups. The parts of ``a.parquet`` are ``a.part-00000.parquet``,
``a.part-00001.parquet`` and so on, in the order of rows; a file that makes one part makes ``a.parquet``. Parts
of one file that were made of another version of it, or divided otherwise, hold some of the same rows. So they are
removed before the first new part becomes visible, and the new parts become visible together.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqembed.data.errors import OutputError, UsageError
from seqembed.data.parquet.row_groups import divided
from seqembed.runner.job.parts import Part
from seqembed.runner.job.refusals import refuse_other_input
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartFooter
from seqembed.runner.output.piece_names import file_of, piece_name


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file, to plan.

    Attributes:
        name: Path of the part, relative to the output directory.
        row_groups: Its row groups; None for the complete file.
        num_rows: Its rows.
        num_row_groups: Row groups of the complete file.
    """

    name: str
    row_groups: range | None
    num_rows: int
    num_row_groups: int

    def fingerprint(self, of_file: str) -> str:
        """Return the fingerprint of this piece of a file with the fingerprint `of_file`."""
        if self.row_groups is None:
            return of_file
        return hashlib.sha256(f"{of_file}:{self.row_groups.start}:{self.row_groups.stop}".encode()).hexdigest()


def pieces_of(name: str, group_rows: Sequence[int], options: RunOptions) -> list[Piece]:
    """Divide a file.

    Args:
        name: Name of the part of the complete file.
        group_rows: Rows of each of its row groups.
        options: With the maximum number of rows of a part.
    """
    ranges = divided(group_rows, options.rows_per_part)
    if len(ranges) == 1:
        return [Piece(name, None, sum(group_rows), len(group_rows))]
    return [
        Piece(piece_name(name, index), row_groups, sum(group_rows[row_groups.start : row_groups.stop]), len(group_rows))
        for index, row_groups in enumerate(ranges)
    ]


def refuse_equal_names(parts: Sequence[Part]) -> None:
    """Check that no part of a divided file has the name of another file's part.

    Raises:
        UsageError: One has.
    """
    by_name: dict[str, Part] = {}
    for part in parts:
        other = by_name.setdefault(part.name, part)
        if other is not part:
            raise UsageError(
                f"{other.file.path} and {part.file.path} would both have a part {part.name}, since --rows-per-part "
                "divides one of them. Rename one of the files."
            )


def superseded_parts(parts: Sequence[Part], footers: Mapping[str, PartFooter]) -> tuple[str, ...]:
    """Return finished parts with rows of a planned file that is, or was, divided, and that are not skipped.

    Args:
        parts: The planned parts.
        footers: Footers of the finished parts, by name.
    """
    by_name = {part.name: part for part in parts}
    by_file: dict[str, list[Part]] = {}
    for part in parts:
        by_file.setdefault(file_of(part.name, part.row_groups), []).append(part)
    found = []
    for name, footer in footers.items():
        planned = by_file.get(file_of(name, footer.row_groups), [])
        is_divided = footer.row_groups is not None or len(planned) > 1
        if planned and is_divided and (name not in by_name or by_name[name].action != "skip"):
            found.append(name)
    return tuple(sorted(found))


def refuse_other_division(
    parts: Sequence[Part],
    superseded: Sequence[str],
    footers: Mapping[str, PartFooter],
    output: OutputDirectory,
    options: RunOptions,
) -> None:
    """Check that finished parts are not made again only since ``--rows-per-part`` is another one.

    Raises:
        OutputError: They would be, and ``--overwrite`` is not given; or they hold rows of another file.
    """
    ranges = {part.name: part.row_groups for part in parts}
    of_file = {file_of(part.name, part.row_groups): part for part in parts}
    for name in () if options.overwrite else superseded:
        footer, now = footers[name], ranges.get(name)
        part = of_file[file_of(name, footer.row_groups)]
        if footer.input_content != part.content:
            refuse_other_input(name, footer, part, output)
        elif name not in ranges or footer.row_groups is None or range(*footer.row_groups[:2]) != now:
            before = footer.options.get("rows_per_part")
            remedy = "Omit it" if before is None else f"Pass --rows-per-part {before}"
            raise OutputError(
                f"{output.given}: {name} is a finished part of {part.file.name}, which --rows-per-part "
                f"{options.rows_per_part or '(not given)'} would divide otherwise. {remedy} to keep the finished "
                "parts, or pass --overwrite to replace them once the new ones are complete."
            )
