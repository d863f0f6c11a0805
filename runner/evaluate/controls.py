"""Controls: simpler vectors of the same sequences, to compare embeddings with.

All are computed in one pass over the input, and keep only vectors, not sequences.
"""

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.embedding_blocks import block_scales, fit_projection
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.pipeline import Pipeline
from seqembed.runner.evaluate.untrained import UnknownWeightsError, untrained_bundle

Vectors = tuple[NDArray[np.floating], NDArray[np.floating]]  # training and test rows
MAX_RAW_VALUES = 1 << 25  # of both splits together: 128 MiB here, and twice that in an SVM
_MAX_RAW_WIDTH = 1 << 15


class Control(Protocol):
    """A control: computes one vector per sequence.

    Attributes:
        name: Name of its row in the table.
        absent: Why it has no vectors, or None if it has.
    """

    name: str
    absent: str | None

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return vectors (sequences, width) of sequences with steps, or set `absent` and return no columns."""

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return the vectors of all rows in the scale in which they are scored."""


class Untrained:
    """The encoder of a bundle with new random weights.

    Attributes:
        seconds, num_rows: Time spent embedding, and number of sequences.
    """

    name = "untrained encoder"

    def __init__(self, bundle: bytes, contract: ModelContract, seed: int, threads: int) -> None:
        """Initialise the weights; set `absent` if the weights of this bundle cannot be initialised."""
        self.absent: str | None = None
        self.seed = seed
        self.seconds, self.num_rows = 0.0, 0
        self._threads = threads
        self._encoder: Encoder | None = None
        self._blocks = contract.blocks
        self._projected_dim = contract.embedding_dim if contract.projected else 0
        if contract.precision != "fp32":
            self.absent = f"the weights are {contract.precision}; evaluate the fp32 export to see this row"
            return
        try:
            self._encoder = Encoder.from_bytes(untrained_bundle(bundle, seed), source="the untrained encoder")
        except UnknownWeightsError as error:
            self.absent = f"its weights cannot be initialised again: {error}"

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float32 (sequences, embedding_dim)."""
        if self._encoder is None:
            return np.zeros((block.num_sequences, 0))
        start = time.perf_counter()
        with Pipeline(self._encoder, self._threads) as pipeline:
            found = np.concatenate([window.embeddings for window in pipeline.embed(iter([block]))])
        self.seconds += time.perf_counter() - start
        self.num_rows += block.num_sequences
        if not np.isfinite(found).all():
            self.absent, self._encoder = "untrained, its vectors are not finite", None
            return np.zeros((block.num_sequences, 0))
        return found

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both with embedding blocks scaled, and projected, as by the trainer."""
        if self._blocks:
            weights = block_scales(train, self._blocks)
            train, test = train * weights, test * weights
        if self._projected_dim:
            projection = fit_projection(train, [block.width for block in self._blocks], self._projected_dim)
            train, test = projection(train), projection(test)
        return train, test


class RawValues:
    """The flattened values, if all sequences have the same length; missing values are filled with the mean."""

    name = "raw values"

    def __init__(self, contract: ModelContract) -> None:
        """Standardise by the moments of the training data of the model."""
        self.absent: str | None = None
        self._scale = Standardisation(contract)
        self._length: int | None = None
        self._num_values = 0

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float32 (sequences, steps * features)."""
        lengths = block.lengths
        if self._length is None:
            self._length = int(lengths[0])
        self._num_values += block.values.size
        if self.absent is None and (lengths != self._length).any():
            self.absent = "sequences differ in length"
        width = self._length * block.values.shape[1]
        if self.absent is None and (width > _MAX_RAW_WIDTH or self._num_values > MAX_RAW_VALUES):
            self.absent = f"too large: {width:,} numbers per sequence; at most {_MAX_RAW_WIDTH:,} are compared, "
            self.absent += f"and {MAX_RAW_VALUES:,} in total"
        if self.absent is not None:
            return np.zeros((block.num_sequences, 0))
        steps = self._scale(block.values)
        return np.nan_to_num(steps, copy=False, nan=0.0).reshape(block.num_sequences, width)

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both unchanged: each feature is already standardised over all steps, which keeps its shape."""
        return train, test


class MeanAndSpread:
    """Mean, standard deviation and share of missing values per feature of a sequence, and its length."""

    name = "mean and spread"
    absent: str | None = None

    def __init__(self, contract: ModelContract) -> None:
        """Standardise by the moments of the training data, so that large values keep their precision."""
        self._scale = Standardisation(contract)

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float64 (sequences, 3 * features + 1); a feature without values gets its mean."""
        means, spreads, missing = moments(self._scale(block.values).astype(np.float64), block)
        return np.concatenate([means, spreads, missing, block.lengths[:, None]], axis=1)

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both standardised: shares, lengths and moments have units of their own."""
        return standardised(train, test)


def moments(
    steps: NDArray[np.float64], block: SequenceBlock
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, standard deviation and share of missing values of each sequence, each float64 (sequences, features).

    Args:
        steps: float64 (steps, features), NaN where missing. Mean and deviation of a sequence without values are 0.
        block: Their sequences, each of at least one step.
    """
    starts = block.offsets[:-1]
    known = ~np.isnan(steps)
    values = np.where(known, steps, 0)
    counts = np.add.reduceat(known, starts, axis=0, dtype=np.float64)
    means = np.add.reduceat(values, starts, axis=0) / np.maximum(counts, 1)
    away = np.where(known, values - np.repeat(means, block.lengths, axis=0), 0)
    spreads = np.sqrt(np.add.reduceat(away**2, starts, axis=0) / np.maximum(counts, 1))
    return means, spreads, 1 - counts / block.lengths[:, None]


class Standardisation:
    """Standardise features to mean 0 and standard deviation 1 over the training data."""

    def __init__(self, contract: ModelContract) -> None:
        profile = contract.training.profile
        self._mean = np.asarray(profile.mean, dtype=np.float64)
        std = np.asarray(profile.std, dtype=np.float64)
        self._std = np.where(std > 0, std, 1.0)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 (steps, features); NaN stays NaN."""
        with np.errstate(over="ignore"):
            scaled = ((values - self._mean) / self._std).astype(np.float32)
        limit = np.finfo(np.float32).max
        return np.clip(scaled, -limit, limit)


def standardised(train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
    """Return both as float64, columns standardised by the training rows; columns constant there are dropped."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, std = train.mean(axis=0), train.std(axis=0)
    varies = std > np.abs(mean) * 1e-12
    return (train[:, varies] - mean[varies]) / std[varies], (test[:, varies] - mean[varies]) / std[varies]
