"""Make the buckets in this process: distribute events over files of a temporary directory, then sort each bucket."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from seqembed.runner.group.bucket import BucketTask, chunk_bytes, sort_bytes
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.group.plan import EventFile, GroupPlan, readable_size
from seqembed.runner.group.progress import EventProgress
from seqembed.runner.group.sort import Sorter
from seqembed.runner.group.spill import Spill
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.staging import StagedPart

logger = logging.getLogger("seqembed")


def make_here(
    plan: GroupPlan,
    output: OutputDirectory,
    options: GroupOptions,
    progress: EventProgress,
    take: Callable[[StagedPart], None],
) -> tuple[list[EventFile], int]:
    """Make every unfinished bucket.

    Args:
        plan: The plan.
        output: The output directory, locked.
        options: Options of the job.
        progress: Told of events read and written.
        take: Takes each bucket as it is staged.

    Returns:
        The files with their counts, and the bytes on temporary disk.

    Raises:
        InputError: A file changed since the job was planned, cannot be read, or has a bad row.
        OutputError: A disk is full or not writable.
        HostError: DuckDB needs more memory.
    """
    with _workspace(output) as directory:
        _warn_of_little_space(plan, directory)
        spill = Spill(directory, plan.columns.carried, chunk_bytes(options), plan.wanted)
        files = _distribute(plan, spill, output, progress)
        with Sorter(directory, sort_bytes(options), options.num_threads) as sorter:
            for index, action in enumerate(plan.actions):
                if action != "skip":
                    task = BucketTask.of(index, plan, files, options, output.staging)
                    part = task.make(spill.read(index), sorter)
                    progress.advance("writing", task.num_events)
                    take(part)
    return files, spill.num_bytes


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
            "%s: %s are free, and up to %s are needed; continuing, since events are compressed",
            directory,
            readable_size(free),
            readable_size(plan.temporary_bytes),
        )


def _distribute(plan: GroupPlan, spill: Spill, output: OutputDirectory, progress: EventProgress) -> list[EventFile]:
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
        file.refuse_changed()
        files.append(replace(file, counts=counts))
    with output.storage.translated("write to"):
        spill.flush()
    return files
