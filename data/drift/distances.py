"""Distances between the totals of rows and those of the training data, for one run or many resamples at once.

Both sides are smoothed, so that no share is zero and few sequences never look far away: the training data by
`SPREAD` sequences spread over all bins, the rows by `PRIOR` sequences that look like the training data.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from seqembed.data.drift.drift import MeasureName
from seqembed.data.schema.vocabulary import UNKNOWN_ID
from seqembed.data.statistics.definition import NUM_BINS, Definition
from seqembed.data.statistics.statistics import layout_of

PRIOR: Final = 10.0
SPREAD: Final = 2.0
_NUM_LENGTH_GROUPS: Final = 10
Numbers = NDArray[np.float64]
_ALL_BINS: Final[NDArray[np.bool_]] = np.ones((1, 1), dtype=bool)


class Distances:
    """Measures how far totals are from those of the training data.

    Attributes:
        num_training: Sequences of the training data.
        num_vectors: Embeddings of the training data that were counted.
    """

    def __init__(
        self, definition: Definition, training: NDArray[np.int64], num_training: int, num_vectors: int
    ) -> None:
        """Take the totals to compare with, int64 (as `layout_of`), and how many sequences they stand for."""
        self._definition, self._layout = definition, layout_of(definition)
        self._training = training.astype(np.float64)[None]
        self.num_training, self.num_vectors = num_training, num_vectors
        self._groups = _length_groups(self._block("lengths")[0])

    def _block(self, name: str, totals: Numbers | None = None) -> Numbers:
        return (self._training if totals is None else totals)[:, self._layout[name]]

    def __call__(self, totals: NDArray[np.int64] | Numbers) -> Mapping[MeasureName, Numbers]:
        """Return the distances, float64 (runs, features or fields; 1 for lengths and embeddings).

        Args:
            totals: Integers, as int64 or float64 (runs, as `layout_of`).
        """
        found, definition = totals.astype(np.float64), self._definition
        sequences = self._block("sequences", found)
        result: dict[MeasureName, Numbers] = {}
        result["lengths"] = self._index(sequences, self._lengths(found), self._lengths(), _ALL_BINS)
        num = len(definition.features)
        is_used = np.arange(NUM_BINS) <= np.array([len(feature.edges) for feature in definition.features])[:, None]
        bins, trained_bins = (self._block("bins", each).reshape(-1, num, NUM_BINS) for each in (found, None))
        result["values"] = self._index(sequences, bins, trained_bins, is_used)
        missing, trained = (
            _ratio(self._block("missing", each), self._block("counted_steps", each)) for each in (found, None)
        )
        result["missing"] = np.abs(self._moved(sequences, missing, trained))
        none = np.zeros((len(found), 0))
        fields = list(zip(self._fields(found), self._fields(), strict=True))
        indices = [self._index(sequences, *pair, _ALL_BINS) for pair in fields]
        result["categories"] = np.concatenate([none, *indices], axis=1)
        unknown = [np.maximum(self._moved(sequences, *map(_unknown_share, pair)), 0) for pair in fields]
        result["unknown"] = np.concatenate([none, *unknown], axis=1)
        result["embeddings"] = self._frechet(found)
        return result

    def _lengths(self, totals: Numbers | None = None) -> Numbers:
        counts = self._block("lengths", totals)
        members = self._groups == np.arange(_NUM_LENGTH_GROUPS + 2)[:, None]
        groups: Numbers = counts @ members.T
        return groups[:, None, :]

    def _fields(self, totals: Numbers | None = None) -> list[Numbers]:
        """Return the counts of each field, float64 (runs, 1, bins)."""
        ends = np.cumsum([field.num_bins for field in self._definition.fields])[:-1]
        parts = np.split(self._block("categories", totals), ends, axis=1) if self._definition.fields else []
        return [part[:, None, :] for part in parts]

    def _index(self, sequences: Numbers, found: Numbers, training: Numbers, is_used: NDArray[np.bool_]) -> Numbers:
        """Return the population stability index, float64 (runs, items), of counts (runs, items, bins)."""
        is_used = np.broadcast_to(is_used, training.shape[1:])
        uniform = is_used / np.maximum(1, is_used.sum(axis=1, keepdims=True))
        known = _ratio(training, training.sum(axis=2, keepdims=True))
        q = (self.num_training * known + SPREAD * uniform) / (self.num_training + SPREAD)
        weight = (sequences / (sequences + PRIOR))[:, :, None]
        p = weight * _ratio(found, found.sum(axis=2, keepdims=True)) + (1 - weight) * q
        compared = (found.sum(axis=2) > 0) & (training.sum(axis=2) > 0)
        logarithm = np.log(np.where(q > 0, p, 1) / np.where(q > 0, q, 1), where=(p > 0) & (q > 0), out=np.zeros_like(p))
        index: Numbers = np.where(compared, ((p - q) * logarithm).sum(axis=2), 0.0)
        return index

    def _moved(self, sequences: Numbers, found: Numbers, training: Numbers) -> Numbers:
        """Return the difference of shares, float64 (runs, items)."""
        return sequences / (sequences + PRIOR) * (found - training)

    def _frechet(self, found: Numbers) -> Numbers:
        """Return the squared Fréchet distance of two normal distributions over the total variance, float64 (runs, 1).

        From Dowson & Landau (1982), "The Fréchet distance between multivariate normal distributions".
        """
        vectors = self._block("vectors", found)
        if not self.num_vectors or not self._block("vector_sums").shape[1]:
            return np.zeros((len(found), min(1, self._block("vector_sums").shape[1])))
        mean, second = self._moments(self._training)
        weight = vectors / (vectors + PRIOR)
        own_mean, own_second = self._moments(found)
        own_mean = weight * own_mean + (1 - weight) * mean
        own_second = weight[:, :, None] * own_second + (1 - weight[:, :, None]) * second
        covariance, own = _covariance(mean, second)[0], _covariance(own_mean, own_second)
        total = np.trace(covariance)
        if total <= 0:
            return np.zeros((len(found), 1))
        root = _root(covariance)
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ own @ root), 0)).sum(axis=1)
        squared = ((own_mean - mean) ** 2).sum(axis=1) + np.trace(own, axis1=1, axis2=2) + total - 2 * cross
        return np.where(vectors > 0, np.maximum(squared, 0)[:, None] / total, 0.0)

    def _moments(self, totals: Numbers) -> tuple[Numbers, Numbers]:
        """Return mean, float64 (runs, dimensions), and second moments (runs, dimensions, dimensions), in grid steps."""
        vectors = self._block("vectors", totals)
        mean = _ratio(self._block("vector_sums", totals), vectors)
        num = mean.shape[1]
        rows, columns = np.triu_indices(num)
        second = np.empty((len(totals), num, num))
        second[:, rows, columns] = second[:, columns, rows] = _ratio(self._block("vector_products", totals), vectors)
        return mean, second


def _length_groups(counts: Numbers) -> NDArray[np.int64]:
    """Return the group of each bin of lengths, int64 (bins): tenths of the training data, and what lies outside."""
    known = np.flatnonzero(counts)
    if not len(known):
        return np.zeros(len(counts), np.int64)
    before = (np.cumsum(counts) - counts) / counts.sum()
    groups: NDArray[np.int64] = 1 + np.minimum((before * _NUM_LENGTH_GROUPS).astype(np.int64), _NUM_LENGTH_GROUPS - 1)
    groups[: known[0]], groups[known[-1] + 1 :] = 0, _NUM_LENGTH_GROUPS + 1
    return groups


def _unknown_share(counts: Numbers) -> Numbers:
    """Return the share of unknown values, float64 (runs, items), of counts (runs, items, bins)."""
    return _ratio(counts[:, :, UNKNOWN_ID], counts.sum(axis=2))


def _covariance(mean: Numbers, second: Numbers) -> Numbers:
    covariance: Numbers = second - mean[:, :, None] * mean[:, None, :]
    return covariance


def _root(matrix: Numbers) -> Numbers:
    """Return the symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: Numbers = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def _ratio(numbers: Numbers, of: Numbers) -> Numbers:
    return np.divide(numbers, of, out=np.zeros(np.broadcast_shapes(numbers.shape, of.shape)), where=of != 0)
