"""The comparison of a run with the training data, for `_SUCCESS`, the summary, reports and metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, get_args

from seqembed.data.display.progress import duration
from seqembed.data.plurals import counted
from seqembed.data.statistics.definition import finite

MeasureName = Literal["values", "missing", "gaps", "lengths", "categories", "unknown", "embeddings", "stuck"]
MEASURES: Final[tuple[MeasureName, ...]] = get_args(MeasureName)
EMBEDDING: Final = "embedding"
# Of each measure: what it compares, its unit, and the words for one that moved.
MEANINGS: Final[Mapping[MeasureName, tuple[str, str]]] = {
    "values": ("values of a feature", "population stability index"),
    "missing": ("share of steps without a value of a feature", "difference of the shares"),
    "gaps": ("time since the event before, and since the first", "population stability index"),
    "lengths": ("steps of a sequence", "population stability index"),
    "categories": ("frequencies of the values of a field", "population stability index"),
    "unknown": ("share of steps with a value that is not in the vocabulary", "share beyond that of training"),
    "embeddings": ("mean and covariance of the projected embeddings", "Fréchet distance over the total variance"),
    "stuck": ("one value throughout, where training had several", "share of the values"),
}
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class DriftMeasure:
    """One comparison of a run with the training data.

    Attributes:
        name: What is compared, one of `MEASURES`; `MEANINGS` has the units.
        feature: The feature or categorical field; ``embedding`` where embeddings are compared; None for lengths.
        value: How far it moved; 0 is no difference.
        threshold: What a run of as many sequences exceeds hardly ever by chance, and at least what matters.
        alarmed: Whether `value` is beyond it.
        expected, observed: The same number of the training data and of the run, to show side by side: mean of a
            feature (raw units) or of the lengths, geometric mean of gaps (seconds), or a share; None where there is no
            such number, as of a feature with values more than 32 scales from its middle, which statistics clip.
    """

    name: MeasureName
    feature: str | None
    value: float
    threshold: float
    alarmed: bool
    expected: float | None = None
    observed: float | None = None

    @property
    def moved(self) -> float:
        """How far it moved in thresholds; beyond 1 it alarms, and what is stuck has moved infinitely far."""
        return float("inf") if self.name == "stuck" else self.value / self.threshold

    @property
    def is_of_vectors(self) -> bool:
        """Whether it is about the vectors; a feature may be called ``embedding``, too, and is stuck at a value."""
        return self.name == "embeddings" or (self.name == "stuck" and self.observed is None)

    def __str__(self) -> str:
        """Return the finding in a few plain words."""
        name = "" if self.feature is None else f" of {self.feature}"
        if self.name == "stuck":
            if self.is_of_vectors:
                return "all embeddings are equal"
            return f"{self.feature} is {_plain(self.observed)} throughout"
        if self.name in ("missing", "unknown"):
            of = "missing" if self.name == "missing" else "unknown values"
            return f"{of}{name} {_share(self.observed)}, in training {_share(self.expected)}"
        if self.name == "gaps" and self.expected is not None and self.observed is not None:
            return f"{self.feature} typically {duration(self.observed)}, in training {duration(self.expected)}"
        if self.expected is not None and self.observed is not None:
            kind = "mean length" if self.name == "lengths" else "mean"
            of = "" if self.name == "lengths" else f"{self.feature}, "
            return f"{of}{kind} {_plain(self.observed)}, in training {_plain(self.expected)}"
        if self.name == "values" and self.expected is not None:
            return f"{self.feature}, values far outside those of the training, whose mean is {_plain(self.expected)}"
        what = f"frequencies{name}" if self.name == "categories" else _label(self)
        return f"{what} {self.moved:.1f} times the threshold"


@dataclass(frozen=True, slots=True)
class Drift:
    """All comparisons of a run with the training data.

    Attributes:
        measures: What moved farthest comes first.
        sequences: Sequences of the run that were compared, of at least one step.
    """

    measures: tuple[DriftMeasure, ...]
    sequences: int

    @classmethod
    def of(cls, measures: Sequence[DriftMeasure], sequences: int) -> Self:
        """Return the comparisons in order."""
        return cls(tuple(sorted(measures, key=lambda measure: -measure.moved)), sequences)

    @property
    def alarms(self) -> tuple[DriftMeasure, ...]:
        """The measures beyond their thresholds."""
        return tuple(measure for measure in self.measures if measure.alarmed)

    @property
    def alarmed(self) -> bool:
        """Whether any measure is beyond its threshold."""
        return bool(self.alarms)

    def __repr__(self) -> str:
        """Return how much was compared, without hundreds of measures."""
        return f"Drift(alarms={len(self.alarms)}, measures={len(self.measures)}, sequences={self.sequences})"

    def line(self) -> str:
        """Return the line of the summary."""
        if not self.measures:
            return "drift: no sequence to compare with the training data"
        alarms, rows = self.alarms, counted(self.sequences, "sequence")
        if not alarms:
            first = self.measures[0]
            return (
                f"drift: none in {rows}; {counted(len(self.measures), 'measure')} within their thresholds, "
                f"farthest {_label(first)} at {first.moved:.0%} of its threshold"
            )
        more = f"; and {len(alarms) - _MAX_NAMED:,} more" if len(alarms) > _MAX_NAMED else ""
        found = "; ".join(map(str, alarms[:_MAX_NAMED]))
        return f"drift: {len(alarms):,} of {counted(len(self.measures), 'measure')} moved: {found}{more}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``_SUCCESS``."""
        measures = [asdict(measure) for measure in self.measures]
        return {"alarmed": self.alarmed, "sequences": self.sequences, "measures": measures}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`, which may have been edited since.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: `value` is no drift.
        """
        measures = tuple(_measures(value["measures"]))
        if type(value["sequences"]) is not int or value["sequences"] < 0:
            raise ValueError(f"{value['sequences']!r:.40} is not a number of sequences")
        return cls(measures, value["sequences"])


def _measures(values: Sequence[Mapping[str, Any]]) -> Iterator[DriftMeasure]:
    for value in values:
        name, feature = value["name"], value["feature"]
        if name not in MEASURES or not (feature is None or isinstance(feature, str)):
            raise ValueError(f"{name!r:.40} of {feature!r:.40} is not a measure of drift")
        if not isinstance(value["alarmed"], bool):
            raise TypeError(f"{value['alarmed']!r:.40} is not true or false")
        sides = (value[side] if value[side] is None else finite(value[side]) for side in ("expected", "observed"))
        yield DriftMeasure(
            name, feature, finite(value["value"]), _positive(value["threshold"]), value["alarmed"], *sides
        )


def _positive(value: Any) -> float:
    if (number := finite(value)) <= 0:
        raise ValueError(f"{value!r:.40} is not a threshold")
    return number


def _label(measure: DriftMeasure) -> str:
    if measure.feature is None or measure.is_of_vectors:
        return measure.name
    return f"{measure.name} of {measure.feature}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
