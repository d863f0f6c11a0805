"""Decide, before the first row, which parts to make, and refuse what cannot come out right.

Planning costs two footers a part, the input's and the output's, and no model: a night with nothing to do opens none.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.check import check_schema
from data.contract import ModelContract
from data.errors import BadFileError, InputError, OutputError, UsageError
from data.fingerprints import fingerprint
from data.inputs import InputFile
from data.listing import resolve_inputs
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import Action, Part, PartFooter, PartKey, part_name
from runner.threads import in_threads


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes:
        parts: One for each readable input file, in input order.
        orphans: Finished parts whose input is gone.
        skipped_files: Names of files that cannot be read, with the reason.
        beyond: Finished parts that hold none of the first sequences `limit` asks for; more may show while parts are
            made.
    """

    parts: tuple[Part, ...]
    orphans: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]
    beyond: tuple[str, ...] = ()

    @property
    def to_make(self) -> tuple[Part, ...]:
        """Parts that are not finished yet."""
        return tuple(part for part in self.parts if part.action != "skip")

    def cut(self, num_parts: int) -> "RunPlan":
        """Return the plan with its first parts only; what is there of the others lies beyond the limit."""
        there = tuple(part.name for part in self.parts[num_parts:] if part.action != "make")
        return replace(self, parts=self.parts[:num_parts], beyond=there + self.beyond)


def bundle_sha256(model: bytes) -> str:
    """Return the sha256 of a bundle's bytes."""
    return hashlib.sha256(model).hexdigest()


def plan_run(inputs: Sequence[str], output: OutputDirectory, model_sha256: str, options: RunOptions) -> RunPlan:
    """Find the input files and compare each with the part that is there.

    Raises:
        InputError: An input is missing, or a file cannot be read and the options say ``fail``.
        UsageError: Two inputs would make the same part, or the output lies among the inputs.
        OutputError: The directory holds parts of another model or of other options that this run would leave there,
            or somebody else's file stands where a part belongs.
    """
    files = resolve_inputs(inputs)
    _refuse_output_among_inputs(files, output)
    names = _part_names(files)
    ledger = output.read_ledger()
    _refuse_foreign(names, ledger.foreign, output)
    footers = ledger.parts
    options_hash = options.result_hash()
    parts: list[Part] = []
    skipped, chain = [], ""
    for file, name, found in zip(files, names, in_threads(_fingerprint, files), strict=True):
        if isinstance(found, BadFileError):
            if options.on_bad_file == "fail":
                raise found
            skipped.append((file.name, str(found)))
            continue
        # A limit makes a part depend on how many rows the files before it left to it.
        chain = found if options.limit is None or not chain else hashlib.sha256(f"{chain}{found}".encode()).hexdigest()
        key = PartKey(chain, model_sha256, options_hash)
        footer = footers.get(name)
        action = _action(key, footer)
        done = footer.counts if footer is not None and action == "skip" else None
        parts.append(Part(file, name, key, found, action, done))
    orphans = tuple(sorted(set(footers) - set(names)))
    _refuse_mixture(footers, names, (model_sha256, options_hash), output, options)
    plan = RunPlan(tuple(parts), orphans, tuple(skipped))
    return plan.cut(_num_within_limit(parts, options.limit))


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
            check_schema(part.file, parquet.schema_arrow, contract.schema, options.keep, trained=True)
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
    return replace(plan, parts=kept, skipped_files=plan.skipped_files + skipped), num_rows


def _num_within_limit(parts: list[Part], limit: int | None) -> int:
    """Return how many parts are needed, as far as finished ones tell how many sequences they hold."""
    done = 0
    for place, part in enumerate(parts):
        if limit is not None and done >= limit:
            return place
        if part.done is None:
            break
        done += part.done.rows_in
    return len(parts)


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
        if not {"", ".", ".."}.isdisjoint(part_name(file).split("/")):
            raise InputError(
                f"{file.path}: a part of that name would lie outside the output directory. Rename the input."
            )
        other = names.setdefault(part_name(file), file)
        if other is not file:
            raise UsageError(
                f"{other.path} and {file.path} would both become {part_name(file)} in the output. Give their common "
                "parent directory as one input, or run them into two output directories."
            )
    return list(names)


def _refuse_output_among_inputs(files: Sequence[InputFile], output: OutputDirectory) -> None:
    def real(path: str) -> str:
        return os.path.realpath(path) if output.is_local else path.rstrip("/")

    inside = real(output.path) + "/"
    near = [file for file in files if file.filesystem.type_name == output.filesystem.type_name]
    roots = {root: real(root) + "/" for root in {file.root for file in near}}
    for file in near:
        reaches = file.recursive and inside.startswith(roots[file.root])
        if reaches or (roots[file.root] + file.name).startswith(inside):
            raise UsageError(
                f"the output directory {output.given} and the input {file.root} lie within each other: the next run "
                "would take vectors for input. Give an --out outside the input."
            )


def _refuse_foreign(names: Sequence[str], foreign: frozenset[str], output: OutputDirectory) -> None:
    """Refuse to write over what no run of ours made, whatever the options say: it may be the only copy."""
    name = next((name for name in names if name in foreign), None)
    if name is not None:
        raise OutputError(
            f"{output.given}: {name} is a Parquet file that seqembed did not write, and stands where a part belongs. "
            "Move it away, or give another --out."
        )


def _refuse_mixture(
    footers: dict[str, PartFooter],
    names: Sequence[str],
    maker: tuple[str, str],
    output: OutputDirectory,
    options: RunOptions,
) -> None:
    """Refuse to put parts beside those of another maker, unless this run replaces or removes those."""
    for name, footer in footers.items():
        if (footer.key.model_sha256, footer.key.options_hash) == maker:
            continue
        # Of the parts behind the first one, nobody knows beforehand which hold sequences within the limit.
        may_stay = name not in names or (options.limit is not None and name != names[0])
        if name in names and not options.overwrite:
            remedy = "--overwrite to replace the old parts once the new ones are complete"
        elif may_stay and not options.prune:
            remedy = "--prune to remove the parts whose input is gone, or lies beyond --limit"
        else:
            continue
        is_other_model = footer.key.model_sha256 != maker[0]
        what = "another model" if is_other_model else "other options (--keep, --limit, --on-bad-row or --dtype)"
        raise OutputError(
            f"{output.given}: {name} was made by {what}. Vectors of two makers do not mix: give another --out, or "
            f"{remedy}."
        )
