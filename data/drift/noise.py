"""How far rows like those of the training data are from it by chance, from resamples of training sequences.

Chance moves an index or a squared distance in proportion to 1/n, where n is the number of sequences. The bundle stores
the factor of each measure, so that a run of any size knows what to expect.

A run often holds the sequences of one day, which differ from those of a week in more than chance, in their times of
week alone. How far the sequences of each weekday are from all of them is stored, too, and is no drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from seqembed.data.drift.distances import Distances, Numbers
from seqembed.data.drift.drift import MeasureName
from seqembed.data.statistics.definition import Definition, finite
from seqembed.data.statistics.statistics import layout_of
from seqembed.data.week_hours import WEEKDAYS

# Shares differ in proportion to the root of 1/n: their square is what noise describes.
SHARES: Final[frozenset[MeasureName]] = frozenset({"missing", "unknown"})
FALSE_ALARMS: Final = 1e-3  # expected share of runs with any alarm, if their rows are drawn like the training data
_SIZES: Final = (10, 30, 100, 300, 1_000)  # sequences of a resample
_RESAMPLES: Final = 200  # of each size
_SEED: Final = 20261127
_MIN_WEEKDAY: Final = 10  # sequences; fewer say little
_MEASURES: Final[tuple[MeasureName, ...]] = ("lengths", "values", "missing", "categories", "unknown", "embeddings")


@dataclass(frozen=True, slots=True)
class Noise:
    """What chance alone moves.

    Attributes:
        sequences: Training sequences that were resampled.
        factors: By measure, for each feature or field: beyond this factor times (1/n + 1/N), for n sequences of a run
            and N of the training, a measure (of shares: its square) lies in fewer than `FALSE_ALARMS` of all runs,
            shared between all measures.
        weekdays: By measure, the same: how far the sequences of the weekday that differs most lie from all, beyond
            chance; 0 without time features.
    """

    sequences: int
    factors: Mapping[MeasureName, tuple[float, ...]]
    weekdays: Mapping[MeasureName, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        return {
            "sequences": self.sequences,
            "factors": {name: list(found) for name, found in self.factors.items()},
            "weekdays": {name: list(found) for name, found in self.weekdays.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`, which may have been edited since.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: `value` is no noise.
        """
        factors = {name: tuple(map(_factor, value["factors"][name])) for name in _MEASURES}
        none = {name: [0.0] * len(found) for name, found in factors.items()}  # bundles from before weekdays counted
        weekdays = {name: tuple(map(_factor, value.get("weekdays", none)[name])) for name in _MEASURES}
        if type(value["sequences"]) is not int or value["sequences"] < 0:
            raise ValueError(f"{value['sequences']!r:.40} is not a number of sequences")
        return cls(value["sequences"], factors, weekdays)

    def fits(self, definition: Definition) -> bool:
        """Return whether there is a factor for all that a definition counts."""
        features, fields = len(definition.features), len(definition.fields)
        expected = (1, features, features, fields, fields, 0 if definition.vectors is None else 1)
        both = (self.factors, self.weekdays)
        return all(tuple(len(numbers[name]) for name in _MEASURES) == expected for numbers in both)


def _factor(value: Any) -> float:
    if (number := finite(value)) < 0:
        raise ValueError(f"{value!r:.40} is not a factor")
    return number


def resampled_noise(
    definition: Definition, each: NDArray[np.int64], num_training: int, weekdays: NDArray[np.int64] | None = None
) -> Noise:
    """Compare resamples of training sequences, drawn with replacement, with all of them, and so those of each weekday.

    Args:
        definition: What was counted.
        each: Totals of each sequence, int64 (sequences, as `layout_of`), as a run counts them.
        num_training: Sequences of the training data, of which `each` is a sample.
        weekdays: Of each sequence, int64 (sequences), -1 where it is not known; None without time features.
    """
    random, layout = np.random.default_rng(_SEED), layout_of(definition)
    vectors = int(each[:, layout["vectors"]].sum())
    distances = Distances(definition, each.sum(axis=0), num_training, vectors)
    single = each.astype(np.float64)  # integers below 2^53, whose sums are exact, and a fifth of the time of int64
    factors: dict[MeasureName, Numbers] = {}
    for size in _SIZES:
        drawn = random.multinomial(size, np.full(len(each), 1 / len(each)), size=_RESAMPLES).astype(np.float64)
        found = distances(drawn @ single)
        share = FALSE_ALARMS / max(1, sum(one.shape[1] for one in found.values()))
        for name, values in found.items():
            counted = (drawn @ single[:, layout["vectors"]]) if name == "embeddings" else size
            noise = _quantile(counted * (values**2 if name in SHARES else values), share)
            factors[name] = np.maximum(factors.get(name, 0), noise)
    beyond = {name: np.zeros_like(found) for name, found in factors.items()}
    for weekday in range(0 if weekdays is None else len(WEEKDAYS)):
        totals = single[weekdays == weekday]
        if len(totals) >= _MIN_WEEKDAY:
            found = distances(totals.sum(axis=0)[None])
            for name, values in found.items():
                num = totals[:, layout["vectors"]].sum() if name == "embeddings" else len(totals)
                chance = factors[name] / max(1, num)
                beyond[name] = np.maximum(beyond[name], values[0] - (np.sqrt(chance) if name in SHARES else chance))
    return Noise(len(each), _rounded(factors), _rounded(beyond))


def _rounded(numbers: Mapping[MeasureName, Numbers]) -> dict[MeasureName, tuple[float, ...]]:
    return {name: tuple(float(f"{one:.6g}") for one in numbers[name]) for name in _MEASURES}


def _quantile(noise: Numbers, share: float) -> Numbers:
    """Return what a share of the noise is beyond, float64 (items), of noise (resamples, items).

    Beyond what resamples can show, the tail is that of the scaled chi-square distribution with their mean and variance
    (Satterthwaite 1946), by the approximation of Wilson & Hilferty (1931).
    """
    mean, variance = noise.mean(axis=0), noise.var(axis=0)
    freedom = np.divide(2 * mean**2, variance, out=np.ones_like(mean), where=variance > 0)
    ninth = 2 / (9 * np.maximum(freedom, 1e-3))
    tail = np.maximum(1 - ninth + NormalDist().inv_cdf(1 - share) * np.sqrt(ninth), 1)
    quantile: Numbers = mean * tail**3
    return quantile
