"""Augmentation: two views of each sequence that differ in what an embedding should not depend on.

A view is a random crop with amplitude jitter on each feature and two short gaps; the encoder adds noise during training
(`seqembed.trainer.model.encoder`). The decoder's target is the crop itself.

Events, which have categories or times, are dropped at random instead of getting gaps. The time features are recomputed
from the remaining events, and a few categories become unknown. The decoder's target is the remaining events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.schema import Feature
from seqembed.data.schema.vocabulary import UNKNOWN_ID
from seqembed.data.sequences import SequenceBlock

CATEGORY_DROPOUT = 0.05


def drop_categories(ids: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
    """Replace a share of `CATEGORY_DROPOUT` of the ids, int32 (batch, time, fields), by the unknown id.

    So the unknown id gets a neutral embedding, even if every training value is in the vocabulary.
    """
    if not ids.size:
        return ids
    return np.where(random.random(ids.shape) < CATEGORY_DROPOUT, np.int32(UNKNOWN_ID), ids)


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """Strength of the augmentation.

    Attributes:
        min_crop: Minimum length of a crop, as a share of the sequence.
        amplitude_jitter: Standard deviation of each feature's factor around 1.
        num_gaps: Number of gaps of missing values.
        max_gap: Maximum length of a gap, as a share of the crop.
        event_dropout: Probability of dropping an event.
    """

    min_crop: float = 0.5
    amplitude_jitter: float = 0.1
    num_gaps: int = 2
    max_gap: float = 0.1
    event_dropout: float = 0.15


@dataclass(frozen=True, slots=True)
class Views:
    """Views of a batch of sequences: the first of every sequence, then the second of every sequence.

    Attributes:
        values: float32 (2 × sequences, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (2 × sequences), each at least 1.
        targets: float32 like `values`, the crops before augmentation.
        categories: int32 (2 × sequences, time, fields), ids; the padding is 0.
        category_targets: int32 like `categories`, the ids before augmentation.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int32]
    targets: NDArray[np.float32]
    categories: NDArray[np.int32]
    category_targets: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Clock:
    """Indices of the time features of one column; -1 for one that is not used."""

    since_previous: int
    since_first: int

    def restart(self, values: NDArray[np.float32], rows: NDArray[np.int64], stays: NDArray[np.bool_]) -> None:
        """Recompute the time since the previous and since the first remaining event.

        Args:
            values: float32 (events, features) of concatenated crops; modified in place at remaining events.
            rows: int64 (events), view of each event, ascending.
            stays: bool (events), which events remain, at least one per view. The first one keeps its true gap.
        """
        passed = np.cumsum(np.expm1(values[:, self.since_previous].astype(np.float64)))[stays]
        indices, view = np.flatnonzero(stays), rows[stays]
        first = np.diff(view, prepend=-1) > 0
        gaps = np.log1p(np.maximum(np.diff(passed, prepend=0.0), 0.0))
        values[indices[~first], self.since_previous] = gaps[~first]
        if self.since_first >= 0:
            begun = np.maximum.accumulate(np.where(first, np.arange(len(view)), 0))
            values[indices, self.since_first] = np.log1p(np.maximum(passed - passed[begun], 0.0))


def _clocks(features: Sequence[Feature]) -> tuple[_Clock, ...]:
    """Return the time columns among the features that have a gap feature."""
    indices = {
        (feature.column, feature.component): index for index, feature in enumerate(features) if feature.kind == "time"
    }
    columns = dict.fromkeys(column for column, _ in indices)
    return tuple(
        _Clock(indices[column, "since_previous"], indices.get((column, "since_first"), -1))
        for column in columns
        if (column, "since_previous") in indices
    )


