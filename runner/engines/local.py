"""Make parts in this process, one after another; within each, decoding, embedding and writing overlap."""

from collections.abc import Iterable, Iterator

from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.pipeline import Pipeline
from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart


class LocalEngine(Engine):
    """Makes parts with one encoder, shared by threads."""

    def __init__(self, encoder: Encoder, threads: int) -> None:
        """Start `threads` workers that embed with `encoder`."""
        self._pipeline = Pipeline(encoder, threads)

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield a report of each task, in order, each before the next task begins.

        Raises:
            OutputError: The output cannot be written.
            HostError: The host lacks memory, descriptors or threads.
        """
        for task in tasks:
            yield make_part(task, self._pipeline, progress=self.progress)

    def close(self) -> None:
        """Stop the workers and drop queued batches."""
        self._pipeline.close()
