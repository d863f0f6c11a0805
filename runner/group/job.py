"""Group events: plan, read and partition, sort each bucket, publish, report."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seqembed.data.display.events import emit, progress_in, reported
from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import is_uri
from seqembed.data.files.secrets import without_secrets
from seqembed.runner.engines.choose import require_engine
from seqembed.runner.group.census import Counted, stage_census
from seqembed.runner.group.here import make_here
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.group.plan import EventFile, GroupInputs, GroupPlan, bucket_name, plan_group
from seqembed.runner.group.progress import EventProgress, show_events
from seqembed.runner.group.report import GroupReport
from seqembed.runner.job.plan import InputStates
from seqembed.runner.metrics.samples import samples_of_group
from seqembed.runner.metrics.watch import with_metrics
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.event_counts import EventCounts
from seqembed.runner.output.parts import PartFooter
from seqembed.runner.output.staging import StagedPart

if TYPE_CHECKING:
    from seqembed.runner.engines.spark import OpenSession

logger = logging.getLogger("seqembed")


@dataclass(frozen=True, slots=True)
class GroupJob:
    """Inputs, output and options of a grouping.

    Attributes:
        inputs: Files, directories, globs or URIs.
        out: The output directory.
        options: All other options.
    """

    inputs: tuple[str, ...]
    out: str
    options: GroupOptions

    @property
    def named_inputs(self) -> list[str]:
        """The inputs as absolute paths or URIs without credentials."""
        return [without_secrets(given) if is_uri(given) else str(Path(given).absolute()) for given in self.inputs]

    def record(self) -> dict[str, Any]:
        """Return the record by which `inspect` finds out what running again would do; an address may hold a token."""
        options = asdict(self.options)
        del options["address"]
        return {"command": "group", "inputs": self.named_inputs, "options": options}


def announce(job: GroupJob) -> None:
    """Emit what was asked for."""
    emit("started", inputs=job.named_inputs, out=without_secrets(job.out), engine=job.options.engine)


def announce_plan(plan: GroupPlan) -> None:
    """Emit how much is to be done."""
    to_read = plan.num_rows if plan.to_make else 0
    emit("planned", buckets=plan.num_buckets, buckets_to_make=len(plan.to_make), events_to_read=to_read)


def plan_group_job(job: GroupJob) -> GroupPlan:
    """Return the plan of `group_events`; nothing is written.

    Raises:
        InputError, UsageError, OutputError: See `plan_group`.
    """
    return plan_group(
        GroupInputs(InputStates.find(job.inputs, version=job.options.version)), OutputDirectory(job.out), job.options
    )


def group_events(job: GroupJob, terminal: IO[str]) -> GroupReport:
    """Make unfinished buckets, and write the success marker; if every bucket is finished, no file is changed.

    Raises:
        InputError: An input cannot be read, was changed meanwhile, or has a bad row; finished buckets are kept.
        UsageError: Options do not fit the columns, or Spark or Java is missing.
        OutputError: The output cannot be written, or another job writes to it; finished buckets are kept.
        HostError: A host lacks memory, or Spark cannot be started or gives up.
    """
    with reported(job.options.log_format, terminal):
        done: list[GroupReport] = []
        with with_metrics(job.options.metrics, job.out, "group", lambda: chain(*map(samples_of_group, done))):
            announce(job)
            report = _group(job, terminal)
            done.append(report)
        emit(
            "finished",
            exit_code=0,
            seconds=round(report.seconds, 3),
            buckets_made=len(report.made),
            buckets_skipped=len(report.buckets) - len(report.made),
            events_in=report.events_in,
            events_out=report.counts.events_out,
            ids=report.counts.ids,
            notes=list(report.notes),
        )
    return report


def _group(job: GroupJob, terminal: IO[str]) -> GroupReport:
    start, output = time.perf_counter(), OutputDirectory(job.out)
    require_engine(job.options.engine)
    inputs = GroupInputs(InputStates.find(job.inputs, version=job.options.version))
    plan = plan_group(inputs, output, job.options)
    announce_plan(plan)
    if _is_done(plan, output, job):
        output.remove_leftovers()
        return _report(plan, plan.files, {}, start, 0)
    with ExitStack() as stack:
        session = None
        if job.options.engine == "spark" and plan.to_make:
            from seqembed.runner.group.spark import open_session

            session = stack.enter_context(open_session(job.options))  # before anything is changed: it may not be there
        stack.enter_context(output.lock())
        plan = plan_group(inputs, output, job.options)  # again: another job may have finished before the lock
        if _is_done(plan, output, job):
            return _report(plan, plan.files, {}, start, 0)
        for line in plan.lines():
            logger.info("%s", line)
        output.begin(job.record())
        style = progress_in(job.options.log_format, job.options.progress)
        with show_events(style, _events_to_do(plan, job.options), terminal) as progress:
            files, made, spilled = _make(plan, output, job.options, progress, session)
        census = {
            file.file.location: Counted(file.fingerprint, file.counts) for file in files if file.counts is not None
        }
        output.take(stage_census(output, census, plan.options_hash))
        for name in plan.obsolete:
            output.remove_published(name)
        output.publish()
        report = _report(plan, files, made, start, spilled)
        output.succeed(report.to_json(job.named_inputs, plan))
    return report


def _events_to_do(plan: GroupPlan, options: GroupOptions) -> int:
    """Return about how many events are read and written; Spark reads those of files that are not counted yet twice."""
    if not plan.to_make:
        return 0
    counted = sum(file.num_rows for file in plan.files if file.counts is None) if options.engine == "spark" else 0
    return counted + plan.num_rows + round(plan.num_rows * float(plan.wanted.mean()))


def _is_done(plan: GroupPlan, output: OutputDirectory, job: GroupJob) -> bool:
    if plan.to_make or plan.obsolete or plan.gone or not plan.is_counted:
        return False
    success = output.read_success() or {}
    return success.get("inputs") == job.named_inputs and success.get("options") == dict(plan.options)


def _make(
    plan: GroupPlan,
    output: OutputDirectory,
    options: GroupOptions,
    progress: EventProgress,
    session: "OpenSession | None",
) -> tuple[Sequence[EventFile], dict[str, PartFooter], int]:
    """Make every unfinished bucket, and publish each as early as allowed.

    Returns:
        The files with their counts, the footers of the new buckets, and the bytes on temporary disk of this host.
    """
    if not plan.to_make:
        return plan.files, {}, 0
    made: dict[str, PartFooter] = {}

    def take(part: StagedPart) -> None:
        if part.footer is None or not output.take(part):
            raise OutputError(f"{part.name}: the staged file was changed before it was published. Run again.")
        made[part.name] = part.footer
        if (events := part.footer.events) is not None:
            emit("bucket", name=part.name, ids=events.ids, events=events.events_out)
        # Old buckets of other options stay readable until all new ones are complete.
        if "replace" not in plan.actions:
            output.publish()

    if options.engine == "spark":
        from seqembed.runner.group.spark import make_on_spark, open_session

        # Another job may have removed buckets since it was planned.
        with session or open_session(options) as spark, spark.translated():
            return make_on_spark(spark, plan, output.staging, options, progress, take), made, 0
    files, spilled = make_here(plan, output, options, progress, take)
    return files, made, spilled


def _report(
    plan: GroupPlan, files: Sequence[EventFile], made: dict[str, PartFooter], start: float, spilled: int
) -> GroupReport:
    names = tuple(bucket_name(index) for index in range(plan.num_buckets))
    footers = [made[name] if name in made else plan.done[name] for name in names]
    counts = [file.counts for file in files if file.counts is not None]
    report = GroupReport(
        counts=sum((footer.events for footer in footers if footer.events is not None), EventCounts()),
        num_files=len(files),
        events_in=plan.num_rows,
        null_ids=sum(one.null_ids for one in counts),
        null_times=sum(one.null_times for one in counts),
        outside=sum(one.outside for one in counts),
        buckets=names,
        made=tuple(made),
        pruned=plan.gone,
        notes=plan.notes,
        seconds=time.perf_counter() - start,
        spilled_bytes=spilled,
    )
    report.check()
    return report
