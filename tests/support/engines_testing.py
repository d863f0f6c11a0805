"""An engine beside the one of the product: what tests of the seam between runs and workers share."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart


class InAnotherProcess(Engine):
    """Sends every task to a fresh interpreter, and yields what comes back.

    Attributes:
        tasks: All that were sent.
    """

    def __init__(self, *of_local_engine: object) -> None:
        """Start the process; it takes the arguments of `LocalEngine`, and needs none of them."""
        self.tasks: list[PartTask] = []
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield the reports in the order of the tasks."""
        self.tasks = list(tasks)
        return self._pool.map(make_part, self.tasks)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()
