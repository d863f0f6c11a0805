"""Make parts on Spark: one partition per part.

Each job is a DataFrame of some task numbers, and several jobs run at a time: Spark returns the results of a job at its
end, so that one job of all parts would keep all reports in memory, and publish nothing until the last part is made. An
attempt gets the number of Spark's own task attempt, so that retries and speculative copies write to their own files.
"""

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from seqembed.data.errors import SeqembedError
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.spark import (
    REPORT,
    LostWorkersError,
    OpenSession,
    attempt_number,
    map_in_arrow,
    packed,
    ship,
    shipped,
)
from seqembed.runner.engines.task import PartTask
from seqembed.runner.engines.worker import FailedAttempt, attempt_part, lost_worker, next_attempt, seqembed_version
from seqembed.runner.output.staging import StagedPart

# Reports of a job are in memory together; one with the ids of its rows takes up to 3 MB.
_MAX_TASKS_PER_JOB = 64
_MIN_JOBS = 3


class SparkEngine(Engine):
    """Makes parts on the executors of a Spark session."""

    def __init__(self, bundle: bytes, threads: int, address: str | None = None) -> None:
        """Use the active session, or start one.

        Args:
            bundle: Bytes of the model.
            threads: Threads of each task.
            address: A master (``local[4]``, ``spark://host:7077``, ``yarn``) or Spark Connect (``sc://host``); None for
                that of the configuration, as under spark-submit, or else this host.

        Raises:
            UsageError: Java is missing.
            HostError: Spark cannot be started, or does not answer at the address.
        """
        self._threads = threads
        self._session = OpenSession(threads, address)
        try:
            self._bundle = ship(self._session.spark, bundle)
        except BaseException:
            self.close()
            raise

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield a report of each task, in any order.

        Raises:
            OutputError, HostError, BundleError: No attempt at a part succeeded, for a reason other than its input.
        """
        with self._session.translated():
            yield from self._map(tasks)

    def _map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        waiting, again = iter(tasks), deque[PartTask]()
        running: dict[Future[list[Any]], list[PartTask]] = {}
        while True:
            size, num_jobs = self._sizes()
            while len(running) < num_jobs:
                some = [again.popleft()] if again else list(islice(waiting, size))
                if not some:
                    break
                running[self._session.submit(self._frame(some))] = some
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                some = running.pop(future)
                for task, found in _results(future, some):
                    if isinstance(found, SeqembedError):
                        again.append(next_attempt(task, found))
                    else:
                        self.advance(found)
                        yield found

    def _sizes(self) -> tuple[int, int]:
        """Return the number of tasks of a job, and of jobs at a time; executors may come and go."""
        slots = self._session.slots
        size = min(slots, _MAX_TASKS_PER_JOB)
        return size, max(_MIN_JOBS, -(-2 * slots // size))

    def _frame(self, tasks: Sequence[PartTask]) -> Any:
        work = partial(_attempts, pickle.dumps(list(tasks)), seqembed_version(), self._bundle)
        return map_in_arrow(self._session.numbers(len(tasks)), work, REPORT)

    def close(self) -> None:
        """Cancel jobs, and stop the session if it was started here."""
        self._session.close()


def _attempts(tasks: bytes, version: str, bundle: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Make the parts of some task numbers; runs in a worker of Spark."""
    attempt = attempt_number()
    for batch in batches:
        for number in batch.column(0).to_pylist():
            task = replace(pickle.loads(tasks)[number], attempt=attempt)
            report = attempt_part(task, version, lambda: shipped(bundle))
            yield packed(report)


def _results(
    future: Future[list[Any]], tasks: Sequence[PartTask]
) -> Iterator[tuple[PartTask, StagedPart | SeqembedError]]:
    """Yield the report of each task of a job, or why there is none.

    Raises:
        HostError: Workers lack seqembed.
    """
    try:
        reports = {report.name: report for report in future.result()}
    except LostWorkersError as error:
        for task in tasks:
            yield task, lost_worker(task, "Spark", str(error))
        return
    for task in tasks:
        found = reports[task.name]
        yield task, found.error if isinstance(found, FailedAttempt) else found
