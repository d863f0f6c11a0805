"""Embed a stream of sequences on this host; decoding, embedding and writing overlap.

One thread decodes Parquet into windows, N threads embed batches of similar length, and the caller gets finished
windows in input order. NumPy, pyarrow and ONNX Runtime release the GIL in the expensive operations.
"""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import BatchedBlock
from seqembed.data.outputs import EMBEDDING, ModelOutput
from seqembed.data.sequences import SequenceBlock, windows
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.options import (
    FIRST_WINDOW_SEQUENCES,
    FULL_BATCH_STEPS_PER_SEQUENCE,
    MAX_BATCH_MULTIPLE,
    MAX_BATCH_STEPS,
    MAX_WINDOW_SEQUENCES,
    MAX_WINDOW_VALUES,
)

# Windows decoded ahead, and windows being embedded: just enough that neither side waits for the other, even while the
# oldest one is written.
_DECODED_AHEAD = 2
_IN_FLIGHT = 3
# Maximum batches per task of a worker, if each then gets several tasks per window: a task costs about 20 µs itself.
_MAX_BATCHES_PER_TASK = 4
_MIN_TASKS_PER_WORKER = 8


@dataclass(frozen=True, slots=True)
class EmbeddedWindow:
    """A window of sequences with their vectors.

    Attributes:
        block: The sequences, in input order.
        outputs: Outputs of the model, by name: float32 (sequences, width) or (sequences); zero for sequences without
            steps.
        has_embedding: bool (sequences).
        padded_steps: Steps computed, including padding.
    """

    block: SequenceBlock
    outputs: dict[str, NDArray[np.float32]]
    has_embedding: NDArray[np.bool_]
    padded_steps: int

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """float32 (sequences, embedding_dim)."""
        return self.outputs[EMBEDDING]


@dataclass(frozen=True, slots=True)
class _PendingWindow:
    """A window that is being embedded.

    Attributes:
        batches: Its batches.
        vectors: Each output, float32 (sequences with steps, width), in the order of the batches; filled by `futures`.
    """

    batches: BatchedBlock
    vectors: dict[ModelOutput, NDArray[np.float32]]
    futures: list[Future[None]]

    def finished(self) -> EmbeddedWindow:
        """Wait for the vectors; raises errors of the workers."""
        for future in self.futures:
            future.result()
        num_sequences = self.batches.block.num_sequences
        return EmbeddedWindow(
            block=self.batches.block,
            outputs={
                output.name: self.batches.in_block_order(vectors).reshape(output.shape(num_sequences))
                for output, vectors in self.vectors.items()
            },
            has_embedding=self.batches.block.lengths > 0,
            padded_steps=self.batches.padded_steps,
        )


def batches_of_window(block: SequenceBlock, batch_size: int) -> BatchedBlock:
    """Divide a window into batches.

    Args:
        block: The window.
        batch_size: Sequences per batch, from the model's contract.
    """
    full_steps = FULL_BATCH_STEPS_PER_SEQUENCE * batch_size
    return BatchedBlock.cut(block, batch_size, MAX_BATCH_STEPS, multiple=MAX_BATCH_MULTIPLE, full_steps=full_steps)


