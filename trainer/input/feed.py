"""A tf.data pipeline over a `SequenceSource`: batches are read and padded while the network trains."""

from collections.abc import Callable, Iterator

from seqembed.trainer.fit.steps import signature
from seqembed.trainer.input.source import SequenceSource
from seqembed.trainer.model.backend import tf
from seqembed.trainer.model.losses import Batch

_BATCHES_AHEAD = 4


class Feed:
    """A tf.data pipeline over a source, built once and run every epoch."""

    def __init__(self, source: SequenceSource, num_features: int, num_fields: int = 0) -> None:
        self._source = source
        self._batches: Callable[[], Iterator[Batch]] = lambda: iter(())
        self._error: Exception | None = None
        shapes = tuple(signature(num_features, num_fields))
        self._dataset = tf.data.Dataset.from_generator(self._generate, output_signature=shapes).prefetch(_BATCHES_AHEAD)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` as tensors, without the first `skip`.

        Raises:
            InputError: A file can no longer be read.
        """
        return self._run(lambda: self._source.batches(epoch, skip))

    def stream(self, skip: int = 0) -> Iterator[Batch]:
        """Yield batches endlessly, epoch after epoch, without the first `skip`.

        Raises:
            InputError: A file can no longer be read.
        """
        return self._run(lambda: self._source.stream(skip))

    def _run(self, batches: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
        self._batches, self._error = batches, None
        for tensors in self._dataset:
            yield Batch(*tensors)
        if self._error is not None:
            raise self._error

    def _generate(self) -> Iterator[Batch]:
        # tf.data replaces the class of an error raised inside: keep the error and raise it outside.
        try:
            yield from self._batches()
        except Exception as error:
            self._error = error
