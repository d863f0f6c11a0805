"""Frames: consecutive steps that recurrent layers read as one, which makes long sequences cheap."""

from dataclasses import dataclass
from typing import Any

from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import keras

ops = keras.ops

_HUGE = 1e30  # above every activation: after subtracting it, padding never wins a maximum


@dataclass(frozen=True, slots=True)
class Frames:
    """Sizes and masks of the frames that recurrent layers read.

    Attributes:
        size: Steps from one frame to the next.
        overlap: Further steps, from the following frames, that each frame also holds.
        length: int32 (batch, 1), number of frames with a real step.
        mask: bool (batch, frames), which frames have a real step.
        count: float32 (batch, 1), `length`, but at least 1.
        below: float32 (batch, frames, 1), added before a maximum: 0 in real frames, very negative in the padding.
        any: float32 (batch, 1), 0 for a sequence without steps, else 1.
    """

    size: int
    overlap: int
    length: Any
    mask: Any
    count: Any
    below: Any
    any: Any


def frames_of(config: ResolvedModel, mask: Any, lengths: Any) -> Frames:
    """Return the frames of sequences with a mask of real steps, bool (batch, time), and lengths, int32 (batch)."""
    size = config.frame
    if size > 1:
        mask = mask[:, ::size]  # a frame is real where its first step is
        lengths = num_frames(lengths, size)
    below = ops.multiply(ops.subtract(ops.cast(mask, "float32"), 1.0), _HUGE)  # (batch, frames)
    length = ops.expand_dims(lengths, 1)
    count = ops.cast(length, "float32")
    return Frames(
        size=size,
        overlap=config.overlap,
        length=length,
        mask=mask,
        count=ops.maximum(count, 1.0),
        below=ops.expand_dims(below, 2),
        any=ops.minimum(count, 1.0),
    )


def num_frames(lengths: Any, size: int) -> Any:
    """Return the number of frames of `size` steps with a real step, int32 like `lengths`."""
    return lengths if size == 1 else ops.floor_divide(ops.add(lengths, size - 1), size)


def fold(steps: Any, size: int, overlap: int = 0, time_axis: int = 1) -> Any:
    """Concatenate the features of the steps of each frame.

    A pattern that begins in one frame and ends in the next is seen completely by one of them, if they overlap.

    Args:
        steps: float32 (batch, time, features), or (time, features, batch).
        size: Steps from one frame to the next.
        overlap: Further steps, from the following frames, that each frame also holds.
        time_axis: Which axis of `steps` is the time, 1 or 0.

    Returns:
        float32 (batch, frames, (size + overlap) × features), or (frames, (size + overlap) × features, batch), of
        ceil(time / size) frames; zeros beyond the last step.
    """
    num_following, num_features = -(-overlap // size), steps.shape[time_axis + 1]
    by_position = _steps_of_frames(steps, size, num_following, time_axis)
    frames = by_position[0] if size == 1 else ops.concatenate(by_position, axis=time_axis + 1)
    if not overlap:
        return frames
    before = (slice(None),) * time_axis
    each = [frames[(*before, slice(index, (index - num_following) or None))] for index in range(num_following + 1)]
    rest = (overlap - (num_following - 1) * size) * num_features
    each[-1] = each[-1][(*before, slice(None), slice(rest))]
    return ops.concatenate(each, axis=time_axis + 1)


def mean_frames(steps: Any, size: int, time_axis: int = 1) -> Any:
    """Return the mean of each frame, with ceil(time / size) frames instead of the time; zeros pad the last frame.

    Args:
        steps: float32 (batch, time, features), or (time, features, batch).
        size: Steps per frame.
        time_axis: Which axis of `steps` is the time, 1 or 0.
    """
    if size == 1:
        return steps
    by_position = _steps_of_frames(steps, size, 0, time_axis)
    return ops.multiply(sum(by_position[1:], start=by_position[0]), 1 / size)


def _steps_of_frames(steps: Any, size: int, num_following: int, time_axis: int) -> list[Any]:
    """Return the first step of every frame, the second of every frame, …; `num_following` frames of zeros come last."""
    reach = (size - 1) + num_following * size
    if not reach:
        return [steps]
    padded = ops.pad(steps, [(0, reach) if axis == time_axis else (0, 0) for axis in range(3)])
    # Each slice ends so that all have ceil(time / size) steps; a reshape would need the time, which is unknown here.
    ends = [(index - (size - 1)) or None for index in range(size)]
    before = (slice(None),) * time_axis
    return [padded[(*before, slice(index, end, size))] for index, end in enumerate(ends)]
