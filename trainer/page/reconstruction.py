"""Reconstructions: the error of each feature beside that of the mean, and typical and worst sequences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Shape, cells, curve
from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.scales import ends, linear, within
from seqembed.data.plurals import counted
from seqembed.data.schema.vocabulary import MISSING_ID
from seqembed.trainer.page.material import Material

MAX_ROWS = 300
SHOWN_ROWS = 16
_NUM_PANELS = 4  # features of a sequence
_NO_BETTER = 0.95  # of the mean's squared error


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How well one feature or field is reconstructed.

    Attributes:
        name, unit: For the user.
        index: Among features, then fields.
        unexplained: Squared error divided by that of the mean; for a field, the share of wrong steps divided by
            that of the most frequent value. NaN if it is constant.
        error, mean_error: Root mean square errors in the feature's unit, or shares of right steps, as text.
    """

    name: str
    unit: str
    index: int
    unexplained: float
    error: str
    mean_error: str

    @property
    def explained(self) -> str:
        """Share of the variance that is explained; for a field, of the errors that are avoided."""
        return "–" if np.isnan(self.unexplained) else percent(max(0.0, 1 - self.unexplained))

    @property
    def no_better(self) -> bool:
        """Whether the mean is hardly worse."""
        return self.unexplained >= _NO_BETTER


@dataclass(frozen=True, slots=True)
class Strip:
    """A field of a sequence: at which steps its category was reconstructed."""

    name: str
    summary: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A sequence and its reconstruction.

    Attributes:
        kind: ``Typical`` or ``Worst``.
        name, about: Its id, and label and length.
        panels: A chart for each shown feature.
        strips: One for each shown field.
    """

    kind: str
    name: str
    about: str
    panels: tuple[Chart, ...]
    strips: tuple[Strip, ...]


def error_rows(material: Material) -> list[ErrorRow]:
    """Return features and fields, the worst first; without a decoder none."""
    if not material.decoded:
        return []
    originals, written = _flat(material)
    num = material.schema.num_features
    rows = [_numeric(material, index, originals[:, index], written[:, index]) for index in range(num)]
    rows += [
        _categorical(material, index, originals[:, index], written[:, index]) for index in range(num, written.shape[1])
    ]
    return sorted(rows, key=lambda row: (np.isnan(row.unexplained), -np.nan_to_num(row.unexplained), row.index))


def cases(material: Material, rows: Sequence[ErrorRow]) -> list[Case]:
    """Return two typical and the two worst sequences, by their mean squared error in units of the variance."""
    if not material.decoded:
        return []
    places = np.array(list(material.decoded))
    errors = np.array([_error(material, row) for row in places.tolist()])
    order = places[np.argsort(errors, kind="stable")]
    middle = len(order) // 2
    typical = order[max(0, middle - 1) : middle + 1].tolist()
    worst = [row for row in order[::-1][:2].tolist() if row not in typical]
    shown = _shown(material, rows)
    found = [_case(material, "Typical", row, shown) for row in typical]
    return found + [_case(material, "Worst", row, shown) for row in worst]


def _flat(material: Material) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return originals and reconstructions of all decoded steps, float64 (steps, features + fields) each."""
    pairs = [(_original(material, row), written) for row, written in material.decoded.items()]
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs]).astype(np.float64)


def _original(material: Material, row: int) -> NDArray[np.float64]:
    ids = material.categories(row)
    known = np.where(ids == MISSING_ID, np.nan, ids)
    return np.concatenate([material.values(row), known], axis=1, dtype=np.float64)


def _numeric(material: Material, index: int, original: NDArray[np.float64], written: NDArray[np.float64]) -> ErrorRow:
    feature = material.schema.features[index]
    both = ~np.isnan(original) & ~np.isnan(written)
    squares = (original - written)[both] ** 2
    trivial = (original[both] - material.profile.mean[index]) ** 2
    error, mean = (float(each.mean()) if len(each) else np.nan for each in (squares, trivial))
    is_still = material.profile.std[index] == 0 or not mean > 0
    unit = material.units.get(feature.name, "")
    return ErrorRow(
        feature.name, unit, index, np.nan if is_still else error / mean, number(np.sqrt(error)), number(np.sqrt(mean))
    )