class ViewMaker:
    """Draws views.

    Args:
        mean: float32 (features), raw units, around which amplitudes are scaled.
        max_length: Maximum steps of a view; of longer sequences each view shows a section.
        config: Strength of the augmentation.
        features: The features in model order; without them all are plain numbers.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        max_length: int,
        config: ViewConfig | None = None,
        features: Sequence[Feature] = (),
    ) -> None:
        self.max_length = max_length
        self._mean = mean
        self._config = config or ViewConfig()
        numeric = [index for index, feature in enumerate(features) if feature.kind == "numeric"]
        self._numeric = np.array(numeric if features else range(len(mean)), dtype=np.int64)
        self._clocks = _clocks(features)

    def draw(self, block: SequenceBlock, rows: NDArray[np.int64], random: np.random.Generator) -> Views:
        """Return two views of each of the sequences at `rows`, int64 (sequences), none of them empty."""
        twice = np.concatenate([rows, rows])
        total = block.offsets[twice + 1] - block.offsets[twice]
        longest = np.minimum(total, self.max_length)
        share = random.uniform(self._config.min_crop, 1.0, len(twice))
        lengths = np.maximum(np.rint(share * longest), 1).astype(np.int64)
        starts = block.offsets[twice] + np.floor(random.random(len(twice)) * (total - lengths + 1)).astype(np.int64)
        if self._clocks or block.categories.shape[1]:
            return self._of_events(block, starts, lengths, random)
        steps = np.arange(int(lengths.max()))
        inside = steps < lengths[:, None]  # (views, time)
        targets = np.zeros((*inside.shape, block.values.shape[1]), dtype=np.float32)
        targets[inside] = block.values[(starts[:, None] + steps)[inside]]
        values = self._altered(targets, lengths, random)
        values[~inside] = 0.0
        ids = np.zeros((*inside.shape, 0), dtype=np.int32)
        return Views(values, lengths.astype(np.int32), targets, ids, ids)

    def _of_events(
        self,
        block: SequenceBlock,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        random: np.random.Generator,
    ) -> Views:
        """Return the crops of `lengths` starting at steps `starts`, without some of their events."""
        kept = random.random((len(lengths), int(lengths.max()))) >= self._config.event_dropout
        kept[np.arange(len(lengths)), np.floor(random.random(len(lengths)) * lengths).astype(np.int64)] = True
        cropped = np.arange(kept.shape[1]) < lengths[:, None]  # (views, time)
        num_kept = (kept & cropped).sum(axis=1)
        rows, steps = np.nonzero(cropped)  # in the order of the views, and of time within each
        source, stays = starts[rows] + steps, kept[cropped]
        flat = block.values[source]
        for clock in self._clocks:
            clock.restart(flat, rows, stays)
        flat, source = flat[stays], source[stays]
        inside = np.arange(int(num_kept.max())) < num_kept[:, None]
        targets = np.zeros((*inside.shape, flat.shape[1]), dtype=np.float32)
        ids = np.zeros((*inside.shape, block.categories.shape[1]), dtype=np.int32)
        targets[inside], ids[inside] = flat, block.categories[source]
        values = targets.copy()
        values[:, :, self._numeric] = self._jittered(targets[:, :, self._numeric], self._mean[self._numeric], random)
        values[~inside] = 0.0
        return Views(values, num_kept.astype(np.int32), targets, drop_categories(ids, random), ids)

    def _jittered(
        self, targets: NDArray[np.float32], mean: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        shape = (len(targets), 1, targets.shape[2])
        factors = 1 + self._config.amplitude_jitter * random.standard_normal(shape, dtype=np.float32)
        with np.errstate(over="ignore"):  # overflow becomes infinite, which the encoder clips
            jittered: NDArray[np.float32] = (targets - mean) * factors + mean
        return jittered

    def _altered(
        self, targets: NDArray[np.float32], lengths: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.float32]:
        config = self._config
        values = self._jittered(targets, self._mean, random)
        steps = np.arange(targets.shape[1])
        for _ in range(config.num_gaps):
            sizes = np.floor(random.uniform(0, config.max_gap, len(targets)) * lengths + random.random(len(targets)))
            sizes = np.minimum(sizes, lengths - 1)
            begins = np.floor(random.random(len(targets)) * (lengths - sizes + 1))
            gap = (steps >= begins[:, None]) & (steps < (begins + sizes)[:, None])  # (views, time)
            values[gap] = np.nan
        altered: NDArray[np.float32] = values
        return altered
