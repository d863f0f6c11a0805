"""The vectors: a map of them by label, what they are worth for the label, and the neighbours of a few sequences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Shape, dots, spark
from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.scales import Scale
from seqembed.data.plurals import counted
from seqembed.data.schema.vocabulary import FIRST_ID, UNKNOWN_ID
from seqembed.trainer.page.material import Material
from seqembed.trainer.plots.pictures import chosen_rows
from seqembed.trainer.plots.plot_embeddings import principal_components

_MAX_POINTS = 1_000
_MAX_LABELS = 12  # with a colour and shape of their own
_NUM_NEIGHBOURS, _MAX_SPARKS, _NUM_NAMES = 3, 3, 12
_ASPECT = 4 / 3  # of the map
MISSING, OTHERS = "no label", "other labels"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A sequence in a list of neighbours.

    Attributes:
        name, label, distance: As text; the label is empty without one.
        same: Whether its label is that of the sequence asked about.
        cells: A sparkline for each shown feature, with what it shows in words; for categories the path is empty and the
            words are the first few.
    """

    name: str
    label: str
    distance: str
    same: bool
    cells: tuple[tuple[tuple[Shape, ...], str], ...]


@dataclass(frozen=True, slots=True)
class Worth:
    """What the vectors are worth: how often the nearest neighbour has the same label.

    Attributes:
        accuracy: Of the nearest other sequence of the sample by its vector.
        simple: Of the nearest one by length, and mean and spread of each feature, or shares of the categories.
        frequent: Of always naming the most frequent label.
        num_rows, num_labels: What was compared.
        labels: Label, number of sequences, and share of them whose neighbour has it: the worst first.
    """

    accuracy: float
    simple: float
    frequent: float
    num_rows: int
    num_labels: int
    labels: tuple[tuple[str, int, float], ...]


def embedding_map(material: Material) -> Chart:
    """Return the two principal components of the vectors, one dot per sequence."""
    vectors = material.embeddings
    points, shares = _projected(vectors)
    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MAX_POINTS)).astype(np.int64))
    x, y = _equal_scales(points[rows])
    shapes = _dots(points[rows], _kinds(material.labels(), rows), x, y)
    count, dims = counted(len(rows), "sequence"), counted(vectors.shape[1], "number")
    held = f"{percent(float(shares.sum()))} of their variance" if vectors.shape[1] > 2 else "all that they hold"
    coloured = _coloured(material)
    return Chart(
        title=f"{count} on the two directions that hold {held}{coloured}",
        description=f"Each dot is a sequence; its vector of {dims} is projected. Close dots may still differ in the "
        "directions that are not shown.",
        shapes=shapes,
        size="map",
    )


def worth(material: Material) -> Worth | None:
    """Return what the vectors are worth for the label; None without one, or with nothing to distinguish."""
    labels = material.labels()
    rows = np.flatnonzero([label is not None for label in labels or ()])
    names = np.array([labels[row] for row in rows.tolist()]) if labels else np.array([])
    counts = Counter(names.tolist())
    if len(counts) < 2 or len(counts) > len(rows) // 2:
        return None
    right = names[_nearest(material.embeddings[rows])] == names
    simple = names[_nearest(_simple(material)[rows])] == names
    by_label = [(label, num, float(right[names == label].mean())) for label, num in counts.items()]
    return Worth(
        accuracy=float(right.mean()),
        simple=float(simple.mean()),
        frequent=max(counts.values()) / len(rows),
        num_rows=len(rows),
        num_labels=len(counts),
        labels=tuple(sorted(by_label, key=lambda found: (found[2], found[0]))),
    )


def neighbours(material: Material) -> tuple[list[str], list[list[Neighbour]]]:
    """Return names of the shown features, and lists of a sequence and its nearest ones."""
    if material.sample.num_sequences < 2:
        return [], []
    labels = material.labels()
    rows = chosen_rows(material.sample.lengths, labels)
    features, fields = _shown(material)
    names = [material.schema.feature_names[index] for index in features]
    names += [material.schema.categorical[index].name for index in fields]
    found = []
    for row in rows.tolist():
        distances = np.linalg.norm(material.embeddings - material.embeddings[row], axis=1)
        distances[row] = -1.0
        near = np.argsort(distances, kind="stable")[: _NUM_NEIGHBOURS + 1].tolist()
        found.append(_group(material, near, distances, labels, features, fields))
    return [shortened(name, 24) for name in names], found


def _shown(material: Material) -> tuple[list[int], list[int]]:
    """Return up to `_MAX_SPARKS` features and fields: measured ones first, then categories, then times."""
    kinds = [feature.kind for feature in material.schema.features]
    measured = [index for index, kind in enumerate(kinds) if kind == "numeric"]
    times = [index for index, kind in enumerate(kinds) if kind == "time"]
    places = np.unique(np.linspace(0, len(measured) - 1, min(len(measured), _MAX_SPARKS)).astype(int)).tolist()
    features = [measured[place] for place in places]
    fields = list(range(min(material.schema.num_fields, _MAX_SPARKS - len(features))))
    return features + times[: _MAX_SPARKS - len(features) - len(fields)], fields


