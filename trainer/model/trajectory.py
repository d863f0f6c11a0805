"""The trajectory of a sequence: each feature, resampled at a few points of relative time.

Where sequences are aligned (a daily load curve, a gesture from start to end), a small deviation at one point may be all
that distinguishes two of them, and pooling over the steps loses when it happened. Where sequences are not aligned, a
trajectory carries little and would only separate sequences that are similar. Alignment is detected without labels, from
the share of energy that the mean trajectory explains.

Source: the piecewise aggregate approximation of Keogh et al. (2001), "Dimensionality reduction for fast similarity
search in large time series databases"; here a single frame, the middle one, represents each segment.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.input.scale import normalized_steps
from seqembed.trainer.model.backend import keras

ops = keras.ops

PROBE_POINTS = 16  # to detect whether sequences are aligned
_MIN_POINTS, _MAX_POINTS = 8, 32
_MAX_WIDTH = 128  # of the trajectories of all features together
# Measured on ten data sets, public ones and our own: 0 to 0.03 where sequences begin anywhere, 0.46 to 0.96 where they
# are aligned.
_MIN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Alignment:
    """How much the trajectories of some sequences have in common.

    Attributes:
        share: Share of their energy (mean square) that their mean trajectory explains, 0…1.
    """

    share: float

    @property
    def is_aligned(self) -> bool:
        """Whether equal points of relative time correspond to each other across sequences."""
        return self.share >= _MIN_SHARE


def num_points(num_features: int, num_frames: int) -> int:
    """Return at how many points to resample each feature; 0 with too many features or too few frames.

    Args:
        num_features: Numbers per step.
        num_frames: Frames of a typical sequence.
    """
    points = min(_MAX_POINTS, num_frames, _MAX_WIDTH // max(num_features, 1))
    return points if points >= _MIN_POINTS else 0


def measure_alignment(
    block: SequenceBlock, profile: SequenceProfile, points: int, frame: int, normalization: str = "sequence"
) -> Alignment:
    """Measure the alignment of sequences on the same trajectories that the encoder computes.

    Args:
        block: Some of the training sequences, raw units.
        profile: Statistics of all training sequences.
        points: Points of a trajectory.
        frame: Steps per frame.
        normalization: As `ModelConfig.normalization`.
    """
    rows = np.flatnonzero(block.lengths)
    lengths, starts = block.lengths[rows], block.offsets[:-1][rows]
    if not len(rows) or not block.values.shape[1] or not points:
        return Alignment(0.0)
    scaled = normalized_steps(block, profile, normalization)
    total = np.concatenate([np.zeros((1, scaled.shape[1])), np.cumsum(scaled, axis=0)])
    num_frames = -(-lengths // frame)
    first = middle_frames(num_frames[:, None], np.arange(points)) * frame  # (sequences, points)
    last = np.minimum(first + frame, lengths[:, None])
    resampled = (
        total[starts[:, None] + last] - total[starts[:, None] + first]
    ) / frame  # (sequences, points, features)
    energy = float((resampled**2).mean(axis=0).sum())
    variance = float(resampled.var(axis=0).sum())
    return Alignment(1 - variance / energy if energy > 0 else 0.0)


def middle_frames(num_frames: Any, points: Any) -> Any:
    """Return the middle frame of each of equal segments of a sequence: integers, of numpy or as a tensor.

    Args:
        num_frames: Frames of each sequence, (sequences, 1).
        points: 0, 1, … for each segment, (points).
    """
    return num_frames * (2 * points + 1) // (2 * len(points))


def trajectory(frames: Any, num_frames: Any, points: int) -> Any:
    """Return the trajectory of each sequence.

    Args:
        frames: float32 (batch, frames, features), the mean of each frame; finite in the padding, too.
        num_frames: int32 (batch, 1), real frames.
        points: Points of a trajectory.

    Returns:
        float32 (batch, points × features).
    """
    ones = ops.ones_like(frames[:, :, 0], dtype="int32")  # (batch, frames)
    each = ops.sum(ones, axis=1)  # (batch), frames of each sequence, padding included
    first = ops.subtract(ops.cumsum(each), each)  # (batch), where those of each begin in all of them
    wanted = middle_frames(num_frames, np.arange(points, dtype=np.int32))  # (batch, points)
    # Rows of one table: a product with zeros and ones of each sequence takes several times as long in ONNX Runtime.
    table = ops.reshape(frames, (-1, frames.shape[-1]))
    resampled = ops.take(table, ops.add(wanted, ops.expand_dims(first, 1)), axis=0)
    return ops.reshape(resampled, (-1, points * frames.shape[-1]))
