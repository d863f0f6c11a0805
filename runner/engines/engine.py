"""The seam between a run, which plans, accounts and publishes, and whatever makes its parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart


class Engine(ABC):
    """Makes parts, here or elsewhere; use as a context manager."""

    @abstractmethod
    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield a report of each task, in any order; a task may be attempted, and reported, several times.

        Every attempt goes through `seqembed.runner.engines.make.make_part`, under a number of its own. The run
        publishes the first attempt of a part whose files are complete. Reports that name a fault are final: another
        attempt would end in the same way.

        Raises:
            OutputError, HostError: A worker could neither stage a part nor find a fault in its input.
            BundleError: A worker could not open the bundle.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of workers; tasks that were not reported are given up."""

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
