"""The slice of the parts that `--only` chooses, and the state of the parts outside it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from seqembed.data.errors import UsageError
from seqembed.data.files.globs import matches_any
from seqembed.data.files.inputs import InputFile
from seqembed.runner.job.parts import Part
from seqembed.runner.output.parts import PartFooter, PartKey
from seqembed.runner.output.piece_names import file_of

_MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PartSlice:
    """Parts whose path one of some globs matches; without globs, all parts.

    Attributes:
        globs: A glob is compared name by name with the directories and the file name of a part's path, from the
            start. If it matches a directory, it matches every part below.
    """

    globs: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Return whether a part belongs to the slice, by its path relative to the output directory."""
        return not self.globs or any(_covers(glob, name) for glob in self.globs)

    def refuse_unmatched(self, names: Sequence[str], orphans: Collection[str]) -> None:
        """Check that every glob matches a planned part, or one whose input no longer exists.

        Raises:
            UsageError: A glob matches none.
        """
        paths = [*names, *orphans]
        for glob in self.globs:
            if any(_covers(glob, name) for name in paths):
                continue
            shown = ", ".join(paths[:_MAX_SHOWN])
            more = f" and {len(paths) - _MAX_SHOWN:,} more" if len(paths) > _MAX_SHOWN else ""
            raise UsageError(
                f"--only {glob}: no part's path matches. The paths of the parts are {shown}{more}. Pass a glob for the "
                "first directory of a path or for more of it; ** stands for any number of directories."
            )


def part_outside(file: InputFile, name: str, footer: PartFooter | None, made_by: tuple[str, str]) -> Part | None:
    """Return a finished part outside the slice, or None if it is not there or of another model, options or input.

    Only the part's footer is read, not the input: whether the input has changed since is left to a run that makes it.

    Args:
        file: Its input.
        name: Its path relative to the output directory.
        footer: Its footer, if it is a complete file.
        made_by: Model sha256 and options hash of the run.
    """
    if footer is None or (footer.key.model_sha256, footer.key.options_hash) != made_by or footer.input != file.location:
        return None
    key = PartKey(footer.key.input_fingerprint, *made_by)
    made_of = footer.key.input_fingerprint, footer.input_content
    bounds = footer.row_groups
    return Part(
        *(file, name, key, *made_of, "leave", footer.counts),
        layout=footer.layout,
        statistics=footer.statistics,
        row_groups=None if bounds is None else range(*bounds[:2]),
        num_row_groups=0 if bounds is None else bounds[2],
    )


def parts_outside(
    files: Sequence[tuple[InputFile, str]], footers: Mapping[str, PartFooter], made_by: tuple[str, str]
) -> tuple[list[Part], tuple[str, ...]]:
    """Return the finished parts of some files outside the slice, and the names of those that are not finished."""
    names_of: dict[str, list[str]] = {}
    for name, footer in sorted(footers.items(), key=lambda found: found[1].row_groups or (0, 0, 0)):
        names_of.setdefault(file_of(name, footer.row_groups), []).append(name)
    left, unfinished = list[Part](), list[str]()
    for file, name in files:
        names = names_of.get(name, [])
        parts = [part for each in names if (part := part_outside(file, each, footers[each], made_by)) is not None]
        if parts and len(parts) == len(names) and _are_complete([footers[each] for each in names]):
            left += parts
        else:
            unfinished.append(name)
    return left, tuple(unfinished)


def _are_complete(footers: Sequence[PartFooter]) -> bool:
    """Return whether the parts of a file, in order, hold all row groups of one version of it, once."""
    bounds = [footer.row_groups for footer in footers if footer.row_groups is not None]
    if len(bounds) < len(footers):
        return len(footers) == 1
    starts, ends = [start for start, _, _ in bounds], [end for _, end, _ in bounds]
    return [*starts, bounds[0][2]] == [0, *ends] and len({footer.input_content for footer in footers}) == 1


def _covers(glob: str, name: str) -> bool:
    directory = glob.rstrip("/")
    return matches_any(name, (f"{directory}/**",) if glob.endswith("/") else (directory, f"{directory}/**"))
