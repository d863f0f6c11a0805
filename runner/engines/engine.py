"""The interface between a run, which plans, accounts and publishes, and the engine that makes its parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart
from seqembed.runner.progress import ProgressView


class Engine(ABC):
    """Makes parts, in this process or elsewhere; use as a context manager.

    Attributes:
        progress: Notified of finished rows; None for nothing.
    """

    progress: ProgressView | None = None

    @abstractmethod
    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield reports of the tasks, in any order; a task may be attempted and reported several times.

        Every attempt calls `seqembed.runner.engines.make.make_part` with its own number. The run publishes the first
        attempt of a part whose files are complete. A report with a fault is final, since another attempt would fail in
        the same way.

        Raises:
            OutputError, HostError: A worker could not stage a part, for a reason other than its input.
            BundleError: A worker could not open the bundle.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop the workers; tasks without report are cancelled. May be called again."""

    def advance(self, report: StagedPart) -> None:
        """Notify `progress` of a complete part."""
        if self.progress is not None and report.footer is not None:
            counts = report.footer.counts
            self.progress.advance(report.input_rows, counts.steps, counts.padded_steps)

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
