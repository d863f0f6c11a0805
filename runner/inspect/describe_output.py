"""Describe an output directory: its finished parts, and what running again would do."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from pyarrow.fs import FileType

from seqembed.data.drift.drift import Drift
from seqembed.data.errors import InputError, OutputError, UsageError
from seqembed.data.files.inputs import PARQUET_SUFFIXES
from seqembed.data.plurals import counted
from seqembed.data.statistics.readable import described, lines
from seqembed.data.statistics.statistics import merged
from seqembed.runner.inspect.describe_grouped import describe_grouped
from seqembed.runner.inspect.facts import Facts
from seqembed.runner.job.plan import InputStates, RunPlan, plan_run
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import RECORD, SUCCESS, OutputDirectory
from seqembed.runner.output.history import read_history
from seqembed.runner.output.parts import PartCounts, PartFooter

_MAX_PARTS = 50


def describe_output(given: str, facts: Facts, label: str | None = None) -> Iterator[str] | None:
    """Return a description of an output directory, or of those below it; None if no run wrote there.

    Parts alone do not identify an output directory: they may have been copied from several, or lie next to their
    inputs. Nor does a success marker, which Spark writes too.

    Args:
        given: Path or URI.
        facts: Receives the same as JSON values.
        label: Label column of grouped events.

    Raises:
        OutputError: The directory may not be read.
    """
    output = OutputDirectory(given)
    ledger = output.read_ledger()
    if output.has_record or (output.is_marked and (ledger.parts or _is_readable(output.read_success() or {}))):
        return _lines(output, ledger.parts, facts, label)
    if not ledger.parts:
        return None
    below = _outputs_below(output, ledger.parts)
    if not below:
        return _lines(output, ledger.parts, facts, label)
    facts["kind"] = "outputs"
    return _overview(output, below, ledger.others, facts)


def _outputs_below(output: OutputDirectory, names: Iterable[str]) -> list[str]:
    """Return the relative paths of directories with the files that a run writes in addition to its parts."""
    directories = sorted({str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."})
    marks = [f"{output.path}/{directory}/{mark}" for directory in directories for mark in (RECORD, SUCCESS)]
    kinds = [info.type for info in output.filesystem.get_file_info(marks)]
    found = [FileType.File in kinds[2 * index : 2 * index + 2] for index in range(len(directories))]
    return [directory for directory, is_output in zip(directories, found, strict=True) if is_output]


def _overview(output: OutputDirectory, below: Sequence[str], others: Collection[str], facts: Facts) -> Iterator[str]:
    num, given = len(below), output.given.rstrip("/")
    what = "1 output directory of seqembed" if num == 1 else f"{num:,} output directories of seqembed"
    yield f"{output.given}: not an output directory itself; {what} below it:"
    yield from (f"  {given}/{directory}" for directory in below[:_MAX_PARTS])
    if num > _MAX_PARTS:
        yield f"  … and {num - _MAX_PARTS:,} more"
    data = sorted(name for name in others if name.lower().endswith(PARQUET_SUFFIXES))
    if data:
        yield f"Other Parquet files below it: {len(data):,}, such as {data[0]}"
    facts |= {"directories": [f"{given}/{directory}" for directory in below], "other_parquet_files": len(data)}
    facts["next"] = f"seqembed inspect {quote(f'{given}/{below[0]}')}"
    yield f"Next: seqembed inspect {given}/{below[0]}"


def _lines(
    output: OutputDirectory, footers: Mapping[str, PartFooter], facts: Facts, label: str | None
) -> Iterator[str]:
    if any(footer.events is not None for footer in footers.values()):
        facts["kind"] = "grouped"
        yield from describe_grouped(output, footers, facts, label)
        return
    facts["kind"] = "output"
    record = output.read_record()
    totals = sum((footer.counts for footer in footers.values()), PartCounts())
    success = output.read_success()
    yield f"{output.given}: a seqembed output directory; finished parts: {len(footers):,}"
    yield (
        f"{totals.rows_in:,} rows in = {totals.rows_embedded:,} embedded + {totals.rows_null:,} null + "
        f"{totals.rows_quarantined:,} quarantined; {totals.rows_truncated:,} truncated"
    )
    statistics = merged(footer.statistics for footer in footers.values())
    found = None if statistics is None else described(statistics)
    facts |= {"parts": len(footers), **totals.to_json()}
    facts["statistics"] = None if found is None else {name: one for name, one in found.items() if name != "exact"}
    if statistics is not None:
        yield from lines(statistics)
    facts["models"] = sorted({footer.key.model_sha256 for footer in footers.values()})
    for model in facts["models"]:
        yield f"Model sha256 {model[:16]}…"
    tables = Counter(str(footer.table) for footer in footers.values() if footer.table is not None)
    facts |= {"tables": [{"table": text, "parts": num} for text, num in tables.items()], "last_run": None}
    for text, num in tables.items():
        yield f"Made from {text}: {counted(num, 'part')}"
    if success is not None and _is_readable(success):
        facts["last_run"] = {name: success[name] for name in ("rows_made", "seconds", "model")}
        made = counted(success["rows_made"], "row")
        yield f"Last complete run: {made} made in {success['seconds']} s by {success['model']}"
        yield from _drift_line(success)
    else:
        what = "A damaged _SUCCESS" if output.is_marked else "No _SUCCESS"
        options = (record or {}).get("options")
        is_slice = isinstance(options, dict) and options.get("only")
        facts["unfinished"] = "damaged" if output.is_marked else "slice" if is_slice else "interrupted"
        why = "the last run made a slice (--only), or did not finish" if is_slice else "the last run did not finish"
        drifted = isinstance(options, dict) and options.get("fail_on_drift") is True
        why += ", or --fail-on-drift ended it" if drifted else ""
        again = "" if record is not None else " Run it again; finished parts are skipped."
        yield f"{what}: {why}.{again}"
        for newest in read_history(output.storage)[-1:]:
            yield from _drift_line(newest, is_excerpt=True)
    if record is not None or output.has_record:
        yield ""
        yield from _rerun(output, record or {}, facts)


def _nothing_to_make(plan: RunPlan, options: RunOptions, *, is_marked: bool) -> str:
    """Return what a rerun would do where every part of it is finished."""
    if is_marked:
        return "A rerun would make nothing."
    if plan.unfinished:
        return "A rerun of this slice would make nothing; _SUCCESS needs a run of the parts outside it."
    gate = ", unless drift ends it again" if options.fail_on_drift else ""
    return f"A rerun would make no part, and write _SUCCESS{gate}."


def _drift_line(value: Mapping[str, Any], *, is_excerpt: bool = False) -> Iterator[str]:
    """Yield the line about drift of a success marker or a record of the history, if it has one."""
    try:
        yield Drift.from_json(value["drift"]).line(is_excerpt=is_excerpt)
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # of an older version, or edited


def _is_readable(success: Mapping[str, Any]) -> bool:
    """Return whether a success marker has the fields that a run writes; the user may have changed it."""
    rows, seconds, model = (success.get(name) for name in ("rows_made", "seconds", "model"))
    return isinstance(rows, int) and isinstance(seconds, int | float) and isinstance(model, str)


def _rerun(output: OutputDirectory, record: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield which parts are complete, outdated, missing or orphaned, and so what running again would do."""
    rerun: dict[str, Any] = {"problem": None}
    facts["rerun"] = rerun
    # With overwrite nothing is refused: parts of another model or other options count as outdated.
    lenient = {"on_bad_file": "skip", "overwrite": True, "prune": True}
    try:
        stored = record["options"]
        lists = {name: tuple(stored[name]) for name in ("keep", "only")}
        options = RunOptions(**{**stored, **lists, **lenient})
        inputs, model_sha256 = record["inputs"], record["model_sha256"]
        names = [*inputs, *options.keep, *options.only, model_sha256, *(record.get("columns") or ())]
        if not isinstance(inputs, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("names are text")
    except (KeyError, TypeError, ValueError, UsageError):
        rerun["problem"] = (
            "The record of the last run (_RUN) is damaged or of another version; the next run rewrites it."
        )
        yield rerun["problem"]
        return
    try:
        found = InputStates.find(inputs, version=options.version, columns=record.get("columns"))
        plan = plan_run(found, output, model_sha256, options).sliced
    except InputError as error:
        rerun["problem"] = f"The inputs of the last run cannot be found: {error}"
        yield rerun["problem"]
        return
    except (OutputError, UsageError) as error:
        rerun["problem"] = f"A rerun would be refused: {error}"
        yield rerun["problem"]
        return
    states = {"skip": "complete", "make": "missing", "remake": "outdated", "replace": "outdated"}
    counts = Counter(states[part.action] for part in plan.parts)
    yield (
        f"Compared with its inputs now: {counts['complete']:,} complete, {counts['outdated']:,} outdated, "
        f"{counts['missing']:,} missing, {len(plan.orphans):,} orphaned"
    )
    named = [(states[part.action], part.name) for part in plan.parts if part.action != "skip"]
    named += [("orphaned (its input no longer exists)", name) for name in plan.orphans]
    named += [("outdated (its rows are in other parts)", name) for name in plan.superseded]
    named += [("beyond --limit", name) for name in plan.beyond]
    named += [("unreadable input", reason) for _, reason in plan.skipped_files]
    rerun |= {state: counts[state] for state in ("complete", "outdated", "missing")}
    rerun |= {"orphaned": len(plan.orphans), "make": len(plan.to_make), "unfinished_outside_only": len(plan.unfinished)}
    rerun["parts"] = [{"state": state, "name": name} for state, name in named]
    for state, name in named[:_MAX_PARTS]:
        yield f"  {state}: {name}"
    if len(named) > _MAX_PARTS:
        yield f"  … and {len(named) - _MAX_PARTS:,} more"
    if plan.to_make:
        num = len(plan.to_make)
        yield f"A rerun would make {num:,} {'part' if num == 1 else 'parts'} and skip {counts['complete']:,}."
    else:
        yield _nothing_to_make(plan, options, is_marked="unfinished" not in facts)
    if plan.unfinished:
        num = len(plan.unfinished)
        yield f"Outside {', '.join(options.only)}, {counted(num, 'part')} not finished, such as {plan.unfinished[0]}."
