"""Make unfinished parts with an engine, and publish them."""

from collections.abc import Callable, Iterable
from itertools import takewhile

from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.job.first_fault import FirstFault
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
    """Make every unfinished part, and publish each as early as allowed.

    Args:
        plan: The plan of the run.
        engine: The engine that makes the parts.
        output: The output directory; this process holds its lock.
        bundle: The model.
        options: Options of the run.
        outcome: Collects the reports.

    Returns:
        The plan without parts that turned out to be beyond the limit.

    Raises:
        InputError, UsageError, BundleError: A part cannot be made.
        OutputError: The output cannot be written, or a staged part is missing.
    """
    for name in plan.blocking:
        output.remove_published(quarantine_name(name))
        output.free_path(name)
    for name in plan.superseded:
        output.remove_published(quarantine_name(name))
        output.remove_published(name)
    # Old parts of another model or other options, and those with the same rows, stay readable until all new ones are
    # complete.
    at_the_end = bool(plan.superseded) or any(part.action == "replace" for part in plan.parts)

    def task(part: Part, limit: int | None = None) -> PartTask:
        made_of = part.fingerprint, part.content, part.key
        return PartTask(
            *(part.name, part.file, *made_of, output.staging, bundle, options, limit, part.row_groups),
            num_row_groups=part.num_row_groups,
        )

    to_make = plan.to_make
    faults = FirstFault([part.name for part in to_make])

    def collect(reports: Iterable[StagedPart]) -> None:
        for report in reports:
            fault = outcome.add(report, output, options.on_bad_file)
            if not at_the_end:
                output.publish()
            faults.add(report.name, fault)
        faults.raise_first()

    if options.limit is None:
        # Parts are begun in order, so those before a fault are in progress at least, and those after it can wait.
        collect(engine.map(task(part) for part in takewhile(lambda _: faults.is_none, to_make)))
    else:
        plan = _make_first(plan, options.limit, outcome, lambda part, left: collect(engine.map([task(part, left)])))
    outcome.refuse_lost([part.name for part in plan.to_make])
    output.publish()
    return plan


def _make_first(plan: RunPlan, limit: int, outcome: Outcome, make: Callable[[Part, int], None]) -> RunPlan:
    """Make parts one at a time, since each determines how many sequences remain for the next; return those needed."""
    left = limit
    for index, part in enumerate(plan.parts):
        if part.done is None:
            make(part, left)
        left -= (part.done or outcome.made.get(part.name, PartCounts())).rows_in
        if left == 0:
            return plan.cut(index + 1)
    return plan
