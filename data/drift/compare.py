"""Compare the statistics of a run with those of the training data."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from seqembed.data.contract import ModelContract
from seqembed.data.decode.times import GAPS
from seqembed.data.drift.distances import Distances
from seqembed.data.drift.drift import EMBEDDING, Drift, DriftMeasure, MeasureName
from seqembed.data.drift.noise import SHARES, Noise
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.vocabulary import UNKNOWN_ID
from seqembed.data.statistics.statistics import Statistics

# The least that matters, however many rows there are: an index of 0.1 is the usual mark of a moderate change, which
# offsets of a third of a standard deviation have.
_LEAST: Final[dict[MeasureName, float]] = {
    "values": 0.1,
    "missing": 0.02,
    "gaps": 0.1,
    "lengths": 0.1,
    "categories": 0.1,
    "unknown": 0.05,
    "embeddings": 0.05,
}
# A share moves by this many sequences without an alarm: training data without a missing value has no noise of it.
_FEW: Final = 3
# A feature that is stuck alarms where chance explains it in fewer than one of this many runs.
_STUCK_BY_CHANCE: Final = 1e-6
# Equal embeddings differ in their last bits between batches, and are rounded to 1/256 of a standard deviation.
_STUCK_VARIANCE: Final = 1e-3


def drift_of(statistics: Statistics | None, contract: ModelContract) -> Drift | None:
    """Compare the rows of a run with the training data of its model.

    Args:
        statistics: Totals of the run, over all its parts.
        contract: The contract of the model.

    Returns:
        None where the contract is of an older version, or its statistics are not those of the run.
    """
    training = contract.training
    if statistics is None or training.statistics is None or training.noise is None:
        return None
    if statistics.definition != training.statistics.definition:
        return None
    sequences = statistics.number("sequences")
    if not sequences:
        return Drift((), 0)
    found = _Comparison(statistics, training.statistics, training.noise, contract.schema)
    stuck = list(found.stuck())
    # Its values moved, too, but one finding is not reported twice.
    features = {measure.feature for measure in stuck if not measure.is_of_vectors}
    others = (measure for measure in found.measures() if not (measure.is_of_values and measure.feature in features))
    return Drift.of([*stuck, *others], sequences)


class _Comparison:
    def __init__(self, run: Statistics, training: Statistics, noise: Noise, schema: SequenceSchema) -> None:
        self._run, self._training, self._noise = run, training, noise
        self._gaps = {
            feature.name for feature in schema.features if feature.kind == "time" and feature.component in GAPS
        }
        num_training, num_vectors = training.number("sequences"), training.number("vectors")
        self._distances = Distances(training.definition, training.totals, num_training, num_vectors)

    def measures(self) -> Iterator[DriftMeasure]:
        """Yield how far everything moved."""
        definition = self._training.definition
        features = [feature.name for feature in definition.features]
        fields = [field.name for field in definition.fields]
        names: dict[MeasureName, list[str | None]] = {"lengths": [None], "embeddings": [EMBEDDING]}
        names |= {"values": [*features], "missing": [*features], "categories": [*fields], "unknown": [*fields]}
        found = self._distances(self._run.totals[None])
        for name, values in found.items():
            expected, observed = _sides(name, self._training), _sides(name, self._run)
            for index, value in enumerate(values[0].tolist()):
                feature = names[name][index]
                shown: MeasureName = "gaps" if name == "values" and feature in self._gaps else name
                threshold = self._threshold(name, shown, index)
                value, sides = _rounded(value), (expected[index], observed[index])
                if shown == "gaps":
                    sides = self._shown(feature, sides)
                yield DriftMeasure(shown, feature, value, threshold, value > threshold, *map(_plain, sides))

    def _shown(self, feature: str | None, sides: tuple[float, float]) -> tuple[float, float]:
        """Return numbers of a feature as they are shown: gaps in seconds, of which statistics hold the logarithm."""
        if feature not in self._gaps:
            return sides
        with np.errstate(over="ignore"):
            return float(np.expm1(sides[0])), float(np.expm1(sides[1]))

    def _threshold(self, name: MeasureName, shown: MeasureName, index: int) -> float:
        counted = "vectors" if name == "embeddings" else "sequences"
        num, trained = self._run.number(counted), self._training.number(counted)
        noise = self._noise.factors[name][index] * (1 / max(1, num) + 1 / max(1, trained))
        least, weekdays = _LEAST[shown], self._noise.weekdays[name][index]
        if name not in SHARES:
            # Both are squares, as of distances: the way by the weekday to its rows is the sum of two ways.
            return _rounded(max(least, (math.sqrt(weekdays) + math.sqrt(noise)) ** 2))
        if name == "unknown":
            # New values keep coming where the tail is long: as much again as in training is no surprise.
            least += float(_sides("unknown", self._training)[index])
        return _rounded(max(least, weekdays + math.sqrt(noise), _FEW / num))

    def stuck(self) -> Iterator[DriftMeasure]:
        """Yield the features with one value throughout, and embeddings that are all equal, where training had more."""
        run, training = self._run, self._training
        still = (run.lowest == run.highest)[1:] & (training.lowest < training.highest)[1:]
        bins, known = run.block("bins"), training.known
        for index in np.flatnonzero(still & (run.known > 0)).tolist():
            share = training.block("bins")[index, int(bins[index].argmax())] / known[index]
            drawn = min(run.number("sequences"), int(run.known[index]))
            if share**drawn < _STUCK_BY_CHANCE:
                name = training.definition.features[index].name
                sides = self._shown(name, (float(training.mean[index]), float(run.lowest[1 + index])))
                yield DriftMeasure("stuck", name, 1.0, 1.0, True, *sides)
        num, spread = run.number("vectors"), np.trace(training.vector_covariance)
        if num > _FEW and training.number("vectors") > 1 and spread > 0:
            if np.trace(run.vector_covariance) < _STUCK_VARIANCE * spread:
                yield DriftMeasure("stuck", EMBEDDING, 1.0, 1.0, True)


def _sides(name: MeasureName, statistics: Statistics) -> list[float]:
    """Return the plain number that a measure is shown with, of each feature or field; NaN where there is none."""
    if name == "lengths":
        return [statistics.number("steps") / max(1, statistics.number("sequences"))]
    if name == "values":
        # The mean of values that were clipped would be wrong, and no one could tell.
        means: list[float] = np.where(statistics.block("clipped") > 0, np.nan, statistics.mean).tolist()
        return means
    if name == "missing":
        shares: list[float] = statistics.missing_share.tolist()
        return shares
    fields = [statistics.categories(index) for index in range(len(statistics.definition.fields))]
    if name == "unknown":
        return [float(counts[UNKNOWN_ID] / max(1, counts.sum())) for counts in fields]
    return [math.nan] * max(1, len(fields))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _plain(value: float) -> float | None:
    return _rounded(value) if math.isfinite(value) else None
