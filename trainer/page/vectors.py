"""The vectors: a map of them by label, and the neighbours of a few sequences."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Shape, dots, spark
from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.scales import Scale
from seqembed.data.plurals import counted
from seqembed.data.schema.vocabulary import FIRST_ID, UNKNOWN_ID
from seqembed.trainer.page.material import Material
from seqembed.trainer.page.worth import numbers_of
from seqembed.trainer.plots.pictures import chosen_rows
from seqembed.trainer.plots.plot_embeddings import principal_components

_MAX_POINTS = 1_000
_MAX_LABELS = 12  # with a colour and shape of their own
_NUM_NEIGHBOURS, _MAX_SPARKS = 3, 3
_MAX_WORDS = 32  # characters of the categories of a sequence
_NUM_RANGES = 5  # of a label of numbers
_RANGE = "\0"  # begins the entry of a range, which its place follows
_ASPECT = 4 / 3  # of the map
MISSING, OTHERS = "no label", "other labels"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A sequence in a list of neighbours.

    Attributes:
        name, label, distance: As text; the label is empty without one.
        same: Whether its label is that of the sequence asked about; True for labels that are numbers.
        cells: A sparkline for each shown feature, with what it shows in words; for categories the path is empty and the
            words are the first few.
    """

    name: str
    label: str
    distance: str
    same: bool
    cells: tuple[tuple[tuple[Shape, ...], str], ...]


def embedding_map(material: Material) -> Chart:
    """Return the two principal components of the vectors, one dot per sequence."""
    vectors = material.embeddings
    points, shares = _projected(vectors)
    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MAX_POINTS)).astype(np.int64))
    x, y = _equal_scales(points[rows])
    kinds = _kinds(material.labels())
    shapes = _dots(points[rows], [kinds[row] for row in rows.tolist()] if kinds else [], x, y)
    count, dims = counted(len(rows), "sequence"), counted(vectors.shape[1], "number")
    held = f"{percent(float(shares.sum()))} of their variance" if vectors.shape[1] > 2 else "all that they hold"
    coloured = _coloured(material, kinds)
    return Chart(
        title=f"{count} on the two directions that hold {held}{coloured}",
        description=f"Each dot is a sequence; its vector of {dims} is projected. Close dots may still differ in the "
        "directions that are not shown.",
        shapes=shapes,
        size="map",
    )


def neighbours(material: Material) -> tuple[list[str], list[list[Neighbour]]]:
    """Return names of the shown features, and lists of a sequence and its nearest ones."""
    if material.sample.num_sequences < 2:
        return [], []
    labels = material.labels()
    rows = chosen_rows(material.sample.lengths, labels)
    features, fields = _shown(material)
    names = [_with_unit(material, material.schema.feature_names[index]) for index in features]
    names += [shortened(material.schema.categorical[index].name, 24) for index in fields]
    found = []
    for row in rows.tolist():
        distances = np.linalg.norm(material.embeddings - material.embeddings[row], axis=1)
        distances[row] = -1.0
        near = np.argsort(distances, kind="stable")[: _NUM_NEIGHBOURS + 1].tolist()
        found.append(_group(material, near, distances, labels, features, fields))
    return names, found


def _with_unit(material: Material, name: str) -> str:
    unit = material.units.get(name)
    return f"{shortened(name, 24)} ({shortened(unit, 20)})" if unit else shortened(name, 24)


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
    are_kinds = numbers_of([label for label in labels or () if label is not None]) is None
    group = []
    for place, row in enumerate(near):
        cells = [_spark(material, row, index, (lows[index], highs[index]), longest) for index in features]
        cells += [((), _words(material, row, index)) for index in fields]
        label = "" if labels is None else shortened(labels[row] or MISSING, 24)
        distance = number(float(distances[row])) if place else ""
        same = labels is None or labels[row] == labels[near[0]] or not are_kinds
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
    values, name = material.values(row)[:, feature], _with_unit(material, material.schema.feature_names[feature])
    if np.isnan(values).all():
        return (), "no values"
    ends = f"{number(float(np.nanmin(values)))} to {number(float(np.nanmax(values)))}"
    return (Shape(spark(values, *scale, longest), "line c1"),), f"{name}, {counted(len(values), 'step')}, {ends}"


def _words(material: Material, row: int, field: int) -> str:
    vocabulary = material.schema.categorical[field].vocabulary
    values = vocabulary.values if vocabulary is not None else ()
    ids = material.categories(row)[:, field].tolist()
    text, num = "", 0
    while num < len(ids) and len(text) < _MAX_WORDS:
        text, num = f"{text}{' · ' if num else ''}{_category(values, ids[num])}", num + 1
    return f"{text} …" if num < len(ids) else text


def _category(values: Sequence[object], one: int) -> str:
    if one >= FIRST_ID:
        return shortened(str(values[one - FIRST_ID]), 16)
    return "unknown" if one == UNKNOWN_ID else "missing"


def _coloured(material: Material, kinds: Sequence[str]) -> str:
    labels = material.labels()
    if labels is None:
        return ""
    num, own = len({label for label in labels if label is not None}), len(set(kinds) - {MISSING, OTHERS})
    most = f" (the {own} most frequent of {num:,})" if OTHERS in kinds else ""
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


def _kinds(labels: Sequence[str | None] | None) -> list[str]:
    """Return the legend's entry of each sequence; empty text without labels."""
    known = [label for label in labels or () if label is not None]
    if labels is None:
        return []
    numbers = numbers_of(known)
    if numbers is not None:
        ranges = iter(_ranges(numbers))
        return [MISSING if label is None else next(ranges) for label in labels]
    counts = Counter(known)
    own = {label for label, _ in sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:_MAX_LABELS]}
    return [MISSING if label is None else label if label in own else OTHERS for label in labels]


def _ranges(numbers: NDArray[np.float64]) -> list[str]:
    """Return the fifth of its sort that each number lies in, as text in ascending order of its start."""
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _NUM_RANGES + 1), method="nearest"))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(0, len(edges) - 2))
    names = [f"{number(float(low))} to {number(float(high))}" for low, high in pairwise(edges.tolist())]
    return [f"{_RANGE}{place}{names[place]}" for place in places.tolist()]


def _dots(points: NDArray[np.float64], kinds: Sequence[str], x: Scale, y: Scale) -> tuple[Shape, ...]:
    """Return dots, those without a colour of their own below the others."""
    named = sorted(set(kinds) - {MISSING, OTHERS}, key=_by_number)
    looks: Iterable[str] = (f"dots {form}c{colour}" for form, colour in product(("", "square "), range(1, 7)))
    if any(kind.startswith(_RANGE) for kind in named):
        looks = (f"dots s{place}" for place in range(1, _NUM_RANGES + 1))
    chosen = {OTHERS: "dots c8", MISSING: "dots square c8"} | dict(zip(named, looks, strict=False))
    array, shapes = np.array(kinds, dtype=object), []
    for kind, style in chosen.items():
        own = points[array == kind]
        if len(own):
            name = shortened(kind[2:] if kind.startswith(_RANGE) else kind, 32)
            shapes.append(Shape(dots(own[:, 0], own[:, 1], x, y), style, name))
    return tuple(shapes) if kinds else (Shape(dots(points[:, 0], points[:, 1], x, y), "dots c1"),)


def _by_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return np.inf, label