class Pipeline:
    """Threads that share one encoder; use as a context manager, or close it.

    Attributes:
        contract: Contract of the encoder.
        source: File of the encoder, for messages.
    """

    def __init__(self, encoder: Encoder, threads: int) -> None:
        """Start `threads` workers that embed with `encoder`."""
        self._encoder = encoder
        self.contract, self.source = encoder.contract, encoder.source
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
        self._readers, self._is_closed = [_Reader()], False
        self._start_pool()

    def _start_pool(self) -> None:
        """Start all threads now, as `_Reader` says, and not when the first batches wait for them."""
        all_started = threading.Barrier(self._threads)
        try:
            for future in [self._pool.submit(all_started.wait) for _ in range(self._threads)]:
                future.result()
        except BaseException:
            all_started.abort()
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the pipeline."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop the workers and drop queued batches."""
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        while self._readers:
            self._readers.pop().stop()

    def embed(
        self, blocks: Iterator[SequenceBlock], outputs: Sequence[ModelOutput] | None = None
    ) -> Generator[EmbeddedWindow, None, None]:
        """Yield the sequences of `blocks` with their embeddings, in order, window by window.

        Windows and batches depend on the sequences only, so equal input gives equal bytes with any number of threads.
        If the generator is closed early, it stops reading `blocks`.

        Args:
            blocks: The sequences.
            outputs: Outputs of the contract to compute: all (None), or all but the reconstruction error.
        """
        contract = self.contract
        max_steps = max(1, MAX_WINDOW_VALUES // (contract.schema.num_features + contract.schema.num_fields))
        # Single numbers do not count: with scores, windows and so vectors are the same to the last bit.
        num_values = sum(output.width or 0 for output in contract.outputs)
        max_sequences = max(1, min(MAX_WINDOW_SEQUENCES, MAX_WINDOW_VALUES // num_values))
        outputs = contract.outputs if outputs is None else outputs
        # Another one where two streams are embedded at once.
        reader = self._readers.pop() if self._readers else _Reader()
        source = reader.read_ahead(windows(blocks, max_sequences, max_steps, FIRST_WINDOW_SEQUENCES), _DECODED_AHEAD)
        in_flight: deque[_PendingWindow] = deque()
        try:
            for block in source:
                in_flight.append(self._submit(block, outputs))
                if len(in_flight) >= _IN_FLIGHT:
                    yield in_flight.popleft().finished()
            while in_flight:
                yield in_flight.popleft().finished()
        finally:
            source.close()
            self._readers.append(reader)
            if self._is_closed:
                self.close()
            for pending in in_flight:
                for future in pending.futures:
                    future.cancel()

    def _submit(self, block: SequenceBlock, outputs: Sequence[ModelOutput]) -> _PendingWindow:
        batches = batches_of_window(block, self.contract.batch_size)
        num_rows = len(batches.order)
        vectors = {output: np.empty((num_rows, output.num_values), dtype=np.float32) for output in outputs}
        share = batches.num_batches // (_MIN_TASKS_PER_WORKER * self._threads)
        size = max(1, min(share, _MAX_BATCHES_PER_TASK))
        futures = [
            self._pool.submit(self._embed_batches, batches, vectors, range(batches.num_batches)[first : first + size])
            for first in range(0, batches.num_batches, size)
        ]
        return _PendingWindow(batches, vectors, futures)

    def _embed_batches(
        self, batches: BatchedBlock, vectors: dict[ModelOutput, NDArray[np.float32]], indices: range
    ) -> None:
        is_complete = len(vectors) == len(self.contract.outputs)
        run = self._encoder.run if is_complete else self._encoder.run_without_decoder
        for index in indices:
            batch = batches.batch(index)
            found = run(batch.values, batch.lengths, batch.categories)
            rows = slice(batches.bounds[index], batches.bounds[index + 1])
            for output, array in vectors.items():
                array[rows] = found[output.name].reshape(-1, output.num_values)


class _Reader:
    """A thread that reads iterators, one after the other.

    It is started once, while there is memory: `Thread.start` waits for ever where the new thread lacks the memory to
    begin (Python 3.11 to 3.14), and a worker with a memory limit would then hang in the part that is too large.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self._waiting: queue.SimpleQueue[ReadAhead | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="decode", daemon=True).start()

    def read_ahead(self, source: Iterator[SequenceBlock], depth: int) -> "ReadAhead":
        """Read an iterator, at most `depth` items ahead, once those before it are closed."""
        found = ReadAhead(source, depth)
        self._waiting.put(found)
        return found

    def stop(self) -> None:
        """End the thread, once what it reads is closed."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (reading := self._waiting.get()) is not None:
            reading.read()
            del reading  # and with it, what it has read


class ReadAhead(Iterator[SequenceBlock]):
    """Items of an iterator that another thread reads ahead; its exceptions are raised here."""

    _END = object()

    def __init__(self, source: Iterator[SequenceBlock], depth: int) -> None:
        """Take an iterator, of which at most `depth` items are read ahead."""
        self._source = source
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._stop, self._has_ended = threading.Event(), threading.Event()

    def read(self) -> None:
        """Read all items; runs in the other thread."""
        try:
            for item in self._source:
                self._put(item)
                if self._stop.is_set():
                    return
            self._put(self._END)
        except BaseException as error:  # raised by `__next__`
            self._put(error)
        finally:
            self._has_ended.set()

    def _put(self, item: object) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __next__(self) -> SequenceBlock:
        """Return the next item, or raise the exception of the source."""
        item = self._queue.get()
        if item is self._END:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        assert isinstance(item, SequenceBlock)  # noqa: S101 - for the type checker
        return item

    def close(self) -> None:
        """Stop reading and drop items read ahead."""
        self._stop.set()
        self._has_ended.wait()