def _group(
    material: Material,
    near: Sequence[int],
    distances: NDArray[np.float64],
    labels: Sequence[str | None] | None,
    features: Sequence[int],
    fields: Sequence[int],
) -> list[Neighbour]:
    longest = max(len(material.values(row)) for row in near)
    lows, highs = _range(material, near)
    group = []
    for place, row in enumerate(near):
        cells = [_spark(material, row, index, (lows[index], highs[index]), longest) for index in features]
        cells += [((), _words(material, row, index)) for index in fields]
        label = "" if labels is None else shortened(labels[row] or MISSING, 24)
        distance = number(float(distances[row])) if place else ""
        same = labels is not None and labels[row] == labels[near[0]]
        group.append(Neighbour(shortened(material.name(row), 32), label, distance, same, tuple(cells)))
    return group


def _range(material: Material, rows: Sequence[int]) -> tuple[list[float], list[float]]:
    steps = np.concatenate([material.values(row) for row in rows]).astype(np.float64)
    known = ~np.isnan(steps)
    lows = np.where(known, steps, np.inf).min(axis=0, initial=np.inf)
    highs = np.where(known, steps, -np.inf).max(axis=0, initial=-np.inf)
    return lows.tolist(), highs.tolist()


def _spark(
    material: Material, row: int, feature: int, scale: tuple[float, float], longest: int
) -> tuple[tuple[Shape, ...], str]:
    values, name = material.values(row)[:, feature], shortened(material.schema.feature_names[feature], 24)
    if np.isnan(values).all():
        return (), "no values"
    ends = f"{number(float(np.nanmin(values)))} to {number(float(np.nanmax(values)))}"
    return (Shape(spark(values, *scale, longest), "line c1"),), f"{name}, {counted(len(values), 'step')}, {ends}"


def _words(material: Material, row: int, field: int) -> str:
    vocabulary = material.schema.categorical[field].vocabulary
    values = vocabulary.values if vocabulary is not None else ()
    ids = material.categories(row)[:, field].tolist()
    named = [_category(values, one) for one in ids[:_NUM_NAMES]]
    return shortened(" · ".join(named), 120) + (" …" if len(ids) > _NUM_NAMES else "")


def _category(values: Sequence[object], one: int) -> str:
    if one >= FIRST_ID:
        return shortened(str(values[one - FIRST_ID]), 16)
    return "unknown" if one == UNKNOWN_ID else "missing"


def _coloured(material: Material) -> str:
    labels = material.labels()
    if labels is None:
        return ""
    num = len({label for label in labels if label is not None})
    most = f" (the {_MAX_LABELS} most frequent of {num:,})" if num > _MAX_LABELS else ""
    return f", coloured by {shortened(material.label, 40)}{most}"


def _projected(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if vectors.shape[1] <= 2:
        points = np.zeros((len(vectors), 2))
        points[:, : vectors.shape[1]] = vectors
        return points, np.array([1.0, 0.0])
    return principal_components(vectors)


def _equal_scales(points: NDArray[np.float64]) -> tuple[Scale, Scale]:
    """Return scales of one unit for both directions, with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, spans = (low + high) / 2, np.maximum(high - low, 1e-9)
    height = max(spans[1], spans[0] / _ASPECT) * 1.06
    halves = np.array([height * _ASPECT, height]) / 2
    first, second = (Scale(float(m - h), float(m + h), ()) for m, h in zip(middle, halves, strict=True))
    return first, second


def _kinds(labels: Sequence[str | None] | None, rows: NDArray[np.int64]) -> list[str]:
    """Return the legend's entry of each row; empty text without labels."""
    if labels is None:
        return [""] * len(rows)
    counts = Counter(label for label in labels if label is not None)
    own = {label for label, _ in sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:_MAX_LABELS]}
    return [MISSING if (label := labels[row]) is None else label if label in own else OTHERS for row in rows.tolist()]


def _dots(points: NDArray[np.float64], kinds: Sequence[str], x: Scale, y: Scale) -> tuple[Shape, ...]:
    """Return dots, those without a colour of their own below the others."""
    named = sorted({kind for kind in kinds if kind not in (MISSING, OTHERS, "")}, key=_by_number)
    looks = [f"dots {form}c{colour}" for form, colour in product(("", "square "), range(1, 7))]
    chosen = {OTHERS: "dots c8", MISSING: "dots square c8", "": "dots c1"} | dict(zip(named, looks, strict=False))
    array, shapes = np.array(kinds), []
    for kind, style in chosen.items():
        own = points[array == kind]
        if len(own):
            shapes.append(Shape(dots(own[:, 0], own[:, 1], x, y), style, shortened(kind, 32)))
    return tuple(shapes)


def _by_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return np.inf, label


def _nearest(vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the nearest other row of each, int64 (rows); the first of equally near ones."""
    points = vectors.astype(np.float64)
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.int64] = distances.argmin(axis=1)
    return nearest


def _simple(material: Material) -> NDArray[np.float64]:
    """Return what needs no model, standardised, float64 (sequences, numbers): length, moments, shares of categories."""
    rows = []
    for row in range(material.sample.num_sequences):
        values, ids = material.values(row).astype(np.float64), material.categories(row)
        known = ~np.isnan(values)
        num = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / num
        spread = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(axis=0) / num)
        shares = [np.bincount(np.minimum(field, 31), minlength=32) / len(ids) for field in ids.T]
        rows.append(np.concatenate([[np.log(len(values))], mean, spread, *shares]))
    numbers = np.array(rows)
    numbers -= numbers.mean(axis=0)
    scaled: NDArray[np.float64] = numbers / np.maximum(numbers.std(axis=0), 1e-12)
    return scaled
