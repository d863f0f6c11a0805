"""Units of the inputs: mean and standard deviation of each feature, and how much it changes from step to step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.data.standardise import MAX_DEVIATIONS, moments

MIN_SPREAD = 0.1  # of the data's standard deviation: sequences that hardly vary are not scaled up to noise


@dataclass(frozen=True, slots=True)
class Changes:
    """How standardised values change from step to step.

    Attributes:
        std: float32 (features), root mean square of the differences; 1 for a constant feature.
        persistence: Correlation of consecutive differences, over all features: −0.5 for pure noise, towards 1 for
            smooth signals.
    """

    std: NDArray[np.float32]
    persistence: float


def standardised_steps(block: SequenceBlock, profile: SequenceProfile) -> NDArray[np.float64]:
    """Standardise like `seqembed.trainer.model.encoder.standardised`, float64 (steps, features); NaN stays."""
    mean, std = moments(profile)
    scaled: NDArray[np.float64] = np.clip((block.values - mean) / std, -MAX_DEVIATIONS, MAX_DEVIATIONS).astype(
        np.float64
    )
    return scaled


def normalized_steps(block: SequenceBlock, profile: SequenceProfile, normalization: str) -> NDArray[np.float64]:
    """Return what the recurrent layers of an encoder read, float64 (steps, features); 0 where a value is missing.

    Args:
        block: Some of the training sequences, raw units.
        profile: Statistics of all training sequences.
        normalization: As `ModelConfig.normalization`.
    """
    scaled = standardised_steps(block, profile)
    rows = np.flatnonzero(block.lengths)
    if normalization == "dataset" or not len(rows):
        return np.nan_to_num(scaled)
    return _normalized(scaled, block.lengths[rows], block.offsets[:-1][rows])


def _normalized(
    scaled: NDArray[np.float64], lengths: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Do what `normalize_sequences` in `encoder.py` does, on concatenated steps: float64 (steps, features)."""
    known = ~np.isnan(scaled)
    scaled = np.where(known, scaled, 0.0)
    count = np.maximum(np.add.reduceat(known, starts, axis=0, dtype=np.float64), 1.0)

    def per_step(per_sequence: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.repeat(per_sequence, lengths, axis=0)

    centred = (scaled - per_step(np.add.reduceat(scaled, starts, axis=0) / count)) * known
    spread = np.sqrt(np.add.reduceat(centred**2, starts, axis=0) / count)
    normalized: NDArray[np.float64] = centred / per_step(spread + MIN_SPREAD)
    return normalized


def changes_of(block: SequenceBlock, profile: SequenceProfile) -> Changes:
    """Measure the differences from step to step.

    Args:
        block: Some of the training sequences, raw units.
        profile: Statistics of all training sequences.
    """
    changes = np.diff(standardised_steps(block, profile), axis=0, prepend=np.nan)
    changes[block.offsets[:-1][block.lengths > 0]] = np.nan  # a first step has no difference
    known = ~np.isnan(changes)
    filled = np.where(known, changes, 0.0)
    squares = (filled**2).sum(axis=0)
    spread = np.sqrt(squares / np.maximum(known.sum(axis=0), 1))
    spread = np.where(spread > 0, spread, 1.0)
    unit = filled / spread
    total = (unit**2).sum()
    persistence = float((unit[1:] * unit[:-1]).sum() / total) if total else 0.0
    return Changes(spread.astype(np.float32), persistence)