def _categorical(
    material: Material, index: int, original: NDArray[np.float64], written: NDArray[np.float64]
) -> ErrorRow:
    both = ~np.isnan(original) & ~np.isnan(written)
    ids = original[both].astype(np.int64)
    right = float((ids == written[both]).mean()) if len(ids) else np.nan
    frequent = float(np.bincount(ids).max() / len(ids)) if len(ids) else np.nan
    name = material.schema.categorical[index - material.schema.num_features].name
    ratio = (1 - right) / (1 - frequent) if frequent < 1 else np.nan
    return ErrorRow(name, "", index, ratio, f"{percent(right)} right", f"{percent(frequent)} right")


def _error(material: Material, row: int) -> float:
    """Return the error of a sequence: squared in units of the variance, or 1 for a wrong category, on average."""
    difference = _original(material, row) - material.decoded[row]
    num = material.schema.num_features
    std = np.array(material.profile.std)
    scaled = (difference[:, :num] / np.where(std > 0, std, 1.0)) ** 2
    terms = np.concatenate([scaled, np.where(np.isnan(difference[:, num:]), np.nan, difference[:, num:] != 0)], axis=1)
    known = terms[~np.isnan(terms)]
    return float(known.mean()) if len(known) else 0.0


def _shown(material: Material, rows: Sequence[ErrorRow]) -> list[ErrorRow]:
    """Return up to four columns of the user, from the worst to the best reconstructed one; with fewer, times too."""
    able = [row for row in rows if not np.isnan(row.unexplained)] or list(rows)
    times = {index for index, feature in enumerate(material.schema.features) if feature.kind == "time"}
    own = [row for row in able if row.index not in times]
    chosen = _spread(own, _NUM_PANELS)
    computed = [row for row in able if row.index in times]
    return chosen + _spread(computed, _NUM_PANELS - len(chosen))


def _spread(rows: Sequence[ErrorRow], most: int) -> list[ErrorRow]:
    """Return up to `most` rows from the first to the last one, in the order of the model."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)).tolist()
    return sorted((rows[place] for place in places), key=lambda row: row.index)


def _case(material: Material, kind: str, row: int, shown: Sequence[ErrorRow]) -> Case:
    original, written = _original(material, row), material.decoded[row].astype(np.float64)
    labels, num = material.labels(), material.schema.num_features
    label = "" if labels is None else f"{material.label} {labels[row] or 'missing'}, "
    panels = [_panel(each, original[:, each.index], written[:, each.index]) for each in shown if each.index < num]
    strips = [_strip(each, original[:, each.index], written[:, each.index]) for each in shown if each.index >= num]
    about = f"{shortened(label, 40)}{' ' if label else ''}{counted(len(original), 'step')}"
    return Case(kind, shortened(material.name(row), 40), about, tuple(panels), tuple(strips))


def _panel(row: ErrorRow, original: NDArray[np.float64], written: NDArray[np.float64]) -> Chart:
    x, y = within(len(original)), linear([*ends(original), *ends(written)], num_ticks=2, widened=True)
    steps = np.arange(1, len(original) + 1)
    unit = f" ({shortened(row.unit, 20)})" if row.unit else ""
    low, high = ends(original)
    return Chart(
        title=f"{shortened(row.name, 36)}{unit}",
        description=f"{counted(len(original), 'step')} from {number(low)} to {number(high)}, and their reconstruction.",
        shapes=(
            Shape(curve(steps, original, x, y), "wide c5"),
            Shape(curve(steps, written, x, y), "line c2"),
        ),
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        size="tiny",
    )


def _strip(row: ErrorRow, original: NDArray[np.float64], written: NDArray[np.float64]) -> Strip:
    known = ~np.isnan(original) & ~np.isnan(written)
    right = known & (original == written)
    summary = f"{int(right.sum()):,} of {int(known.sum()):,} steps right"
    shapes = (Shape(cells(right.tolist()), "bar c5"), Shape(cells((known & ~right).tolist()), "bar c2"))
    return Strip(shortened(row.name, 36), summary, shapes)
