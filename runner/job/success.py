"""Decide whether a run has nothing to do, from the plan and the success marker."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqembed.data.statistics.statistics import Statistics, merged
from seqembed.runner.job.plan import RunPlan
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import COUNTED, PartCounts


def is_done(plan: RunPlan, output: OutputDirectory, inputs: Sequence[str], *, prune: bool) -> bool:
    """Return whether every part is finished and the success marker is up to date.

    Args:
        plan: The plan of the run.
        output: The output directory.
        inputs: Inputs, as written in the marker.
        prune: Whether orphans are to be removed.
    """
    if plan.to_make or plan.superseded or (prune and (plan.sliced.orphans or plan.beyond)):
        return False
    if plan.unfinished:
        return True  # a slice, which is finished; the marker is written once no part outside it is missing
    success = output.read_success()
    return success is not None and _fits(success, plan, inputs)


def _fits(success: Mapping[str, Any], plan: RunPlan, inputs: Sequence[str]) -> bool:
    """Return whether a success marker is up to date.

    With the same inputs, the marker must list the current parts, leftover parts and unreadable files, and its totals
    and statistics must be those of the parts. A marker of other inputs is kept if its totals add up; but events in
    several files are first checked together, once.
    """
    try:
        totals = PartCounts.from_json({name: success[name] for name in COUNTED if name in success})
        parts, skipped = ([entry["name"] for entry in success[key]] for key in ("parts", "skipped_files"))
        left, described = (success["orphans"], success["beyond_limit"]), success["statistics"]
        statistics = None if described is None else Statistics.from_json(described["exact"])
        if success["inputs"] != list(inputs):
            return not plan.joins_events
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return False
    if (parts, skipped) != ([part.name for part in plan.parts], [name for name, _ in plan.skipped_files]):
        return False
    if statistics != merged(part.statistics for part in plan.parts):
        return False
    finished = sum((part.done for part in plan.parts if part.done is not None), PartCounts())
    return left == (list(plan.orphans), list(plan.beyond)) and totals == finished
