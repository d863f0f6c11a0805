"""Control for numbers: MiniRocket, thousands of fixed features of local shape; what many would use instead.

Source: Dempster, Schmidt and Webb (2021), "MiniRocket: a very fast (almost) deterministic transform for time series
classification". Here also for sequences of different lengths: the dilations fit a training sequence of median length,
and a feature is the share of a sequence's own steps.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.evaluate.controls import MAX_RAW_VALUES, Standardisation, Vectors, standardised

MINIROCKET = "MiniRocket"
_TAPS = 9
_KERNELS = tuple(itertools.combinations(range(_TAPS), 3))  # 84: which taps weigh 2, the others -1
_FEATURES, _MIN_FEATURES = 9_996, 336  # as many as in the paper
_MAX_DILATIONS = 32
_MAX_CHANNELS = 9  # that a kernel reads
_GOLDEN_RATIO = (5**0.5 + 1) / 2
_AT_ONCE = 2_048  # steps of a sequence compared with all thresholds of a dilation at a time


@dataclass(frozen=True, slots=True)
class _Dilation:
    """All kernels with one distance between their taps.

    Attributes:
        distance: Steps from one tap to the next.
        weights: float32 (taps × features of the data, kernels).
        thresholds: float32 (kernels, thresholds of each).
    """

    distance: int
    weights: NDArray[np.float32]
    thresholds: NDArray[np.float32]


class MiniRocket:
    """Shares of steps at which fixed kernels exceed thresholds, which are quantiles on training sequences.

    Missing values count as the mean of the training data.
    """

    name = MINIROCKET

    def __init__(self, contract: ModelContract, num_rows: int, seed: int) -> None:
        """Standardise by the moments of the training data of the model; the first vectors asked for fit the thresholds.

        Args:
            contract: Contract of the model.
            num_rows: Sequences of both splits together; many of them get fewer features each.
            seed: Seed of the channels and of the sequences that the thresholds are measured on.
        """
        self.absent = None if contract.schema.num_features else "the data has only categories"
        self._scale = Standardisation(contract)
        self._num_features = min(_FEATURES, max(_MIN_FEATURES, MAX_RAW_VALUES // max(num_rows, 1)))
        self._random = np.random.default_rng((seed, _TAPS))
        self._dilations: tuple[_Dilation, ...] = ()

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float32 (sequences, features)."""
        if self.absent is not None:
            return np.zeros((block.num_sequences, 0))
        steps = np.nan_to_num(self._scale(block.values), copy=False, nan=0.0)
        sequences = [steps[start:end] for start, end in itertools.pairwise(block.offsets)]
        if not self._dilations:
            self._dilations = tuple(self._fit(sequences))
        return np.stack([np.concatenate([_shares(one, each) for each in self._dilations]) for one in sequences])

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both standardised; features that are constant on the training rows are dropped."""
        return standardised(train, test)

    def _fit(self, sequences: list[NDArray[np.float32]]) -> Iterator[_Dilation]:
        num_channels, first = sequences[0].shape[1], 0
        for distance, count in _dilations(int(np.median([len(one) for one in sequences])), self._num_features):
            weights = self._weights(num_channels)
            example = sequences[self._random.integers(len(sequences))]
            responses = _responses(example, distance, weights)
            numbers = np.arange(first, first + len(_KERNELS) * count)
            wanted = (numbers.reshape(len(_KERNELS), count) + 1) * _GOLDEN_RATIO % 1
            found = [np.quantile(one, at) for one, at in zip(responses.T, wanted, strict=True)]
            first += len(numbers)
            yield _Dilation(distance, weights, np.array(found, np.float32))

    def _weights(self, num_channels: int) -> NDArray[np.float32]:
        """Return the kernels, each over a random subset of the channels, float32 (taps × channels, kernels)."""
        weights = np.zeros((_TAPS, num_channels, len(_KERNELS)), np.float32)
        most = min(num_channels, _MAX_CHANNELS)
        for kernel, twos in enumerate(_KERNELS):
            size = int(2 ** self._random.uniform(0, np.log2(most + 1)))
            read = self._random.permutation(num_channels)[:size]
            weights[:, read, kernel] = -1.0
            weights[np.array(twos)[:, None], read, kernel] = 2.0
        return weights.reshape(-1, len(_KERNELS))


def _dilations(length: int, num_features: int) -> Iterator[tuple[int, int]]:
    """Return each dilation, and how many thresholds each of its kernels has.

    Args:
        length: Steps of a sequence of median length.
        num_features: Features of all dilations together, at most.
    """
    per_kernel = num_features // len(_KERNELS)
    most = min(per_kernel, _MAX_DILATIONS)
    exponents = np.linspace(0, np.log2(max(1, (length - 1) / (_TAPS - 1))), most)
    distances, counts = np.unique((2**exponents).astype(np.int64), return_counts=True)
    counts = counts * per_kernel // most
    counts[: per_kernel - counts.sum()] += 1
    return zip(distances.tolist(), counts.tolist(), strict=True)


def _responses(steps: NDArray[np.float32], distance: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the response of each kernel at each step, float32 (steps, kernels); outside of the sequence is 0."""
    reach = distance * (_TAPS // 2)
    padded = np.pad(steps, [(reach, reach), (0, 0)])
    taps = [padded[tap * distance : tap * distance + len(steps)] for tap in range(_TAPS)]
    responses: NDArray[np.float32] = np.concatenate(taps, axis=1) @ weights
    return responses


def _shares(steps: NDArray[np.float32], dilation: _Dilation) -> NDArray[np.float32]:
    """Return the share of steps of one sequence at which each kernel exceeds each threshold, float32 (features)."""
    responses = _responses(steps, dilation.distance, dilation.weights)
    above = np.zeros(dilation.thresholds.shape, np.int64)
    for first in range(0, len(responses), _AT_ONCE):
        some = responses[first : first + _AT_ONCE].T[:, None]  # (kernels, 1, steps)
        above += (some > dilation.thresholds[:, :, None]).sum(axis=2)
    shares: NDArray[np.float32] = (above.ravel() / len(steps)).astype(np.float32)
    return shares
