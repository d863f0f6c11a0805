"""Describe an output directory of `seqembed group`: its events and ids, and what grouping again would read."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.fingerprints import fingerprint
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.plurals import counted
from seqembed.runner.group.census import read_census
from seqembed.runner.inspect.facts import Facts
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.event_counts import EventCounts
from seqembed.runner.output.parts import PartFooter


def describe_grouped(
    output: OutputDirectory, footers: Mapping[str, PartFooter], facts: Facts, label: str | None = None
) -> Iterator[str]:
    """Yield a description of grouped events, from the footers of their buckets.

    Args:
        output: The directory.
        footers: Footers of its buckets, by name.
        facts: Receives the same as JSON values.
        label: Column with the label of an id, for the command that trains.

    Raises:
        OutputError: The directory may not be read.
        InputError: The label is not among the kept columns.
    """
    options = next(iter(footers.values())).options
    if label is not None:
        _require_label(output, options, label)
    counts = sum((footer.events for footer in footers.values() if footer.events is not None), EventCounts())
    facts |= {"buckets": len(footers), "events": counts.events_out, "ids": counts.ids}
    facts |= {"first_time": counts.first and counts.first[1], "last_time": counts.last and counts.last[1]}
    facts |= {"shortest": counts.shortest, "longest": counts.longest}
    facts |= {"repeated": counts.duplicates, "truncated": counts.truncated, "varying": dict(counts.varying)}
    yield f"{output.given}: events grouped by seqembed; finished buckets: {len(footers):,}"
    yield f"{counted(counts.events_out, 'event')} of {counted(counts.ids, 'id')}"
    if counts.first is not None and counts.last is not None:
        mean = counts.events_out / counts.ids
        yield f"Times: {counts.first[1]} to {counts.last[1]}"
        yield f"Events per id: shortest {counts.shortest:,}, mean {mean:,.1f}, longest {counts.longest:,}"
    for what, number in (("repeated", counts.duplicates), ("beyond the maximum length", counts.truncated)):
        if number:
            yield f"Left out: {counted(number, 'event')}, {what}"
    for name, number in counts.varying.items():
        if number:
            yield f"'{name}' varies within {counted(number, 'id')}; a row has the newest value"
    columns = options.get("columns")
    if isinstance(columns, list):
        yield f"Columns: {', '.join(map(str, columns))}"
    success = output.read_success()
    facts |= {"columns": list(map(str, columns)) if isinstance(columns, list) else [], "finished": success is not None}
    facts["label"] = label
    if success is None:
        what = "A damaged _SUCCESS" if output.is_marked else "No _SUCCESS"
        yield f"{what}: the last job did not finish. Run it again; finished buckets are skipped."
    record = output.read_record() or {}
    if isinstance(record.get("inputs"), list):
        yield ""
        hashes = {footer.key.options_hash for footer in footers.values()}
        asked = record.get("options")
        version = asked.get("version") if isinstance(asked, dict) else None
        yield from _inputs_now(
            output,
            record["inputs"],
            version if isinstance(version, int) else None,
            hashes.pop() if len(hashes) == 1 else "",
            facts,
        )
    id_column, time_column = options.get("id"), options.get("time")
    if isinstance(id_column, str) and isinstance(time_column, str) and success is not None:
        words = ["seqembed", "train", output.given, "--id", id_column, "--time", time_column, "--out", "RUN_DIR"]
        words += [] if label is None else ["--label", label]
        facts["next"] = shlex.join(words)
        yield f"Next: {facts['next']}"


def _require_label(output: OutputDirectory, options: Mapping[str, Any], label: str) -> None:
    """Check that a row has one value of the label.

    Raises:
        InputError: It is a list of a value per event, or there is no such column.
    """
    columns, kept = (options.get(name) for name in ("columns", "keep"))
    if not isinstance(columns, list) or not isinstance(kept, list) or label in kept:
        return
    remedy = f"Group again with --keep {shlex.quote(label)} and --overwrite"
    if label == options.get("id"):
        what, remedy = "is the id", "Name another column"
    elif label == options.get("time"):
        what, remedy = "is the time of each event", "Name another column"
    elif label in columns:
        what = "is a list with a value per event"
    else:
        what, remedy = (
            "was not grouped",
            f"If the events have it, group again with --keep {shlex.quote(label)} and --overwrite",
        )
    raise InputError(
        f"{output.given}: column '{label}' {what}; expected one value per id for --label. {remedy}. "
        f"Kept are: {', '.join(map(str, kept)) or 'none'}."
    )


def _inputs_now(
    output: OutputDirectory, inputs: list[Any], version: int | None, options_hash: str, facts: Facts
) -> Iterator[str]:
    """Yield how the input files differ from those that were grouped."""
    counts, before = read_census(output, options_hash)
    try:
        files = {file.location: file for file in resolve_inputs([str(given) for given in inputs], version)}
        same = {location for location in files.keys() & counts.keys()}
        same = {location for location in same if fingerprint(files[location]) == counts[location].fingerprint}
    except (InputError, UsageError, pa.ArrowException, OSError) as error:
        facts["inputs"] = {"problem": f"The inputs of the last job cannot be found: {error}"}
        yield facts["inputs"]["problem"]
        return
    changed, new, gone = (files.keys() & before) - same, files.keys() - before, before - files.keys()
    numbers = {"unchanged": len(same), "changed": len(changed), "new": len(new), "gone": len(gone)}
    facts["inputs"] = {"problem": None, **numbers}
    yield (
        f"Compared with its inputs now: {counted(len(same), 'file')} unchanged, {len(changed):,} changed, "
        f"{len(new):,} new, {len(gone):,} gone"
    )
