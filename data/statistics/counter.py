"""Fill statistics from blocks of sequences and from embeddings."""

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock
from seqembed.data.statistics.definition import (
    LENGTH_EDGES,
    MAX_EDGES,
    MAX_SCALES,
    NUM_BINS,
    STEPS_PER_SCALE,
    Definition,
    counted,
)
from seqembed.data.statistics.projection import Projection
from seqembed.data.statistics.statistics import Statistics, layout_of

_VALUES_AT_A_TIME = 1 << 15  # what is computed of so many stays in a core's cache
_LENGTH_EDGES = np.array(LENGTH_EDGES)


class Counter:
    """Counts sequences, in memory that does not grow with their number.

    Attributes:
        statistics: The totals so far.
    """

    def __init__(self, definition: Definition, schema: SequenceSchema, projection: Projection | None = None) -> None:
        """Start at zero.

        Args:
            definition: What is counted.
            schema: Of the sequences.
            projection: Of the embeddings; None where none are counted.
        """
        features = definition.features
        self.statistics = Statistics.empty(definition)
        self._projection = projection
        self._triangle = np.triu_indices(0 if definition.vectors is None else definition.vectors.dimensions)
        self._features = counted(schema.num_features)
        self._fields = counted(schema.num_fields)
        self._center = np.array([feature.center for feature in features], dtype=np.float64)[:, None]
        self._steps = STEPS_PER_SCALE / np.array([feature.scale for feature in features], dtype=np.float64)[:, None]
        self._edges = np.full((MAX_EDGES, len(features), 1), np.inf, dtype=np.float32)
        for index, feature in enumerate(features):
            self._edges[: len(feature.edges), index, 0] = feature.edges
        self._last_bins = np.array([field.num_bins - 1 for field in definition.fields], dtype=np.int64)
        self._first_bins = np.cumsum([0, *(self._last_bins + 1)])[:-1]
        layout = layout_of(definition)
        self._num_categories = layout["categories"].stop - layout["categories"].start
        self._totals = {name: self.statistics.totals[where] for name, where in layout.items()}  # views

    def update(self, block: SequenceBlock, hashes: NDArray[np.uint64] | None = None) -> None:
        """Add the good sequences of a block.

        Args:
            block: Sequences, as `definition` was made for.
            hashes: Of their ids, uint64 (sequences): which step is the first counted one of a sequence depends on its
                id alone. None counts every step.
        """
        lengths, totals = block.lengths, self._totals
        is_good = np.ones(len(lengths), dtype=bool)
        is_good[[index for index, _ in block.bad]] = False
        known = lengths[is_good & (lengths > 0)]
        totals["sequences"] += len(known)
        totals["empty"] += int(is_good.sum()) - len(known)
        totals["steps"] += int(known.sum())
        if not len(known):
            return
        bins = np.searchsorted(_LENGTH_EDGES, known, side="right") - 1
        totals["lengths"] += np.bincount(bins, minlength=len(_LENGTH_EDGES))
        self._extend(0, known.min(), known.max())
        steps = self._steps_of(block.offsets, np.where(is_good, lengths, 0), hashes)
        totals["counted_steps"] += len(steps)
        size = max(1, _VALUES_AT_A_TIME // max(1, len(self._features) + len(self._fields)))
        for start in range(0, len(steps), size):
            some = steps[start : start + size]
            self._count_values(block.values[some] if self._all_features else block.values[np.ix_(some, self._features)])
            self._count_categories(block.categories[some])

    @property
    def _all_features(self) -> bool:
        return not len(self._features) or self._features[-1] == len(self._features) - 1

    def _steps_of(
        self, offsets: NDArray[np.int64], lengths: NDArray[np.int64], hashes: NDArray[np.uint64] | None
    ) -> NDArray[np.int64]:
        """Return the indices of the counted steps, int64, ascending."""
        stride = 1 if hashes is None else self.statistics.definition.stride
        first = np.zeros(len(lengths), np.int64) if hashes is None else (hashes % np.uint64(stride)).astype(np.int64)
        nums = np.maximum(0, (lengths - first + stride - 1) // stride)
        starts = offsets[:-1] + first - stride * (np.cumsum(nums) - nums)
        steps: NDArray[np.int64] = np.repeat(starts, nums) + stride * np.arange(int(nums.sum()))
        return steps

    def _count_values(self, steps: NDArray[np.float32]) -> None:
        """Count values, float32 (steps, features), raw units, NaN where missing."""
        if not steps.size:
            return
        # By feature: numpy's inner loops then run over many steps instead of a few features, three times as fast.
        values, totals = np.ascontiguousarray(steps.T), self._totals  # (features, steps)
        known = ~np.isnan(values)
        grid = np.where(known, values, self._center) - self._center
        grid *= self._steps
        np.rint(grid, out=grid)
        limit = MAX_SCALES * STEPS_PER_SCALE
        totals["missing"] += values.shape[1] - np.count_nonzero(known, axis=1)
        totals["clipped"] += np.count_nonzero(np.abs(grid) > limit, axis=1)
        np.clip(grid, -limit, limit, out=grid)
        # Whole numbers below 2^53 in float64: exact in any order, and faster than integers.
        totals["sums"] += grid.sum(axis=1).astype(np.int64)
        totals["squares"] += np.einsum("ij,ij->i", grid, grid).astype(np.int64)
        totals["bins"] += self._bins(values, known)
        self._extend(slice(1, None), np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1))

    def _bins(self, values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many known values lie in each bin, int64 (features · `NUM_BINS`), of values (features, steps)."""
        inside = np.zeros(values.shape, dtype=np.uint8)
        for edges in self._edges:
            inside += values >= edges
        bins = inside + np.arange(len(values))[:, None] * NUM_BINS
        return np.bincount(bins[known], minlength=NUM_BINS * len(values))

    def _extend(self, where: int | slice, lowest: NDArray[np.generic], highest: NDArray[np.generic]) -> None:
        statistics = self.statistics
        statistics.lowest[where] = np.fmin(statistics.lowest[where], lowest)
        statistics.highest[where] = np.fmax(statistics.highest[where], highest)

    def _count_categories(self, ids: NDArray[np.int32]) -> None:
        """Count category ids, int32 (steps, fields)."""
        if ids.size:
            bins = np.minimum(ids[:, self._fields], self._last_bins) + self._first_bins
            self._totals["categories"] += np.bincount(bins.ravel(), minlength=self._num_categories)

    def update_embeddings(self, vectors: NDArray[np.float32], hashes: NDArray[np.uint64] | None = None) -> None:
        """Add embeddings; without a projection nothing is counted.

        Args:
            vectors: Finite float32 (sequences, embedding_dim).
            hashes: Of their ids, uint64 (sequences), which say whose are counted. None counts all.
        """
        grid, totals = self.statistics.definition.vectors, self._totals
        if self._projection is None or grid is None:
            return
        if hashes is not None and grid.stride > 1:
            # Other bits of the hash than those that say which steps are counted.
            vectors = vectors[(hashes >> np.uint64(32)) % np.uint64(grid.stride) == 0]
        totals["vectors"] += len(vectors)
        for steps, outside in self._projection(vectors):
            totals["vectors_clipped"] += outside
            totals["vector_sums"] += steps.sum(axis=0).astype(np.int64)
            products = steps.T @ steps
            totals["vector_products"] += products[self._triangle].astype(np.int64)
