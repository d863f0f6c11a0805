"""Checks before a run reads a row, so that no part is lost, duplicated or mixed up."""

import os
from collections.abc import Mapping, Sequence

from seqembed.data.errors import InputError, OutputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.runner.job.parts import Part, part_name
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartFooter


def part_names(files: Sequence[InputFile]) -> list[str]:
    """Return the name of each file's part.

    Raises:
        InputError: A part would be outside the output directory.
        UsageError: Two files have the same part.
    """
    names: dict[str, InputFile] = {}
    for file in files:
        if not {"", ".", ".."}.isdisjoint(part_name(file).split("/")):
            raise InputError(
                f"{file.path}: the part of this file would be outside the output directory. Rename the input."
            )
        other = names.setdefault(part_name(file), file)
        if other is not file:
            raise UsageError(
                f"{other.path} and {file.path} would both become {part_name(file)} in the output. Pass their common "
                "parent directory as one input, or run them into two output directories."
            )
    return list(names)


def refuse_output_among_inputs(files: Sequence[InputFile], output: OutputDirectory) -> None:
    """Check that neither inputs nor output contain the other.

    Raises:
        UsageError: They do.
    """

    def real(path: str) -> str:
        return os.path.realpath(path) if output.storage.is_local else path.rstrip("/")

    inside = real(output.path) + "/"
    near = [file for file in files if file.filesystem.type_name == output.filesystem.type_name]
    roots = {root: real(root) + "/" for root in {file.root for file in near}}
    for file in near:
        below = file.path[len(file.root.rstrip("/")) + 1 :]
        reaches = file.recursive and inside.startswith(roots[file.root])
        if reaches or (roots[file.root] + below).startswith(inside):
            raise UsageError(
                f"one of the output directory {output.given} and the input {file.root} contains the other: the next "
                "run would read its own output as input. Choose an --out outside the input."
            )


def refuse_other_files(names: Sequence[str], others: frozenset[str], output: OutputDirectory) -> None:
    """Check that no file that seqembed did not write would be replaced, whatever the options: it may be the only copy.

    Raises:
        OutputError: Such a file has the path of a part.
    """
    name = next((name for name in names if name in others), None)
    if name is not None:
        raise OutputError(
            f"{output.given}: {name} is a file that seqembed did not write, at the path of a part. "
            "Move it away, or choose another --out."
        )


def refuse_mixture(
    parts: Sequence[Part],
    orphans: Sequence[str],
    names: Sequence[str],
    footers: Mapping[str, PartFooter],
    made_by: tuple[str, str],
    output: OutputDirectory,
    options: RunOptions,
) -> None:
    """Check that parts of different models or options are not mixed, and parts of another input not replaced.

    Args:
        parts: Parts that the run would make or skip without limit.
        orphans: Finished parts whose input no longer exists.
        names: Names of the parts of all inputs.
        footers: Footers of the finished parts, by name.
        made_by: Model sha256 and options hash of this run.
        output: The output directory, for messages.
        options: Options of the run; they may allow to replace or remove old parts.

    Raises:
        OutputError: They would be, and the options do not allow it.
    """
    planned = {part.name: part for part in parts}
    for name, footer in footers.items():
        if (footer.key.model_sha256, footer.key.options_hash) == made_by:
            part = planned.get(name)
            if part is not None and part.action == "remake" and not options.overwrite:
                refuse_other_input(name, footer, part, output)
            continue
        # Which parts after the first hold sequences within the limit is not known in advance.
        may_stay = name not in names or (options.limit is not None and name != names[0])
        if name in names and not options.overwrite:
            remedy = "pass --overwrite to replace the old parts once the new ones are complete"
        elif options.only and name not in names:
            remedy = "leave out --only, and pass --overwrite to replace all parts once the new ones are complete"
        elif name not in names and name not in orphans:
            remedy = "run each input into it again; or embed all inputs in one run, with --overwrite"
        elif may_stay and not options.prune:
            remedy = "pass --prune to remove the parts whose input no longer exists or is beyond --limit"
        else:
            continue
        raise OutputError(
            f"{output.given}: {name} was made by {_differences(footer, made_by, options)}. Their vectors must not be "
            f"mixed: choose another --out, or {remedy}."
        )


def refuse_other_input(name: str, footer: PartFooter, part: Part, output: OutputDirectory) -> None:
    """Check that a finished part was not made from another file than the one that would replace it.

    Raises:
        OutputError: It was: both path and content differ.
    """
    location = part.file.location
    if footer.input != location and footer.input_content != part.content:
        raise OutputError(
            f"{output.given}: {name} was made from {footer.input}, and would be replaced by the vectors of {location}. "
            "Pass the directory above both as one input, another --out, or --overwrite to replace the part."
        )


def _differences(footer: PartFooter, made_by: tuple[str, str], options: RunOptions) -> str:
    """Return which model or options differ, with both values."""
    model_sha256, _ = made_by
    if footer.key.model_sha256 != model_sha256:
        return f"another model (sha256 {footer.key.model_sha256[:12]}…, this one {model_sha256[:12]}…)"
    now = options.result_values()
    changed = [
        f"--{name.replace('_', '-')} was {_shown(footer.options.get(name))}, is now {_shown(now.get(name))}"
        for name in (*now, *(name for name in ("score",) if name not in now))
        if footer.options.get(name) != now.get(name)
    ]
    return f"other options ({'; '.join(changed) or 'another version of seqembed'})"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if value is True:
        return "on"
    return "none" if value is None else str(value)
