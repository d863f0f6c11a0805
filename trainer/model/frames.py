"""Frames: consecutive steps that recurrent layers read as one, which makes long sequences cheap."""

from dataclasses import dataclass
from typing import Any

from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import keras

ops, layers = keras.ops, keras.layers

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
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)
    length = ops.expand_dims(lengths, 1)
    count = ops.cast(length, "float32")
    return Frames(
        size=size,
        overlap=config.overlap,
        length=length,
        mask=mask,
        count=ops.maximum(count, 1.0),
        below=ops.multiply(ops.subtract(real, 1.0), _HUGE),
        any=ops.minimum(count, 1.0),
    )


def num_frames(lengths: Any, size: int) -> Any:
    """Return the number of frames of `size` steps with a real step, int32 like `lengths`."""
    return lengths if size == 1 else ops.floor_divide(ops.add(lengths, size - 1), size)


def fold(steps: Any, frame: int, name: str = "complete_frames") -> Any:
    """Concatenate the features of `frame` consecutive steps.

    Args:
        steps: float32 (batch, time, features).
        frame: Steps per frame; zeros pad the last one.
        name: Name of the padding layer.

    Returns:
        float32 (batch, ceil(time / frame), frame × features).
    """
    return ops.concatenate(_steps_of_frames(steps, frame, name), axis=-1)


def with_next_steps(frames: Any, size: int, overlap: int) -> Any:
    """Append to each frame the `overlap` steps that follow it; zeros beyond the last frame.

    A pattern that begins in one frame and ends in the next is then seen completely by one of them.

    Args:
        frames: float32 (batch, frames, size × features), from `fold`.
        size: Steps per frame.
        overlap: Further steps.

    Returns:
        float32 (batch, frames, (size + overlap) × features).
    """
    features, num_following = frames.shape[-1] // size, -(-overlap // size)
    padded = ops.pad(frames, [(0, 0), (0, num_following), (0, 0)])
    after = [padded[:, index : (index - num_following) or None] for index in range(1, num_following + 1)]
    after[-1] = after[-1][:, :, : (overlap - (num_following - 1) * size) * features]
    return ops.concatenate([frames, *after], axis=-1)


def mean_frames(steps: Any, frame: int) -> Any:
    """Return the mean of each frame, float32 (batch, ceil(time / frame), features); zeros pad the last frame."""
    if frame == 1:
        return steps
    by_position = _steps_of_frames(steps, frame, "trajectory_frames")
    return ops.multiply(sum(by_position[1:], start=by_position[0]), 1 / frame)


def _steps_of_frames(steps: Any, frame: int, name: str) -> list[Any]:
    """Return the first step of every frame, the second of every frame, …: (batch, ceil(time / frame), features)."""
    padded = layers.ZeroPadding1D((0, frame - 1), name=name)(steps)
    # Each slice ends so that all have ceil(time / frame) steps; a reshape would need the time, which is unknown here.
    return [padded[:, index : (index - (frame - 1)) or None : frame] for index in range(frame)]
