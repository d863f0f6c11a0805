"""A second engine, for tests of the interface between runs and workers."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart


class ProcessEngine(Engine):
    """Runs every task in another interpreter.

    Attributes:
        tasks: All tasks it was given.
    """

    def __init__(self, *of_local_engine: object) -> None:
        """Start the process; the arguments of `LocalEngine` are accepted and ignored."""
        self.tasks: list[PartTask] = []
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield the reports in the order of the tasks."""
        self.tasks = list(tasks)
        return self._pool.map(make_part, self.tasks)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()
