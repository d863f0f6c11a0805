"""Fixed kernels: how often short shapes of several widths occur in a sequence.

Recurrent layers summarise a sequence and lose short events in it. Here each of 84 fixed kernels is compared with the
steps around every step, at several dilations, and the share of steps where it responds becomes a number of the
embedding. Only the thresholds and the scales of these numbers come from the training data; nothing is trained.

A response counts from 0 to 1 over a narrow range around its threshold, not at once, so that rounding cannot change a
share by a complete step: ONNX Runtime and Keras shall agree.

Source: Dempster, Schmidt and Webb (2021), "MiniRocket: a very fast (almost) deterministic transform for time series
classification": the kernels, the golden ratio for quantiles, and random subsets of channels.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.input.scale import normalized_steps
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.frames import num_frames

ops, layers = keras.ops, keras.layers

TAPS = 9
_TWOS = tuple(itertools.combinations(range(TAPS), 3))  # 84: which taps weigh 2, the others -1
_MAX_DILATIONS = 4
_MAX_CHANNELS = 32  # of a dilation, together; a kernel reads nine features at most
# Width of the threshold in standard deviations of a response. On nine data sets 0.1 to 0.3 were as accurate
# as a step, 1 lost half a point (three seeds), and wide thresholds keep rounding small in sequences of few steps.
_SOFTNESS = 0.3
_GOLDEN_RATIO = (5**0.5 + 1) / 2
# A response that varies less than this, in parts of its terms, varies by rounding: where all steps of a normalised
# sequence have one weight, their sum is 0. A narrow threshold would make noise of it that differs between runtimes.
_ROUNDING = 1e-4
# Bounds of what thresholds and scales are measured on: steps of a sequence, steps for thresholds, sequences at a time.
_POSITIONS, _AT_ONCE, _SEQUENCES_AT_ONCE = 256, 16_384, 64
_MIN_SPREAD = 0.02  # of a share: numbers that hardly vary are not scaled up to noise
_MAX_DEVIATIONS = 5.0  # of a share: in a sequence of few steps it is 0 or 1, and shall not dominate the embedding


@dataclass(frozen=True, slots=True)
class Dilation:
    """Kernels with one distance between their taps.

    Attributes:
        distance: Steps from one tap to the next.
        stride: Steps from one place where the kernels are compared to the next; the first is the first step. Wide
            kernels change slowly. It divides the distance.
        channels: int (channels), features that the kernels read.
        weights: float32 (taps × channels, kernels).
        bias: float32 (kernels); weights and bias together give 0 below a threshold and 1 above it.
    """

    distance: int
    stride: int
    channels: NDArray[np.int64]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Kernels:
    """All kernels of an encoder.

    Attributes:
        dilations: Kernels by dilation.
        mean: float32 (kernels), mean share of each over training sequences.
        spread: float32 (kernels), standard deviation of each share over training sequences.
    """

    dilations: tuple[Dilation, ...]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]


def num_kernels(median_length: int) -> int:
    """Return how many kernels there are by default: each once per dilation."""
    return len(_TWOS) * len(distances(median_length))


def distances(median_length: int) -> tuple[int, ...]:
    """Return the dilations: up to four in equal ratios, from 1 to where a kernel spans a sequence of median length.

    All but the first are even, so that half of each divides it.
    """
    widest = max(1, (median_length - 1) // (TAPS - 1))
    exponents = np.linspace(0, np.log2(widest), _MAX_DILATIONS)
    wide = {2 * max(1, round(2**exponent / 2)) for exponent in exponents.tolist() if 2**exponent >= 1.5}
    return tuple(sorted({1} | {min(distance, widest // 2 * 2) for distance in wide}))


def fit_kernels(
    block: SequenceBlock, profile: SequenceProfile, normalization: str, count: int, *, median_length: int, seed: int
) -> Kernels:
    """Choose the kernels' channels, and measure their thresholds and scales.

    Args:
        block: Some of the training sequences, raw units, none of them empty.
        profile: Statistics of all training sequences.
        normalization: As `ModelConfig.normalization`.
        count: Number of kernels.
        median_length: Steps of a sequence of median length.
        seed: Seed of the channels.
    """
    random = np.random.default_rng((seed, 84))
    places = _Places(block, normalized_steps(block, profile, normalization))
    spans = distances(median_length)
    shares, dilations, first = [], [], 0
    for index, distance in enumerate(spans):
        number = count // len(spans) + (index < count % len(spans))
        if not number:
            continue
        numbers = np.arange(first, first + number)
        dilation, share = _fit_dilation(places, distance, numbers, random)
        dilations.append(dilation)
        shares.append(share)
        first += number
    joined = np.concatenate(shares, axis=1)
    spread = np.maximum(joined.std(axis=0), _MIN_SPREAD)
    return Kernels(tuple(dilations), joined.mean(axis=0).astype(np.float32), spread.astype(np.float32))


class _Places:
    """Evenly spaced steps of some sequences, and what lies around them.

    Args:
        block: The sequences, none of them empty.
        steps: float64 (steps, features), their normalised values.
    """

    def __init__(self, block: SequenceBlock, steps: NDArray[np.float64]) -> None:
        lengths, starts = block.lengths, block.offsets[:-1]
        self.per_sequence = np.minimum(lengths, _POSITIONS)
        self.starts = np.cumsum(self.per_sequence) - self.per_sequence
        rank = np.arange(self.per_sequence.sum()) - np.repeat(self.starts, self.per_sequence)
        self._first, self._end, length, taken = (
            np.repeat(numbers, self.per_sequence) for numbers in (starts, starts + lengths, lengths, self.per_sequence)
        )
        self._step = self._first + rank * length // taken
        self._steps = steps
        self.num_features = steps.shape[1]

    def __len__(self) -> int:
        return len(self._step)

    def around(
        self, rows: slice | NDArray[np.int64], distance: int, channels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the taps around some of the steps, float32 (rows, taps × channels); 0 outside of the sequence."""
        step = self._step[rows, None] + distance * (np.arange(TAPS) - TAPS // 2)
        inside = (step >= self._first[rows, None]) & (step < self._end[rows, None])
        taps = self._steps[np.where(inside, step, 0)[:, :, None], channels] * inside[:, :, None]
        flat: NDArray[np.float32] = taps.reshape(len(step), -1).astype(np.float32)
        return flat


def _fit_dilation(
    places: _Places, distance: int, numbers: NDArray[np.int64], random: np.random.Generator
) -> tuple[Dilation, NDArray[np.float64]]:
    """Return the kernels of one dilation, and their shares, float64 (sequences, kernels).

    Args:
        places: Where to measure.
        distance: The dilation.
        numbers: int (kernels), consecutive numbers of the kernels among all.
        random: Chooses the channels.
    """
    channels = _choose(places.num_features, min(places.num_features, _MAX_CHANNELS), random)
    weights = _weights(len(numbers), len(channels), random)
    some = np.unique(np.linspace(0, len(places) - 1, _AT_ONCE).round().astype(np.int64))
    taps = places.around(some, distance, channels)
    responses = taps @ weights
    wanted = (numbers + 1) * _GOLDEN_RATIO % 1
    thresholds = np.array([np.quantile(one, at) for one, at in zip(responses.T, wanted, strict=True)])
    spread, terms = responses.std(axis=0, dtype=np.float64), np.abs(taps).mean(axis=0) @ np.abs(weights)
    width = np.where(spread > _ROUNDING * terms, _SOFTNESS * spread, 1.0)
    soft, bias = (weights / width).astype(np.float32), (0.5 - thresholds / width).astype(np.float32)
    shares = []
    for first in range(0, len(places.starts), _SEQUENCES_AT_ONCE):
        starts = places.starts[first : first + _SEQUENCES_AT_ONCE]
        counts = places.per_sequence[first : first + _SEQUENCES_AT_ONCE]
        rows = slice(starts[0], starts[-1] + counts[-1])
        responded = np.clip(places.around(rows, distance, channels) @ soft + bias, 0, 1)
        shares.append(np.add.reduceat(responded, starts - starts[0], axis=0, dtype=np.float64) / counts[:, None])
    stride = distance // 2 if distance > 2 else distance
    return Dilation(distance, stride, channels, soft, bias), np.concatenate(shares)


def _choose(num: int, wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(random.permutation(num)[:wanted])


def _weights(num_kernels: int, num_channels: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the weights of kernels, float32 (taps × channels, kernels); each reads a random subset of the channels."""
    weights = np.zeros((TAPS, num_channels, num_kernels), np.float32)
    order = np.resize(random.permutation(len(_TWOS)), num_kernels)
    sizes = 2 ** random.uniform(0, np.log2(min(num_channels, TAPS) + 1), num_kernels)
    for kernel, (shape, size) in enumerate(zip(order, sizes, strict=True)):
        read = _choose(num_channels, int(size), random)
        weights[:, read, kernel] = -1.0
        weights[np.array(_TWOS[shape])[:, None], read, kernel] = 2.0
    return weights.reshape(TAPS * num_channels, num_kernels)


def kernel_shares(steps: Any, mask: Any, lengths: Any, kernels: Kernels) -> Any:
    """Return the share of steps at which each kernel responds, standardised, float32 (batch, kernels).

    Together the numbers have about a variance of 1, as much as one other input of a layer.

    Args:
        steps: float32 (batch, time, features), normalised; 0 in the padding and where a value is missing.
        mask: bool (batch, time), true at real steps.
        lengths: int32 (batch).
        kernels: What to look for.
    """
    real = ops.expand_dims(ops.cast(mask, "float32"), 2)
    strides = {dilation.stride for dilation in kernels.dilations}
    weights = {stride: _weights_of_places(real, lengths, stride) for stride in sorted(strides)}
    shares = [_shares(steps, weights[dilation.stride], dilation) for dilation in kernels.dilations]
    joined = shares[0] if len(shares) == 1 else layers.Concatenate(axis=1, name="shares_of_kernels")(shares)
    joined = ops.reshape(joined, (-1, len(kernels.mean)))
    scale, unit = 1 / kernels.spread.astype(np.float64), 1 / math.sqrt(len(kernels.mean))
    scaled = layers.Rescaling((unit * scale).tolist(), (-unit * kernels.mean * scale).tolist(), name="unit_kernels")
    return ops.clip(scaled(joined), -unit * _MAX_DEVIATIONS, unit * _MAX_DEVIATIONS)


def _weights_of_places(real: Any, lengths: Any, stride: int) -> Any:
    """Return what each place of a sequence counts, float32 (batch, places, 1): together 1, and 0 in the padding.

    Args:
        real: float32 (batch, time, 1), 1 at real steps.
        lengths: int32 (batch).
        stride: Steps from one place to the next.
    """
    count = ops.cast(ops.maximum(num_frames(lengths, stride), 1), "float32")
    return ops.divide(real[:, ::stride] if stride > 1 else real, ops.reshape(count, (-1, 1, 1)))


def _shares(steps: Any, weights: Any, dilation: Dilation) -> Any:
    """Return the shares of one dilation, (batch, kernels, 1).

    Args:
        steps: float32 (batch, time, features), normalised; 0 in the padding and where a value is missing.
        weights: float32 (batch, places, 1), of each place where the kernels are compared.
        dilation: The kernels.
    """
    if len(dilation.channels) < steps.shape[-1]:
        steps = ops.take(steps, dilation.channels, axis=2)
    width, stride = len(dilation.bias), dilation.stride
    # Of every stride-th step, the taps of a kernel are one or two apart: an ordinary convolution.
    places = steps[:, ::stride] if stride > 1 else steps
    name, rate = f"kernels_{dilation.distance}_steps_apart", dilation.distance // stride
    layer = layers.Conv1D(width, TAPS, padding="same", dilation_rate=rate, name=name, trainable=False)
    responses = ops.clip(layer(places), 0.0, 1.0)  # (batch, places, kernels)
    layer.set_weights([dilation.weights.reshape(TAPS, -1, width), dilation.bias])
    return ops.matmul(ops.transpose(responses, (0, 2, 1)), weights)
