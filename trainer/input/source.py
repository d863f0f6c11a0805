"""Training batches, streamed from Parquet window by window.

An epoch is a function of seed and epoch number alone: the order of files, the assignment of rows to batches, and where
sequences are cut. So a training that was killed can resume at any batch.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.batching import pad, plan_batches
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.vocabulary import MISSING_ID
from seqembed.data.sequences import LengthPolicy, SequenceBlock, windows
from seqembed.trainer.config.model import min_length
from seqembed.trainer.input.views import ViewMaker, drop_categories
from seqembed.trainer.model.losses import Batch

# Backpropagation needs about 10 kB per step of a batch at LSTM-64: 16,384 steps stay below 200 MB.
MAX_BATCH_STEPS = 16_384
MAX_WINDOW_SEQUENCES = 20_000
# A training that ends before one pass should not see only one day of a year, so blocks of several files are
# interleaved.
_FILES_AT_A_TIME = 8
_MAX_WINDOW_BYTES = 32 << 20
_LENGTH_NOISE = 0.1


def in_validation(block: SequenceBlock, fraction: float) -> NDArray[np.bool_]:
    """Return which sequences are held out, bool (sequences), by a hash of the id: the same ones in every run."""
    return hash_ids(block.ids) < np.uint64(int(fraction * 2.0**64))


@dataclass(frozen=True, slots=True)
class _Following:
    """The step that follows the visible prefix of each sequence.

    Attributes:
        values: float32 (sequences, features), NaN where there is none.
        categories: int32 (sequences, fields), `MISSING_ID` where there is none.
    """

    values: NDArray[np.float32]
    categories: NDArray[np.int32]


def interleaved(sources: Iterable[Iterator[SequenceBlock]], at_a_time: int) -> Iterator[SequenceBlock]:
    """Yield blocks of several sources in turn; when a source ends, the next one starts."""
    waiting = iter(sources)
    reading = deque(islice(waiting, at_a_time))
    while reading:
        source = reading.popleft()
        block = next(source, None)
        if block is None:
            reading.extend(islice(waiting, 1))
        else:
            yield block
            reading.append(source)


class SequenceSource:
    """One side of the split as batches of similar length.

    Memory is bounded by one window, one block of each open file, and the cache, which keeps all blocks if they fit.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        schema: SequenceSchema,
        policy: LengthPolicy,
        task: str,
        *,
        validation: bool,
        fraction: float,
        batch_size: int,
        seed: int,
        cache_bytes: int,
        views: ViewMaker | None = None,
        max_batch_steps: int = MAX_BATCH_STEPS,
    ) -> None:
        """Configure the source; nothing is read yet.

        Args:
            files: Parquet files.
            schema: Which columns make a sequence.
            policy: How long sequences are truncated.
            task: Decides whether sequences are cut into a prefix and the next step, as in `ResolvedModel`.
            validation: Whether this is the held-out side: fixed order, and cut before the last step.
            fraction: Share of ids held out.
            batch_size: Maximum sequences per batch.
            seed: Seed of all random choices.
            cache_bytes: Maximum bytes of decoded sequences to keep between epochs; larger data is read again.
            views: Draws two views of each sequence, which replace it in the batch.
            max_batch_steps: Maximum steps of a batch of sequences, padding included.
        """
        self._files, self._schema, self._policy, self._task = tuple(files), schema, policy, task
        self._validation, self._fraction = validation, fraction
        self._batch_size, self._seed = batch_size, seed
        self._cache_bytes = cache_bytes
        self._views, self._max_batch_steps = views, max_batch_steps
        self._cache: dict[int, list[SequenceBlock]] = {}

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` in order, without the first `skip`.

        Raises:
            InputError: A file can no longer be read.
        """
        random = np.random.default_rng([self._seed, epoch])
        order = np.arange(len(self._files)) if self._validation else random.permutation(len(self._files))
        files = (self._blocks(int(index)) for index in order)
        blocks = chain.from_iterable(files) if self._validation else interleaved(files, _FILES_AT_A_TIME)
        max_steps = max(1, _MAX_WINDOW_BYTES // (4 * (self._schema.num_features + self._schema.num_fields)))
        for window in windows(blocks, MAX_WINDOW_SEQUENCES, max_steps):
            seen, following = self._cut(window, random)
            lengths = seen.lengths if self._views is None else np.minimum(seen.lengths, self._views.max_length)
            plan = self._plan(lengths, random)
            for index, rows in enumerate(plan):
                batch = self._batch(seen, following, rows, random)  # even if skipped, to keep the random state
                if index >= skip:
                    yield batch
            skip = max(0, skip - len(plan))

    def stream(self, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch 1, 2 and so on endlessly, without the first `skip`.

        Raises:
            InputError: A file can no longer be read.
        """
        for epoch in count(1):
            found = 0
            for found, batch in enumerate(self.batches(epoch), start=1):
                if found > skip:
                    yield batch
            if not found:
                return
            skip = max(0, skip - found)

    def _batch(
        self, block: SequenceBlock, following: _Following, rows: NDArray[np.int64], random: np.random.Generator
    ) -> Batch:
        if self._views is None:
            padded = pad(block, rows)
            return Batch(
                values=padded.values,
                lengths=padded.lengths,
                targets=padded.values,
                next_step=following.values[rows],
                categories=padded.categories if self._validation else drop_categories(padded.categories, random),
                category_targets=padded.categories,
                next_categories=following.categories[rows],
            )
        views = self._views.draw(block, rows, random)
        twice = np.concatenate([rows, rows])
        return Batch(
            values=views.values,
            lengths=views.lengths,
            targets=views.targets,
            next_step=following.values[twice],
            categories=views.categories,
            category_targets=views.category_targets,
            next_categories=following.categories[twice],
        )

    def _blocks(self, index: int) -> Iterator[SequenceBlock]:
        """Yield this side's sequences of a file, without empty ones, ids and kept columns."""
        if index in self._cache:
            yield from self._cache[index]
            return
        kept: list[SequenceBlock] = []
        for block in read_blocks(self._files[index], self._schema, self._policy):
            held_out = in_validation(block, self._fraction)
            side = (held_out == self._validation) & (block.lengths >= min_length(self._task))
            rows = np.flatnonzero(side)
            chosen = block.take(rows)
            chosen = SequenceBlock(chosen.values, chosen.offsets, pa.nulls(len(rows)), categories=chosen.categories)
            if self._cache_bytes > 0:
                kept.append(chosen)
                self._cache_bytes -= chosen.values.nbytes + chosen.categories.nbytes + chosen.offsets.nbytes
            if self._cache_bytes <= 0:  # the data is too large to keep: read it again in every epoch
                kept.clear()
                self._cache.clear()
            yield chosen
        if self._cache_bytes > 0:
            self._cache[index] = kept

    def _cut(self, window: SequenceBlock, random: np.random.Generator) -> tuple[SequenceBlock, _Following]:
        """Return the prefix of each sequence that the encoder sees, and the step that follows it."""
        lengths, num = window.lengths, window.num_sequences
        next_step = np.full((num, self._schema.num_features), np.nan, dtype=np.float32)
        next_ids = np.full((num, self._schema.num_fields), MISSING_ID, dtype=np.int32)
        if self._task == "reconstruct":
            return window, _Following(next_step, next_ids)
        seen = np.maximum(lengths - 1, 1)
        if not self._validation:
            seen = 1 + np.floor(random.random(len(lengths)) * np.maximum(lengths - 1, 1)).astype(np.int64)
        has_next = seen < lengths
        next_step[has_next] = window.values[(window.offsets[:-1] + seen)[has_next]]
        next_ids[has_next] = window.categories[(window.offsets[:-1] + seen)[has_next]]
        offsets = np.concatenate([[0], np.cumsum(seen)]).astype(np.int64)
        steps = np.repeat(window.offsets[:-1] - offsets[:-1], seen) + np.arange(offsets[-1])
        cut = SequenceBlock(window.values[steps], offsets, window.ids, categories=window.categories[steps])
        return cut, _Following(next_step, next_ids)

    def _plan(self, lengths: NDArray[np.int64], random: np.random.Generator) -> list[NDArray[np.int64]]:
        """Divide a window into batches of similar length; for training shuffled differently each time.

        Sorting by lengths with a little noise avoids batches that always hold the same sequences.
        """
        if self._validation:
            return plan_batches(lengths, self._batch_size, self._max_batch_steps)
        shuffled = random.permutation(len(lengths))
        noisy = lengths[shuffled] + np.floor(random.random(len(lengths)) * (1 + _LENGTH_NOISE * lengths[shuffled]))
        size = self._batch_size
        if self._views is not None:
            # Batches of equal size: a small last batch would have few negatives.
            size = -(-len(lengths) // -(-len(lengths) // size))
        plan = plan_batches(noisy.astype(np.int64), size, self._max_batch_steps)
        return [shuffled[plan[index]] for index in random.permutation(len(plan))]
