"""Decide, before the first row, which parts to make, and refuse what cannot come out right."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from data.check import check_schema
from data.contract import ModelContract
from data.errors import OutputError, UsageError
from data.inputs import InputFile, fingerprint, resolve_inputs
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import Action, Part, PartFooter, PartKey, part_name


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes:
        parts: One for each input file, in input order.
        orphans: Finished parts whose input is gone.
    """

    parts: tuple[Part, ...]
    orphans: tuple[str, ...]

    @property
    def to_make(self) -> tuple[Part, ...]:
        """Parts that are not finished yet."""
        return tuple(part for part in self.parts if part.action != "skip")


def bundle_sha256(model: bytes) -> str:
    """Return the sha256 of a bundle's bytes."""
    return hashlib.sha256(model).hexdigest()


def plan_run(
    inputs: Sequence[str], output: OutputDirectory, contract: ModelContract, model_sha256: str, options: RunOptions
) -> RunPlan:
    """Find the input files, hold each against the contract, and compare with the parts that are there.

    Raises:
        InputError: An input is missing or does not fit the contract.
        UsageError: Two inputs would make the same part, or the output lies among the inputs.
        OutputError: The directory holds parts of another model or of other options, and `overwrite` is off.
    """
    files = resolve_inputs(inputs)
    _refuse_output_among_inputs(files, output)
    names = _part_names(files)
    footers = output.footers()
    options_hash = options.result_hash()
    parts = []
    for file, name in zip(files, names, strict=True):
        parquet = file.open()
        check_schema(file, parquet.schema_arrow, contract.schema, options.keep)
        _refuse_twice_named(contract, options)
        key = PartKey(fingerprint(file), model_sha256, options_hash)
        footer = footers.get(name)
        action = _action(key, footer)
        done = footer.counts if footer is not None and action == "skip" else None
        parts.append(Part(file, name, key, parquet.metadata.num_rows, action, done))
    _refuse_mixture(parts, footers, output, options)
    return RunPlan(tuple(parts), tuple(sorted(set(footers) - set(names))))


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


def _refuse_twice_named(contract: ModelContract, options: RunOptions) -> None:
    names = [contract.schema.id, *options.keep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--keep {twice}: that column is in the output already. Name it once.")


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
    what = "another model" if found.model_sha256 != replaced.key.model_sha256 else "other options (--keep or --limit)"
    raise OutputError(
        f"{output.given}: {replaced.name} was made by {what}. Vectors of two makers do not mix: give another --out, "
        "or --overwrite to replace the old parts once the new ones are complete."
    )
