"""An output directory in plain words: what is finished, and what the same run would do now."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from data.errors import InputError, OutputError, UsageError
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import PartCounts, PartFooter
from runner.plan import InputStates, plan_run

_MOST_PARTS = 50


def describe_output(given: str) -> Iterator[str] | None:
    """Return lines that say what an output directory holds; None where no run wrote there.

    Raises:
        OutputError: The directory may not be read.
    """
    output = OutputDirectory(given)
    footers = output.read_ledger().parts
    if not footers and output.read_record() is None and not output.has_record and not output.is_marked:
        return None
    return _lines(output, footers)


def _lines(output: OutputDirectory, footers: Mapping[str, PartFooter]) -> Iterator[str]:
    record = output.read_record()
    totals = sum((footer.counts for footer in footers.values()), PartCounts())
    success = output.read_success()
    yield f"{output.given}: a seqembed output directory; finished parts: {len(footers):,}"
    yield (
        f"{totals.rows_in:,} rows in = {totals.rows_embedded:,} embedded + {totals.rows_null:,} null + "
        f"{totals.rows_quarantined:,} quarantined; {totals.rows_truncated:,} truncated"
    )
    for model in sorted({footer.key.model_sha256 for footer in footers.values()}):
        yield f"Model sha256 {model[:16]}…"
    if success is not None and _is_readable(success):
        yield f"Last complete run: {success['rows_made']:,} rows made in {success['seconds']} s by {success['model']}"
    else:
        what = "A damaged _SUCCESS" if output.is_marked else "No _SUCCESS"
        yield f"{what}: the last run counts as not finished. Run it again; finished parts are skipped."
    if record is not None or output.has_record:
        yield ""
        yield from _rerun(output, record or {})


def _is_readable(success: Mapping[str, Any]) -> bool:
    """Say whether a success marker holds what a run writes; it lies in the user's directory."""
    rows, seconds, model = (success.get(name) for name in ("rows_made", "seconds", "model"))
    return isinstance(rows, int) and isinstance(seconds, int | float) and isinstance(model, str)


def _rerun(output: OutputDirectory, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield which parts are whole, stale, missing or orphaned, and so what the same run would do now."""
    # Nothing is refused here: what another model or other options made counts as stale.
    lenient = {"on_bad_file": "skip", "overwrite": True, "prune": True}
    try:
        options = RunOptions(**{**record["options"], "keep": tuple(record["options"]["keep"]), **lenient})
        inputs, model_sha256 = record["inputs"], record["model_sha256"]
        names = [*inputs, *options.keep, model_sha256]
        if not isinstance(inputs, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("names are text")
    except (KeyError, TypeError, ValueError, UsageError):
        yield "What the last run was asked for (_RUN) is damaged or of another version; the next run writes it anew."
        return
    try:
        plan = plan_run(InputStates.find(inputs), output, model_sha256, options)
    except InputError as error:
        yield f"The inputs of the last run cannot be found: {error}"
        return
    except OutputError as error:
        yield f"A rerun would be refused: {error}"
        return
    states = {"skip": "whole", "make": "missing", "remake": "stale", "replace": "stale"}
    counts = Counter(states[part.action] for part in plan.parts)
    yield (
        f"Held against its inputs now: {counts['whole']:,} whole, {counts['stale']:,} stale, "
        f"{counts['missing']:,} missing, {len(plan.orphans):,} orphaned"
    )
    named = [(states[part.action], part.name) for part in plan.parts if part.action != "skip"]
    named += [("orphaned (its input is gone)", name) for name in plan.orphans]
    named += [("beyond --limit", name) for name in plan.beyond]
    named += [("unreadable input", reason) for _, reason in plan.skipped_files]
    for state, name in named[:_MOST_PARTS]:
        yield f"  {state}: {name}"
    if len(named) > _MOST_PARTS:
        yield f"  … and {len(named) - _MOST_PARTS:,} more"
    if plan.to_make:
        yield f"A rerun would make {len(plan.to_make):,} parts and skip {counts['whole']:,}."
    else:
        yield "A rerun would make nothing."
