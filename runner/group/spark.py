"""Make the buckets on Spark, which distributes events over hosts; the rows of a bucket are sorted as in this process.

Spark sees no column of the events: it moves chunks of them, as bytes, to the task of their bucket. So types survive,
and the bytes of a bucket are those of the same code on one host. Files are counted by a job of their own, since the
hash of a bucket covers the counts; its tasks meet bad rows before any event is moved.
"""

import logging
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.errors import HostError, InputError, SeqembedError
from seqembed.runner.engines.spark import (
    REPORT,
    LostWorkersError,
    OpenSession,
    attempt_number,
    map_in_arrow,
    packed,
)
from seqembed.runner.engines.worker import MAX_ATTEMPTS, FailedAttempt, attempted, seqembed_version
from seqembed.runner.group.bucket import BucketTask, chunk_bytes, sort_bytes
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.group.plan import EventFile, GroupPlan
from seqembed.runner.group.progress import EventProgress, Stages
from seqembed.runner.group.scan import FileCounts, Scan
from seqembed.runner.group.sort import Sorter
from seqembed.runner.group.spill import Gathered
from seqembed.runner.output.staging import StagedPart, Staging

_MAX_FILES_PER_JOB = 1024
_CHUNK_BYTES = 4 << 20  # of a row of Spark
_CHUNKS = "bucket int, chunk binary"
_FAULT = -1  # bucket of a chunk that is a fault of a file instead of events
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
logger = logging.getLogger("seqembed")


@dataclass(frozen=True, slots=True)
class _FileTask:
    """A file to read, with the number of its first row; picklable."""

    file: EventFile
    first_number: int
    scan: Scan


@dataclass(frozen=True, slots=True)
class _CountedFile:
    """The counts of a file."""

    index: int
    counts: FileCounts


def open_session(options: GroupOptions) -> OpenSession:
    """Return the active session, or one that is started for the job; a context manager.

    Raises:
        UsageError: Java is missing.
        HostError: Spark cannot be started, or does not answer at the address.
    """
    return OpenSession(options.num_threads, options.address)


def make_on_spark(
    session: OpenSession,
    plan: GroupPlan,
    staging: Staging,
    options: GroupOptions,
    progress: EventProgress,
    take: Callable[[StagedPart], None],
) -> list[EventFile]:
    """Make every unfinished bucket.

    Args:
        session: See `open_session`.
        plan: The plan.
        staging: Temporary files of the job, in a directory that all hosts reach.
        options: Options of the job; memory and threads are those of a task.
        progress: Told of events read and written.
        take: Takes each bucket.

    Returns:
        The files with their counts.

    Raises:
        InputError: A file changed since the job was planned, cannot be read, or has a bad row.
        OutputError, HostError: No attempt at a bucket succeeded.
    """
    firsts = accumulate((file.num_rows for file in plan.files), initial=0)
    reads = [_FileTask(file, first, plan.scan) for file, first in zip(plan.files, firsts, strict=False)]
    files = _counted(session, reads, progress)
    wanted = np.flatnonzero(plan.wanted).tolist()
    tasks = {task.name: task for task in (BucketTask.of(index, plan, files, options, staging) for index in wanted)}
    written = sum(task.num_events for task in tasks.values())
    stages = Stages(progress, {"moving": plan.num_rows, "writing": written})
    for attempt in range(1, MAX_ATTEMPTS + 1):
        failed = _make(session, reads, tasks, options, stages, take)
        if failed is None:
            stages.finish()
            break
        if attempt == MAX_ATTEMPTS or type(failed) is SeqembedError:
            raise failed
        logger.info("attempt %d of %d failed: %s", attempt, MAX_ATTEMPTS, failed)
    return files


def _counted(session: OpenSession, reads: Sequence[_FileTask], progress: EventProgress) -> list[EventFile]:
    """Return the files with their counts."""
    found: dict[int, FileCounts] = {
        index: read.file.counts for index, read in enumerate(reads) if read.file.counts is not None
    }
    missing = [index for index in range(len(reads)) if index not in found]
    size = min(_MAX_FILES_PER_JOB, 4 * session.slots)
    for some in (missing[start : start + size] for start in range(0, len(missing), size)):
        work = partial(_count, pickle.dumps([(index, reads[index]) for index in some]), seqembed_version())
        reports = _answer(session, map_in_arrow(session.numbers(len(some)), work, REPORT))
        _raise_first([report for report in reports if isinstance(report, FailedAttempt)], reads)
        found |= {report.index: report.counts for report in reports}
        progress.advance("reading", sum(reads[index].file.num_rows for index in some))
    return [replace(read.file, counts=found[index]) for index, read in enumerate(reads)]


