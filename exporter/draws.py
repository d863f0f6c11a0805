"""Random sequences that look like the training data, drawn from its profile: no recorded row is among them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.profile import SequenceProfile
from data.sequences import SequenceBlock

_ALL_LENGTHS_UP_TO = 64
_EXTREME = 8.0  # standard deviations' worth of scale


def spread_lengths(max_length: int, num_lengths: int = _ALL_LENGTHS_UP_TO) -> NDArray[np.int64]:
    """Return int64 lengths from 1 to `max_length`: every one while they are few, else an even spread of their logs."""
    if max_length <= num_lengths:
        return np.arange(1, max_length + 1)
    return np.unique(np.round(np.geomspace(1, max_length, num_lengths)).astype(np.int64))


def draw_sequences(
    profile: SequenceProfile,
    lengths: NDArray[np.int64],
    random: np.random.Generator,
    *,
    missing: NDArray[np.bool_],
    extreme: NDArray[np.bool_],
) -> SequenceBlock:
    """Draw one normal sequence a length, with the mean and spread each feature had in training.

    Args:
        profile: Statistics of the training sequences.
        lengths: int64 (sequences), each at least 1.
        random: Source of randomness.
        missing: bool (sequences): some values of these are NaN, at the training data's rate or a fifth of them.
        extreme: bool (sequences): these spread eight times as far.
    """
    num_steps, num_features = int(lengths.sum()), len(profile.mean)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # (steps)
    mean = np.array(profile.mean)
    std = np.array(profile.std)
    scale = np.where(extreme[owner], _EXTREME, 1.0)[:, None]  # (steps, 1)
    values = mean + std * scale * random.standard_normal((num_steps, num_features))
    rate = np.maximum(np.array(profile.missing_rate), 0.2)
    values[missing[owner][:, None] & (random.random((num_steps, num_features)) < rate)] = np.nan
    return as_block(values.astype(np.float32), lengths)


def as_block(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> SequenceBlock:
    """Return sequences that lie end to end in `values`, float32 (steps, features), numbered from 0."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(values, offsets, pa.array(np.arange(len(lengths))))


def join(blocks: Sequence[SequenceBlock]) -> SequenceBlock:
    """Put blocks behind each other, whatever their ids."""
    return as_block(
        np.concatenate([block.values for block in blocks]), np.concatenate([block.lengths for block in blocks])
    )
