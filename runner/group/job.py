"""Group events: plan, read and partition, sort each bucket, publish, report."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from seqembed.data.errors import ChangedInputError, OutputError
from seqembed.data.files.fingerprints import fingerprint
from seqembed.data.files.inputs import is_uri
from seqembed.data.files.secrets import without_secrets
from seqembed.runner.group.census import Counted, stage_census
from seqembed.runner.group.histories import Histories
from seqembed.runner.group.options import EXACT, GroupOptions
from seqembed.runner.group.plan import EventFile, GroupInputs, GroupPlan, bucket_key, bucket_name, plan_group
from seqembed.runner.group.progress import EventProgress, show_events
from seqembed.runner.group.report import GroupReport
from seqembed.runner.group.sort import Sorter
from seqembed.runner.group.spill import Spill
from seqembed.runner.job.plan import InputStates
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.event_counts import EventCounts
from seqembed.runner.output.parts import PartCounts, PartFooter
from seqembed.runner.output.staging import StagedPart

# Of the memory allowed: DuckDB's limit, and the events read before they are written to disk. Python, Arrow and copies
# take the rest.
_SORT_SHARE = 0.45
_CHUNK_SHARE = 1 / 16
_MAX_CHUNK_BYTES = 256 << 20
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
        """Return the record by which `inspect` finds out what running again would do."""
        return {"command": "group", "inputs": self.named_inputs, "options": asdict(self.options)}


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
        UsageError: Options do not fit the columns.
        OutputError: The output cannot be written, or another job writes to it; finished buckets are kept.
        HostError: The host lacks memory.
    """
    start, output = time.perf_counter(), OutputDirectory(job.out)
    inputs = GroupInputs(InputStates.find(job.inputs, version=job.options.version))
    plan = plan_group(inputs, output, job.options)
    if _is_done(plan, output, job):
        output.remove_leftovers()
        return _report(plan, plan.files, {}, start, 0)
    with output.lock():
        plan = plan_group(inputs, output, job.options)  # again: another job may have finished before the lock
        if _is_done(plan, output, job):
            return _report(plan, plan.files, {}, start, 0)
        for line in plan.lines():
            logger.info("%s", line)
        output.begin(job.record())
        total = plan.num_rows + round(plan.num_rows * float(plan.wanted.mean())) if plan.to_make else 0
        with show_events(job.options.progress, total, terminal) as progress:
            files, made, spilled = _make(plan, output, job.options, progress)
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


def _is_done(plan: GroupPlan, output: OutputDirectory, job: GroupJob) -> bool:
    if plan.to_make or plan.obsolete or plan.gone or not plan.is_counted:
        return False
    success = output.read_success() or {}
    return success.get("inputs") == job.named_inputs and success.get("options") == dict(plan.options)


def _make(
    plan: GroupPlan, output: OutputDirectory, options: GroupOptions, progress: EventProgress
) -> tuple[Sequence[EventFile], dict[str, PartFooter], int]:
    """Make every unfinished bucket, and publish each as early as allowed.

    Returns:
        The files with their counts, the footers of the new buckets, and the bytes on temporary disk.
    """
    if not plan.to_make:
        return plan.files, {}, 0
    # Old buckets of other options stay readable until all new ones are complete.
    at_the_end = "replace" in plan.actions
    made: dict[str, PartFooter] = {}
    with _workspace(output) as directory:
        chunk = min(int(options.memory_bytes * _CHUNK_SHARE), _MAX_CHUNK_BYTES)
        _warn_of_little_space(plan, directory)
        spill = Spill(directory, plan.columns.carried, chunk, plan.wanted)
        files = _partition(plan, spill, output, progress)
        memory = int(options.memory_bytes * _SORT_SHARE)
        with Sorter(directory, memory, options.threads) as sorter:
            for index, action in enumerate(plan.actions):
                if action == "skip":
                    continue
                part = _stage_bucket(index, plan, files, spill, sorter, output, options, progress)
                if part.footer is None or not output.take(part):
                    raise OutputError(f"{part.name}: the staged file was changed before it was published. Run again.")
                made[part.name] = part.footer
                if not at_the_end:
                    output.publish()
    return files, made, spill.num_bytes


@contextmanager
def _workspace(output: OutputDirectory) -> Iterator[Path]:
    """Yield a local directory for temporary events: inside the output if that is local."""
    if not output.storage.is_local:
        with tempfile.TemporaryDirectory(prefix="seqembed-group-") as name:
            yield Path(name)
        return
    directory = f"{output.staging.directory}/events"
    output.storage.make_directory(directory)
    yield Path(output.storage.at(directory))


def _warn_of_little_space(plan: GroupPlan, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if plan.temporary_bytes > free:
        logger.warning(
            "%s: %.1f GB are free, and up to %.1f GB are needed; continuing, since events are compressed",
            directory,
            free / 1e9,
            plan.temporary_bytes / 1e9,
        )


def _partition(plan: GroupPlan, spill: Spill, output: OutputDirectory, progress: EventProgress) -> list[EventFile]:
    """Read all files, and write their events to disk by bucket; return the files with their counts.

    Raises:
        ChangedInputError: A file changed since the job was planned.
    """
    files, first_number = [], 0
    for file in plan.files:
        counts = plan.scan.counts()
        for events, buckets in plan.scan.events(file.file, first_number, counts):
            with output.storage.translated("write to"):
                spill.add(events, buckets)
            progress.advance("reading", len(buckets))
        first_number += file.num_rows
        if fingerprint(file.file) != file.fingerprint:
            raise ChangedInputError(
                f"{file.file.name}: the file changed while it was read. Run again once its writer is done; better, "
                "have the writer rename finished files into place."
            )
        files.append(replace(file, counts=counts))
    with output.storage.translated("write to"):
        spill.flush()
    return files


def _stage_bucket(
    index: int,
    plan: GroupPlan,
    files: Sequence[EventFile],
    spill: Spill,
    sorter: Sorter,
    output: OutputDirectory,
    options: GroupOptions,
    progress: EventProgress,
) -> StagedPart:
    name, columns = bucket_name(index), plan.columns
    histories = Histories(columns, options.max_length)
    equal = [columns.index(column) for column in options.deduplicate] if options.deduplicate != (EXACT,) else None
    equal = list(range(len(columns.all))) if options.deduplicate == (EXACT,) else equal
    ordered = sorter.ordered(spill.read(index), columns.carried, plan.event_bytes, equal or None)
    with output.staging.stage(name, 1, columns.output) as writer:
        for rows in histories.rows(ordered):
            writer.write(rows)
        num_events = sum(int(file.counts.buckets[index]) for file in files if file.counts is not None)
        counts = histories.counts
        duplicates = num_events - counts.events
        counts += EventCounts(events=duplicates, duplicates=duplicates)
        footer = _footer(bucket_key(files, index, plan.options_hash), counts, plan, options)
        writer.finish(footer)
    progress.advance("writing", num_events)
    return StagedPart(name, 1, (output.staging.staged_file(name, 1, writer),), footer)


def _footer(key: Any, counts: EventCounts, plan: GroupPlan, options: GroupOptions) -> PartFooter:
    rows = PartCounts(
        rows_in=counts.ids, rows_embedded=counts.ids, rows_truncated=counts.truncated_ids, steps=counts.events_out
    )
    columns = tuple(plan.columns.output.names)
    return PartFooter(key, rows, "", key.input_fingerprint, plan.options, columns, "events", None, counts)


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
