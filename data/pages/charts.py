"""Charts as data for the templates: geometry that is computed here, and texts that the templates escape.

A chart is stretched to the width of its column, on a phone as on a desktop, but its text is HTML beside the SVG, so it
keeps its size. Coordinates are integers of a square of `SIDE` units, which keeps a page of many charts small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqembed.data.pages.scales import Scale, Tick

SIDE: Final = 1000
_MAX_COLUMNS: Final = 300  # of a curve; of more steps each column shows the range


@dataclass(frozen=True, slots=True)
class Shape:
    """One path of a chart.

    Attributes:
        path: SVG path data.
        style: Classes of the style sheet: ``line``, ``dash``, ``bar`` or ``dots``, and a colour ``c1`` … ``c8``.
        name: Its entry in the legend; empty for none.
    """

    path: str
    style: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal line to compare with.

    Attributes:
        at: Percent of the height from the bottom.
        name: What it stands for.
    """

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with axes.

    Attributes:
        title: A sentence that says what the chart shows.
        description: The same for those who cannot see it, with the numbers that matter.
        shapes: Drawn in order.
        x_ticks, y_ticks: Labels of the axes.
        x_name, y_name: What they measure.
        rules: Lines to compare with.
        size: Class of the style sheet for its height: ``tall``, ``low``, ``tiny`` or ``map``.
    """

    title: str
    description: str
    shapes: tuple[Shape, ...]
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    x_name: str = ""
    y_name: str = ""
    rules: tuple[Rule, ...] = ()
    size: str = "low"

    @property
    def widest(self) -> str:
        """The longest label of the vertical axis, which sets the width of its column."""
        return max((tick.text for tick in self.y_ticks), key=len, default="")

    @property
    def legend(self) -> tuple[Shape, ...]:
        """Shapes with a name, grey ones last, unless there is only one and nothing to compare it with."""
        named = tuple(sorted((shape for shape in self.shapes if shape.name), key=lambda shape: "c8" in shape.style))
        return named if len(named) + len(self.rules) > 1 else ()


def curve(x: ArrayLike, y: ArrayLike, x_scale: Scale, y_scale: Scale) -> str:
    """Return a line through points, interrupted where `y` is NaN.

    Of many points every column of the picture shows the least and the greatest.
    """
    points = np.column_stack([x_scale.at(x), y_scale.at(y)])
    return _line(_thinned(points))


def bars(edges: ArrayLike, heights: ArrayLike, y_scale: Scale, x_scale: Scale) -> str:
    """Return bars between consecutive edges.

    Args:
        edges: (bars + 1), ascending.
        heights: (bars).
        y_scale: Its lower end is the foot of the bars.
        x_scale: Where the edges lie.
    """
    sides = np.rint(x_scale.at(edges) * SIDE / 100).astype(int)
    tops = np.rint(SIDE - y_scale.at(heights) * SIDE / 100).astype(int)
    return "".join(
        f"M{left} {SIDE}V{top}H{right}V{SIDE}z"
        for left, right, top in zip(sides[:-1].tolist(), sides[1:].tolist(), tops.tolist(), strict=True)
        if top < SIDE
    )


def dots(x: ArrayLike, y: ArrayLike, x_scale: Scale, y_scale: Scale) -> str:
    """Return a dot for each point: a line of no length, whose caps the style sheet draws."""
    across, up = _places(np.column_stack([x_scale.at(x), y_scale.at(y)]))
    return "".join(f"M{a} {b}h0" for a, b in zip(across.tolist(), up.tolist(), strict=True))


def spark(values: ArrayLike, low: float, high: float, length: int | None = None) -> str:
    """Return a sparkline of the steps of one feature.

    Args:
        values: (steps), NaN where missing.
        low: Lower end of the scale.
        high: Upper end.
        length: Steps of the whole width; None is those of `values`.
    """
    steps = np.asarray(values, dtype=np.float64)
    width = max((len(steps) if length is None else length) - 1, 1)
    flat = Scale(low - 0.5, low + 0.5, ()) if high <= low else Scale(low, high, ())
    return curve(np.arange(len(steps)), steps, Scale(0, width, ()), flat)


def cells(marked: Sequence[bool]) -> str:
    """Return a strip with a filled cell at each marked step.

    Of many steps, a column of the picture is filled if at least half of its steps are marked.

    Args:
        marked: One per step.
    """
    flags = np.asarray(marked, dtype=bool)
    if len(flags) > _MAX_COLUMNS:
        starts = np.arange(_MAX_COLUMNS) * len(flags) // _MAX_COLUMNS
        sizes = np.diff([*starts.tolist(), len(flags)])
        flags = np.add.reduceat(flags, starts, dtype=np.int64) * 2 >= sizes
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    ends = np.rint(changes * SIDE / max(len(flags), 1)).astype(int).reshape(-1, 2)
    return "".join(f"M{left} 0H{right}V{SIDE}H{left}z" for left, right in ends.tolist())


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 points, at most two per column: the least and greatest, in their order."""
    if len(points) <= 2 * _MAX_COLUMNS:
        return points
    column = np.arange(len(points)) * _MAX_COLUMNS // len(points)
    starts = np.searchsorted(column, np.arange(_MAX_COLUMNS + 1))
    kept: list[int] = []
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        own = points[start:stop, 1]
        if np.isnan(own).all():
            kept.append(start)
        else:
            kept += sorted({start + int(np.nanargmin(own)), start + int(np.nanargmax(own))})
    return points[kept]


def _line(points: NDArray[np.float64]) -> str:
    known = np.asarray(np.isfinite(points).all(axis=1))
    across, up = _places(np.where(known[:, None], points, 0.0))
    text, drawn = [], False
    for index, (a, b) in enumerate(zip(across.tolist(), up.tolist(), strict=True)):
        if not known[index]:
            drawn = False
            continue
        alone = not drawn and (index + 1 == len(known) or not known[index + 1])
        text.append(f"M{a} {b}h0" if alone else f"{'L' if drawn else 'M'}{a} {b}")
        drawn = True
    return "".join(text)


def _places(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return coordinates in SVG units, int64 (points) each, those outside of the chart at a bounded distance."""
    bounded = np.clip(points, -100.0, 200.0)
    across = np.rint(bounded[:, 0] * SIDE / 100).astype(np.int64)
    return across, np.rint(SIDE - bounded[:, 1] * SIDE / 100).astype(np.int64)
