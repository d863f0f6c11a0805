"""Hand the parts that are not finished to an engine, and publish what comes back."""

from collections.abc import Callable, Iterable

from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.parts import Part
from seqembed.runner.job.plan import RunPlan
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartCounts
from seqembed.runner.output.staging import StagedPart, quarantine_name


def make_parts(
    plan: RunPlan,
    engine: Engine,
    output: OutputDirectory,
    bundle: BundleReference,
    options: RunOptions,
    outcome: Outcome,
) -> RunPlan:
    """Have every part made that is not finished, and publish each as soon as it may be.

    Args:
        plan: Names them.
        engine: Makes them.
        output: Where they belong; this process holds its lock.
        bundle: The model.
        options: What the run was asked for.
        outcome: Takes the reports.

    Returns:
        The plan without parts that turned out to lie beyond the limit.

    Raises:
        InputError, UsageError, BundleError: A part cannot be made.
        OutputError: The output cannot be written, or a part is lost.
    """
    for name in plan.in_the_way:
        output.withdraw(quarantine_name(name))
        output.make_room(name)
    # Old parts stay readable until all new ones are complete where the old ones come from another maker.
    at_the_end = any(part.action == "replace" for part in plan.parts)

    def task(part: Part, limit: int | None = None) -> PartTask:
        made_of = part.fingerprint, part.content, part.key
        return PartTask(part.name, part.file, *made_of, output.staging, bundle, options, limit)

    def collect(reports: Iterable[StagedPart]) -> None:
        for report in reports:
            outcome.add(report, output, options.on_bad_file)
            if not at_the_end:
                output.publish()

    if options.limit is None:
        collect(engine.map(task(part) for part in plan.to_make))
    else:
        plan = _make_first(plan, options.limit, outcome, lambda part, left: collect(engine.map([task(part, left)])))
    outcome.refuse_lost([part.name for part in plan.to_make])
    output.publish()
    return plan


def _make_first(plan: RunPlan, limit: int, outcome: Outcome, make: Callable[[Part, int], None]) -> RunPlan:
    """Make parts one at a time, since each says how many sequences are left for the next; return those needed."""
    left = limit
    for index, part in enumerate(plan.parts):
        if part.done is None:
            make(part, left)
        left -= (part.done or outcome.made.get(part.name, PartCounts())).rows_in
        if left == 0:
            return plan.cut(index + 1)
    return plan
