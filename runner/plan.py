"""Decide, before the first row, which parts to make, and refuse what cannot come out right.

Planning costs two footers a part, the input's and the output's, and no model: a night with nothing to do opens none.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from data.check import check_schema
from data.contract import ModelContract
from data.errors import BadFileError, InputError, OutputError, UsageError
from data.inputs import InputFile, fingerprint, resolve_inputs
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import Action, Part, PartFooter, PartKey, part_name

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_READERS = 8


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes:
        parts: One for each readable input file, in input order.
        orphans: Finished parts whose input is gone.
        skipped_files: Names of files that cannot be read, with the reason.
    """

    parts: tuple[Part, ...]
    orphans: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]

    @property
    def to_make(self) -> tuple[Part, ...]:
        """Parts that are not finished yet."""
        return tuple(part for part in self.parts if part.action != "skip")


def bundle_sha256(model: bytes) -> str:
    """Return the sha256 of a bundle's bytes."""
    return hashlib.sha256(model).hexdigest()


def plan_run(inputs: Sequence[str], output: OutputDirectory, model_sha256: str, options: RunOptions) -> RunPlan:
    """Find the input files and compare each with the part that is there.

    Raises:
        InputError: An input is missing, or a file cannot be read and the options say ``fail``.
        UsageError: Two inputs would make the same part, or the output lies among the inputs.
        OutputError: The directory holds parts of another model or of other options, and `overwrite` is off.
    """
    files = resolve_inputs(inputs)
    _refuse_output_among_inputs(files, output)
    names = _part_names(files)
    footers = output.footers()
    options_hash = options.result_hash()
    parts, skipped = [], []
    for file, name, found in zip(files, names, in_threads(_fingerprint, files), strict=True):
        if isinstance(found, BadFileError):
            if options.on_bad_file == "fail":
                raise found
            skipped.append((file.name, str(found)))
            continue
        key = PartKey(found, model_sha256, options_hash)
        footer = footers.get(name)
        action = _action(key, footer)
        done = footer.counts if footer is not None and action == "skip" else None
        parts.append(Part(file, name, key, action, done))
    _refuse_mixture(parts, footers, output, options)
    parts = _within_limit(parts, options.limit)
    return RunPlan(tuple(parts), tuple(sorted(set(footers) - set(names))), tuple(skipped))


def check_inputs(plan: RunPlan, contract: ModelContract, options: RunOptions) -> tuple[RunPlan, int]:
    """Hold every file that is to be read against the contract, before the first row of any is.

    Returns:
        The plan without the files that turned out unreadable, where the options allow it, and the rows to read.

    Raises:
        BadFileError: A file cannot be read, and the options say ``fail``.
        InputError: A file does not fit the contract.
        UsageError: A column would stand in the output twice.
    """
    names = [contract.schema.id, *options.keep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--keep {twice}: that column is in the output already. Name it once.")

    def check(part: Part) -> int | BadFileError | InputError:
        try:
            parquet = part.file.open()
            check_schema(part.file, parquet.schema_arrow, contract.schema, options.keep)
            return int(parquet.metadata.num_rows)
        except InputError as error:
            return error

    dropped: dict[str, str] = {}
    num_rows = 0
    for part, found in zip(plan.to_make, in_threads(check, plan.to_make), strict=True):
        if isinstance(found, BadFileError) and options.on_bad_file == "skip":
            dropped[part.name] = str(found)
        elif isinstance(found, InputError):
            raise found
        else:
            num_rows += found
    kept = tuple(part for part in plan.parts if part.name not in dropped)
    skipped = tuple((part.file.name, dropped[part.name]) for part in plan.parts if part.name in dropped)
    return RunPlan(kept, plan.orphans, plan.skipped_files + skipped), num_rows


def in_threads(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return `work` of every item, in order; reading thousands of footers waits for storage, not for the processor."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="footer") as pool:
        return list(pool.map(work, items))


def _within_limit(parts: list[Part], limit: int | None) -> list[Part]:
    """Leave out the parts that finished ones before them have made unnecessary."""
    done = 0
    for place, part in enumerate(parts):
        if limit is not None and done >= limit:
            return parts[:place]
        if part.done is None:
            return parts
        done += part.done.rows_in
    return parts


def _fingerprint(file: InputFile) -> str | BadFileError:
    try:
        return fingerprint(file)
    except BadFileError as error:
        return error


def _action(key: PartKey, footer: PartFooter | None) -> Action:
    if footer is None:
        return "make"
    if footer.key == key:
        return "skip"
    same_maker = (footer.key.model_sha256, footer.key.options_hash) == (key.model_sha256, key.options_hash)
    return "remake" if same_maker else "replace"


def _part_names(files: Sequence[InputFile]) -> list[str]:
    names: dict[str, InputFile] = {}
    for file in files:
        other = names.setdefault(part_name(file), file)
        if other is not file:
            raise UsageError(
                f"{other.path} and {file.path} would both become {part_name(file)} in the output. Give their common "
                "parent directory as one input, or run them into two output directories."
            )
    return list(names)


def _refuse_output_among_inputs(files: Sequence[InputFile], output: OutputDirectory) -> None:
    inside = output.path.rstrip("/") + "/"
    for file in files:
        reaches = file.recursive and inside.startswith(file.root.rstrip("/") + "/")
        if file.filesystem.type_name == output.filesystem.type_name and (reaches or file.path.startswith(inside)):
            raise UsageError(
                f"the output directory {output.given} and the input {file.root} lie within each other: the next run "
                "would take vectors for input. Give an --out outside the input."
            )


def _refuse_mixture(
    parts: Sequence[Part], footers: dict[str, PartFooter], output: OutputDirectory, options: RunOptions
) -> None:
    if options.overwrite:
        return
    replaced = next((part for part in parts if part.action == "replace"), None)
    if replaced is None:
        return
    found = footers[replaced.name].key
    if found.model_sha256 != replaced.key.model_sha256:
        what = "another model"
    else:
        what = "other options (--keep, --limit or --on-bad-row)"
    raise OutputError(
        f"{output.given}: {replaced.name} was made by {what}. Vectors of two makers do not mix: give another --out, "
        "or --overwrite to replace the old parts once the new ones are complete."
    )
