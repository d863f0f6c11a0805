"""Draw random sequences from the profile of the training data, so that no row of the data is copied."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.vocabulary import MISSING_ID, UNKNOWN_ID, Vocabulary
from seqembed.data.sequences import SequenceBlock

_ALL_LENGTHS_UP_TO = 64
_EXTREME = 8.0  # factor on the standard deviation of extreme sequences
_WAYS_TO_MASK = 5


def spread_lengths(max_length: int, num_lengths: int = _ALL_LENGTHS_UP_TO) -> NDArray[np.int64]:
    """Return int64 lengths from 1 to `max_length`: all if there are few, else evenly spaced on a log scale."""
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
    vocabularies: Sequence[Vocabulary] = (),
) -> SequenceBlock:
    """Draw one normally distributed sequence per length, with the mean and deviation of each feature in training.

    Half of the categories follow the frequencies in training, a quarter are uniform over the ids, and a quarter are
    unknown, missing or the rarest value: the ends of the lookup table.

    Args:
        profile: Statistics of the training sequences.
        lengths: int64 (sequences), each at least 1.
        random: Source of randomness.
        missing: bool (sequences): sequences with NaN values, at the training data's rate or a fifth of the values.
        extreme: bool (sequences): sequences with eight times the deviation.
        vocabularies: Of the categorical fields, in model order.
    """
    num_steps, num_features = int(lengths.sum()), len(profile.mean)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # (steps)
    mean = np.array(profile.mean)
    std = np.array(profile.std)
    scale = np.where(extreme[owner], _EXTREME, 1.0)[:, None]  # (steps, 1)
    values = mean + std * scale * random.standard_normal((num_steps, num_features))
    rate = np.maximum(np.array(profile.missing_rate), 0.2)
    values[missing[owner][:, None] & (random.random((num_steps, num_features)) < rate)] = np.nan
    fields = [_draw_ids(vocabulary, num_steps, random) for vocabulary in vocabularies]
    categories = np.stack(fields, axis=1) if fields else np.zeros((num_steps, 0))
    return as_block(values.astype(np.float32), lengths, categories.astype(np.int32))


def with_masked_steps(
    block: SequenceBlock, masked_steps: Sequence[NDArray[np.float32]], random: np.random.Generator
) -> SequenceBlock:
    """Return each sequence five times, with different steps replaced by a step that a Masking layer skips.

    Replaced are the first steps, the last, some in between, a random half, and all of them.

    Args:
        block: Sequences of at least one step.
        masked_steps: The raw steps that are skipped, each float32 (features); each is used for a share of the rows.
        random: Source of randomness.
    """
    lengths = np.tile(block.lengths, _WAYS_TO_MASK)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # (steps), the sequence of each
    step = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # (steps), index in its sequence
    way, length = owner // block.num_sequences, lengths[owner]
    third = (length + 2) // 3
    at_start, at_end = step < third, step >= length - third
    ways = [at_start, at_end, ~(at_start | at_end), random.random(len(owner)) < 0.5]
    masked = np.select([way == number for number in range(len(ways))], ways, True)
    values = np.tile(block.values, (_WAYS_TO_MASK, 1))
    steps = np.stack(masked_steps)[random.integers(len(masked_steps), size=len(lengths))]  # (sequences, features)
    values[masked] = steps[owner[masked]]
    return as_block(values, lengths, np.tile(block.categories, (_WAYS_TO_MASK, 1)))


def _draw_ids(vocabulary: Vocabulary, num_steps: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return ids, int64 (steps)."""
    num_ids = vocabulary.num_ids
    counts = np.array([vocabulary.num_unknown, vocabulary.num_missing, *vocabulary.counts], dtype=np.float64)
    shares = counts / counts.sum() if counts.any() else np.full(num_ids, 1 / num_ids)
    ends = np.array([UNKNOWN_ID, MISSING_ID, num_ids - 1])
    kinds = [random.choice(num_ids, num_steps, p=shares), random.integers(num_ids, size=num_steps)]
    kinds.append(random.choice(ends, num_steps))
    return np.choose(random.choice(3, num_steps, p=[0.5, 0.25, 0.25]), kinds)


def as_block(
    values: NDArray[np.float32], lengths: NDArray[np.int64], categories: NDArray[np.int32] | None = None
) -> SequenceBlock:
    """Return a block of sequences whose steps are stored consecutively, with ids from 0.

    Args:
        values: float32 (steps, features).
        lengths: int64 (sequences).
        categories: int32 (steps, fields), ids; None where there are no fields.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if categories is None:
        categories = np.zeros((len(values), 0), np.int32)
    return SequenceBlock(values, offsets, pa.array(np.arange(len(lengths))), categories=categories)


def join(blocks: Sequence[SequenceBlock]) -> SequenceBlock:
    """Concatenate blocks, with new ids."""
    return as_block(
        np.concatenate([block.values for block in blocks]),
        np.concatenate([block.lengths for block in blocks]),
        np.concatenate([block.categories for block in blocks]),
    )
