"""Statistics of the training data: per-feature moments, missing values and lengths, computed in one stream.

The encoder standardises with them, the contract stores them, and the runner compares new data with them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seqembed.data.sequences import SequenceBlock
from seqembed.data.week_hours import NUM_WEEK_HOURS, count_week_hours

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class SequenceProfile:
    """Statistics over valid steps of many sequences.

    Attributes:
        num_sequences: Sequences with at least one step.
        num_empty: Null or zero-length sequences, which are counted separately.
        num_steps: Valid steps.
        mean, std: Per feature, raw units, over values that are not missing; std is the population's, 0 if constant.
        missing_rate: Per feature, share of steps with a missing value.
        length_quantiles: Steps at each of `QUANTILES`, nearest rank.
        week_hours: Steps in each hour of the week, from Monday 00:00; empty without time features.
    """

    num_sequences: int
    num_empty: int
    num_steps: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    missing_rate: tuple[float, ...]
    length_quantiles: tuple[int, ...]
    week_hours: tuple[int, ...] = ()

    @property
    def max_length(self) -> int:
        """Steps of the longest sequence, 0 without sequences."""
        return self.length_quantiles[-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        value = {**asdict(self), "quantiles": list(QUANTILES)}
        if not self.week_hours:
            del value["week_hours"]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        return cls(
            num_sequences=value["num_sequences"],
            num_empty=value["num_empty"],
            num_steps=value["num_steps"],
            mean=tuple(value["mean"]),
            std=tuple(value["std"]),
            missing_rate=tuple(value["missing_rate"]),
            length_quantiles=tuple(value["length_quantiles"]),
            week_hours=tuple(value.get("week_hours", ())),
        )


class ProfileAccumulator:
    """Gathers a `SequenceProfile` block by block, in memory that does not grow with the number of rows.

    Moments are merged in float64 by the pairwise update of Chan, Golub & LeVeque (1983), "Algorithms for computing
    the sample variance", which keeps a small spread precise beside a large mean.
    """

    def __init__(self, num_features: int, week_columns: tuple[int, int] | None = None) -> None:
        """Begin without a sequence; `week_columns` are the features that `seqembed.data.week_hours` reads, if any."""
        self._count = np.zeros(num_features)
        self._mean = np.zeros(num_features)
        self._squares = np.zeros(num_features)
        self._num_steps = 0
        self._lengths: Counter[int] = Counter()
        self._week_columns = week_columns
        self._week_hours = np.zeros(NUM_WEEK_HOURS, np.int64)

    def update(self, block: SequenceBlock) -> None:
        """Add a block's sequences."""
        lengths, counts = np.unique(block.lengths, return_counts=True)
        self._lengths.update(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))
        if len(block.values):
            self._num_steps += len(block.values)
            self._merge(block.values)
            if self._week_columns is not None:
                sine, cosine = self._week_columns
                self._week_hours += count_week_hours(block.values[:, sine], block.values[:, cosine])

    def _merge(self, steps: NDArray[np.float32]) -> None:
        known = ~np.isnan(steps)  # (steps, features)
        count = known.sum(axis=0).astype(np.float64)
        values = np.where(known, steps, 0).astype(np.float64)
        mean = values.sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known, (values - mean) ** 2, 0).sum(axis=0)
        total = np.maximum(self._count + count, 1)
        delta = mean - self._mean
        self._squares += squares + delta**2 * self._count * count / total
        self._mean += delta * count / total
        self._count += count

    def finish(self) -> SequenceProfile:
        """Return the profile of all sequences added so far."""
        num_empty = self._lengths[0]
        lengths = np.array(sorted(length for length in self._lengths if length), dtype=np.int64)
        counts = np.array([self._lengths[int(length)] for length in lengths], dtype=np.int64)
        num_sequences = int(counts.sum())
        ranks = np.clip(np.ceil(np.array(QUANTILES) * num_sequences), 1, None)
        indices = np.searchsorted(np.cumsum(counts), ranks)
        quantiles = lengths[indices] if num_sequences else np.zeros(len(QUANTILES), dtype=np.int64)
        std = np.sqrt(self._squares / np.maximum(self._count, 1))
        # Rounding gives a constant feature a tiny deviation, in the last bits of its mean: treat it as 0.
        std = np.where(std <= np.abs(self._mean) * 1e-12, 0.0, std)
        missing = 1 - self._count / max(self._num_steps, 1) if self._num_steps else np.zeros_like(self._count)
        return SequenceProfile(
            num_sequences=num_sequences,
            num_empty=num_empty,
            num_steps=self._num_steps,
            mean=tuple(self._mean.tolist()),
            std=tuple(std.tolist()),
            missing_rate=tuple(missing.tolist()),
            length_quantiles=tuple(quantiles.tolist()),
            week_hours=() if self._week_columns is None else tuple(self._week_hours.tolist()),
        )
