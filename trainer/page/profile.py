"""The data profile: features, lengths, missing values and categories of the training sequences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Shape, bars
from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.scales import Scale, linear, logarithmic
from seqembed.data.plurals import counted
from seqembed.data.profile import QUANTILES
from seqembed.data.schema.schema import CategoricalField, Feature
from seqembed.trainer.page.material import Material

MAX_FEATURES, MAX_FIELDS = 300, 60  # described; of more the contract holds everything
SHOWN_FEATURES, SHOWN_FIELDS = 16, 6  # at once; the rest folds out
_NUM_VALUES = 6  # most frequent categories of a field
_NUM_BARS = 32
_WIDE = 20.0  # ratio of the longest to the median length from which the scale of lengths is logarithmic
_MOST = (0.01, 0.99)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature in the table.

    Attributes:
        name, unit: For the user.
        shape: Histogram of its values, as a path; empty if it is constant or missing everywhere.
        mean, std, low, high, missing: As text; `low` and `high` enclose 98 % of its values.
        missing_share: Share of the steps without a value.
    """

    name: str
    unit: str
    shape: tuple[Shape, ...]
    mean: str
    std: str
    low: str
    high: str
    missing: str
    missing_share: float


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A categorical field.

    Attributes:
        name: For the user.
        summary: How many values there are, and how many steps have another or none.
        values: The most frequent ones: name, share, share as text.
    """

    name: str
    summary: str
    values: tuple[tuple[str, float, str], ...]


def feature_rows(material: Material) -> list[FeatureRow]:
    """Return the features in model order, at most `MAX_FEATURES`."""
    return [_feature(material, index) for index in range(min(material.schema.num_features, MAX_FEATURES))]


def field_rows(material: Material) -> list[FieldRow]:
    """Return the categorical fields in model order, at most `MAX_FIELDS`."""
    return [_field(field) for field in material.schema.categorical[:MAX_FIELDS]]


def lengths_chart(material: Material) -> Chart | None:
    """Return how long the sequences are; None if all are equally long."""
    quantiles = dict(zip(QUANTILES, material.profile.length_quantiles, strict=True))
    lengths, low, high = material.sample.lengths, quantiles[0.0], quantiles[1.0]
    if low == high:
        return None
    if high > _WIDE * quantiles[0.5]:
        x = logarithmic([low, high + 1])
        edges = np.unique(np.round(np.geomspace(low, high + 1, _NUM_BARS + 1)))
    else:
        num = min(_NUM_BARS, high - low + 1)
        edges = np.unique(np.floor(np.linspace(low, high + 1, num + 1)))
        x = linear([low, high + 1], whole=True, num_ticks=5)
    shares = np.histogram(lengths, edges)[0] / max(len(lengths), 1) / np.diff(x.at(edges))
    y = Scale(0.0, float(shares.max()) or 1.0, ())
    return Chart(
        title=f"Half of the sequences have {quantiles[0.25]:,} to {quantiles[0.75]:,} steps; "
        f"the shortest has {quantiles[0.0]:,} and the longest {quantiles[1.0]:,}",
        description=f"Histogram of the lengths: median {quantiles[0.5]:,} steps, 95 % have at most "
        f"{quantiles[0.95]:,}.",
        shapes=(Shape(bars(edges, shares, y, x), "bar c1"),),
        x_ticks=x.ticks,
        x_name="steps" + (" (logarithmic)" if x.log else ""),
    )


def still(material: Material) -> list[str]:
    """Return the names of features that carry no information: constant, or missing everywhere."""
    profile = material.profile
    found = zip(material.schema.feature_names, profile.std, profile.missing_rate, strict=True)
    return [name for name, std, missing in found if std == 0 or missing == 1]


def _feature(material: Material, index: int) -> FeatureRow:
    profile, feature = material.profile, material.schema.features[index]
    known = _known(material.sample.values[:, index])
    low, high = (float(end) for end in np.quantile(known, _MOST, method="nearest")) if len(known) else (np.nan, np.nan)
    is_empty = profile.missing_rate[index] == 1
    return FeatureRow(
        name=shortened(feature.name, 60),
        unit=_unit(material, feature),
        shape=_histogram(known, low, high),
        mean="–" if is_empty else number(profile.mean[index]),
        std="–" if is_empty else number(profile.std[index]),
        low=number(low),
        high=number(high),
        missing="none" if profile.missing_rate[index] == 0 else percent(profile.missing_rate[index]),
        missing_share=profile.missing_rate[index],
    )


def _unit(material: Material, feature: Feature) -> str:
    unit = material.units.get(feature.name, "")
    if feature.kind == "numeric":
        return unit
    return f"{unit}, computed from the time" if unit else "computed from the time"


def _histogram(values: NDArray[np.float64], low: float, high: float) -> tuple[Shape, ...]:
    if not len(values) or low == high:
        return ()
    edges = np.linspace(low, high, _NUM_BARS + 1)
    counts = np.histogram(values, edges)[0]
    scale = Scale(0.0, float(counts.max()) or 1.0, ())
    return (Shape(bars(edges, counts, scale, Scale(low, high, ())), "bar c1"),)


def _known(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values[~np.isnan(values)].astype(np.float64)


def _field(field: CategoricalField) -> FieldRow:
    vocabulary = field.vocabulary
    if vocabulary is None:
        raise ValueError(f"field {field.name!r} has no vocabulary after a training")
    total = max(1, sum(vocabulary.counts) + vocabulary.num_unknown + vocabulary.num_missing)
    shares = [count / total for count in vocabulary.counts[:_NUM_VALUES]]
    rows = [
        (shortened(str(value), 32), share, percent(share))
        for value, share in zip(vocabulary.values, shares, strict=False)
    ]
    left = sum(vocabulary.counts[_NUM_VALUES:]) / total
    if left:
        rows.append((counted(len(vocabulary.values) - _NUM_VALUES, "other value"), left, percent(left)))
    summary = [counted(len(vocabulary.values), "value")]
    for share, what in ((vocabulary.unknown_share, "too rare to learn"), (vocabulary.missing_share, "missing")):
        summary += [f"{percent(share)} {what}"] if share else []
    return FieldRow(shortened(field.name, 60), ", ".join(summary), tuple(rows))