def _count(tasks: bytes, version: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Count the events of some files; runs in a worker of Spark."""
    files: list[tuple[int, _FileTask]] = pickle.loads(tasks)
    for batch in batches:
        for number in batch.column(0).to_pylist():
            index, read = files[number]
            count = partial(_count_file, index, read)
            yield packed(attempted(read.file.file.location, version, count))


def _count_file(index: int, read: _FileTask) -> _CountedFile | FailedAttempt:
    try:
        counts = read.scan.count(read.file.file)
        read.file.refuse_changed()
    except InputError as error:
        return FailedAttempt(read.file.file.location, error)
    return _CountedFile(index, counts)


def _make(
    session: OpenSession,
    reads: Sequence[_FileTask],
    tasks: dict[str, BucketTask],
    options: GroupOptions,
    stages: Stages,
    take: Callable[[StagedPart], None],
) -> SeqembedError | None:
    """Make buckets in one job, and take those that succeed out of `tasks`; return why another attempt is needed."""
    by_index = {task.index: task for task in tasks.values()}
    wanted = np.isin(np.arange(reads[0].scan.num_buckets), list(by_index))
    common = seqembed_version(), options
    read = partial(_read, pickle.dumps(list(reads)), wanted, *common)
    make = partial(_stage, pickle.dumps(by_index), *common)
    chunks = map_in_arrow(session.numbers(len(reads)), read, _CHUNKS)
    ordered = chunks.repartition(len(tasks), "bucket").sortWithinPartitions("bucket")
    try:
        reports = _answer(session, map_in_arrow(ordered, make, REPORT), stages.follow)
    except HostError as error:
        return error
    faults = [report for report in reports if isinstance(report, FailedAttempt)]
    # Where a file could not be read, buckets lack its events: that says nothing new.
    faults = [fault for fault in faults if fault.name not in tasks] or faults
    _raise_first([fault for fault in faults if isinstance(fault.error, InputError)], reads)
    for part in sorted((report for report in reports if isinstance(report, StagedPart)), key=lambda part: part.name):
        take(part)
        del tasks[part.name]
    return faults[0].error if faults else None


def _answer(session: OpenSession, frame: Any, follow: Callable[[list[float]], None] = lambda _: None) -> list[Any]:
    """Return the reports of a job, which `follow` sees on its way.

    Raises:
        HostError: Spark gave up.
    """
    try:
        return session.followed(frame, follow)
    except LostWorkersError as error:
        raise HostError(
            f"Spark gave up grouping the events ({error}). If workers lack memory, give them more, or pass more "
            "--buckets or a lower --threads; finished buckets are kept. Run again."
        ) from None


def _raise_first(faults: Sequence[FailedAttempt], reads: Sequence[_FileTask]) -> None:
    """Raise the fault of the first file, as this process would, or else the first bucket, whoever reported first."""
    if faults:
        order = {read.file.file.location: index for index, read in enumerate(reads)}
        raise min(faults, key=lambda fault: (order.get(fault.name, len(order)), fault.name)).error


def _read(
    tasks: bytes, wanted: NDArray[np.bool_], version: str, options: GroupOptions, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the events of some files as chunks of their buckets; runs in a worker of Spark."""
    reads: list[_FileTask] = pickle.loads(tasks)
    for batch in batches:
        for number in batch.column(0).to_pylist():
            if number == 0:  # buckets without events have a file, too
                for bucket in np.flatnonzero(wanted).tolist():
                    yield _chunk(bucket, b"")
            yield from _chunks(reads[number], wanted, version, chunk_bytes(options))


def _chunks(read: _FileTask, wanted: NDArray[np.bool_], version: str, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield the events of a file as chunks, and a fault of the file or of this host as one that no bucket has."""
    gathered, name = Gathered(wanted), read.file.file.location
    events = read.scan.events(read.file.file, read.first_number, read.scan.counts())

    def some() -> bool:
        """Read until there is enough to split; return whether there was anything left."""
        for found in events:
            gathered.add(*found)
            if gathered.num_bytes >= most_bytes:
                return True
        read.file.refuse_changed()
        return False

    def checked() -> bool | FailedAttempt:
        try:
            return some()
        except InputError as error:
            return FailedAttempt(name, error)

    more = True
    while more:
        found = attempted(name, version, checked)
        if isinstance(found, FailedAttempt):
            yield _chunk(_FAULT, pickle.dumps(found))
            return
        more = found
        for bucket, rows in gathered.split():
            size = max(1, round(rows.num_rows * _CHUNK_BYTES / max(1, rows.nbytes)))
            for start in range(0, rows.num_rows, size):
                yield _chunk(bucket, _as_bytes(rows.slice(start, size)))


def _chunk(bucket: int, content: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([bucket], pa.int32()), pa.array([content], pa.binary())], names=["bucket", "chunk"]
    )


def _as_bytes(events: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema, options=_OPTIONS) as writer:
        writer.write_batch(events)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _stage(
    tasks: bytes, version: str, options: GroupOptions, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Make the buckets of a partition, whose chunks come bucket by bucket; runs in a worker of Spark."""
    by_index: Mapping[int, BucketTask] = pickle.loads(tasks)
    attempt = attempt_number()
    rows = ((bucket.as_py(), chunk) for batch in batches for bucket, chunk in zip(*batch.columns, strict=True))
    for bucket, chunks in groupby(rows, key=lambda row: row[0]):
        if bucket == _FAULT:
            yield from (packed(pickle.loads(chunk.as_py())) for _, chunk in chunks)
            continue
        task = by_index[bucket]
        make = partial(_stage_bucket, task, (chunk for _, chunk in chunks), options, attempt)
        yield packed(attempted(task.name, version, make))


def _stage_bucket(
    task: BucketTask, chunks: Iterator[pa.Scalar], options: GroupOptions, attempt: int
) -> StagedPart | FailedAttempt:
    events = (batch for chunk in chunks if len(chunk.as_buffer()) for batch in pa.ipc.open_stream(chunk.as_buffer()))
    with tempfile.TemporaryDirectory(prefix="seqembed-group-") as directory:
        with Sorter(Path(directory), sort_bytes(options), options.num_threads) as sorter:
            try:
                return task.make(events, sorter, attempt)
            except InputError as error:
                return FailedAttempt(task.name, error)
