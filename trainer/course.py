"""The course of a sequence: what its features do at equal shares of its length.

Where sequences run alike (a day's load, a gesture from start to end), a small deviation at a certain place may be all
that tells two of them apart, and what is pooled over the steps has lost the place. Where they do not, a course says
little, and would only stand between sequences that are alike. Which of both it is, is told without labels: by how much
of all courses their mean explains.

Source: the piecewise aggregate approximation of Keogh et al. (2001), "Dimensionality reduction for fast similarity
search in large time series databases"; here a share of the length is told by the one frame in its middle.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.backend import keras
from seqembed.trainer.scale import LEAST_SPREAD, standardised_steps

ops = keras.ops

TRIED_PLACES = 16  # to find out whether sequences run alike
_MOST_PLACES, _LEAST_PLACES = 32, 8
_MOST_NUMBERS = 128  # of all features together
# Where sequences begin anywhere it is 0 to 0.03, where they run alike 0.46 to 0.96: ten sets, open ones and our own.
_LEAST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Courses:
    """What the courses of some sequences have in common.

    Attributes:
        share: Of their mean square, how much their mean course explains, 0…1.
    """

    share: float

    @property
    def alike(self) -> bool:
        """Whether sequences run alike."""
        return self.share >= _LEAST_SHARE


def num_places(num_features: int, num_frames: int) -> int:
    """Return in how many places the course of each feature is told; 0 where features are too many, or frames too few.

    Args:
        num_features: Numbers of a step.
        num_frames: Of a usual sequence.
    """
    places = min(_MOST_PLACES, num_frames, _MOST_NUMBERS // max(num_features, 1))
    return places if places >= _LEAST_PLACES else 0


def courses_of(
    block: SequenceBlock, profile: SequenceProfile, places: int, frame: int, scaling: str = "sequence"
) -> Courses:
    """Measure the courses of sequences as the encoder tells them.

    Args:
        block: Some of the training sequences, raw units.
        profile: Statistics of all of them.
        places: In how many places.
        frame: Steps in a frame.
        scaling: Of the values that are read, as `seqembed.trainer.config.ModelConfig.scaling`.
    """
    rows = np.flatnonzero(block.lengths)
    lengths, begins = block.lengths[rows], block.offsets[:-1][rows]
    if not len(rows) or not block.values.shape[1] or not places:
        return Courses(0.0)
    scaled = standardised_steps(block, profile)
    scaled = np.nan_to_num(scaled) if scaling == "data" else _by_their_own_scale(scaled, lengths, begins)
    total = np.concatenate([np.zeros((1, scaled.shape[1])), np.cumsum(scaled, axis=0)])
    num_frames = -(-lengths // frame)
    first = middle_frames(num_frames[:, None], np.arange(places)) * frame  # (sequences, places)
    last = np.minimum(first + frame, lengths[:, None])
    told = (total[begins[:, None] + last] - total[begins[:, None] + first]) / frame  # (sequences, places, features)
    energy = float((told**2).mean(axis=0).sum())
    variance = float(told.var(axis=0).sum())
    return Courses(1 - variance / energy if energy > 0 else 0.0)


def _by_their_own_scale(
    scaled: NDArray[np.float64], lengths: NDArray[np.int64], begins: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Do what `seqembed.trainer.model.by_its_own_scale` does, for sequences end to end: float64 (steps, features)."""
    known = ~np.isnan(scaled)
    scaled = np.where(known, scaled, 0.0)
    count = np.maximum(np.add.reduceat(known, begins, axis=0, dtype=np.float64), 1.0)

    def spread_out(a_sequence: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.repeat(a_sequence, lengths, axis=0)

    centred = (scaled - spread_out(np.add.reduceat(scaled, begins, axis=0) / count)) * known
    spread = np.sqrt(np.add.reduceat(centred**2, begins, axis=0) / count)
    told: NDArray[np.float64] = centred / spread_out(spread + LEAST_SPREAD)
    return told


def middle_frames(num_frames: Any, places: Any) -> Any:
    """Return the frame in the middle of each of equal shares of a sequence: whole numbers, numpy's or tensors.

    Args:
        num_frames: Of each sequence, (sequences, 1).
        places: 0, 1, … for each share, (places).
    """
    return num_frames * (2 * places + 1) // (2 * len(places))


def course(frames: Any, num_frames: Any, places: int) -> Any:
    """Return the course of each sequence.

    Args:
        frames: float32 (batch, frames, features), the mean of each frame; finite in the padding, too.
        num_frames: int32 (batch, 1), real frames.
        places: In how many places.

    Returns:
        float32 (batch, places × features).
    """
    wanted = middle_frames(num_frames, np.arange(places, dtype=np.int32))  # (batch, places)
    there = ops.cumsum(ops.ones_like(frames[:1, :, 0], dtype="int32"), axis=1) - 1  # (1, frames), from 0
    # One frame a place: a product with zeros and ones, since to gather by row takes more operations to serve.
    chosen = ops.equal(ops.expand_dims(wanted, 2), ops.expand_dims(there, 1))  # (batch, places, frames)
    told = ops.matmul(ops.cast(chosen, "float32"), frames)
    return ops.reshape(told, (-1, places * frames.shape[-1]))
