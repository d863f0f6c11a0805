"""Write names on a map: one beside each point if all are readable, else one beside each cluster of points.

Names of points that cannot be distinguished would only clutter the map, so what is named is decided first, by the
distances between the drawn points.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from seqembed.data.display.pictures import DPI, FAMILIES, GREY, INK, SMALL, any_script, plain
from seqembed.trainer.plots.name_layout import NamePosition, find_positions

MAX_NAMES = 100
MAX_CLUSTER_NAMES = 20
MAX_LISTED = 3  # values in the name of a cluster
MAX_APART = 4  # points that touch each other and are still named individually
MAX_EXTENT = 0.35  # of the map's width or height; a single name cannot describe a wider cluster
MIN_NAMED = 0.5  # share of the points that names must cover to be worth drawing
_DISTANCES = (1.0, 1.5, 2.25, 3.4, 5.1, 7.6, 11.4)  # thresholds for joining points, in diameters of a point


@dataclass(frozen=True, slots=True)
class Group:
    """Points that share a name.

    Attributes:
        name: The name to write.
        members: Indices of the points, int64 (points).
    """

    name: str
    members: NDArray[np.int64]


def name_points(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    names: Sequence[object],
    labels: Sequence[object] | None,
    diameter: float,
) -> int:
    """Write names on a map, unless they would not be readable.

    Args:
        figure: The otherwise complete figure; its layout is fixed here.
        axes: The map.
        points: float64 (points, 2), in the units of `axes`.
        names: One per point.
        labels: One per point, None where there is none; they name the clusters.
        diameter: Diameter of a drawn point, in points (1/72 inch).

    Returns:
        Number of points whose own name or cluster's name was written.
    """
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("names need a canvas that measures text")
    axes.margins(0.12)
    with any_script():
        figure.draw_without_rendering()  # fixes the layout, so that positions in pixels are final
        figure.set_layout_engine("none")
        pixels = axes.transData.transform(points)
        frame = np.array(axes.get_window_extent().extents)
        chosen: list[Group] = []
        positions: dict[int, NamePosition] = {}
        for groups, is_partial in _groupings(pixels, names, labels, diameter * DPI / 72, frame):
            sizes = np.array([_size(figure, group.name) for group in groups])
            members = [group.members for group in groups]
            found = find_positions(members, sizes, pixels, diameter * DPI / 144, frame)
            if len(found) == len(groups) or is_partial:
                chosen, positions = groups, found
            if len(found) == len(groups):
                break
        _draw(axes, chosen, positions)
    return sum(len(chosen[number].members) for number in positions)


def _groupings(
    pixels: NDArray[np.float64],
    names: Sequence[object],
    labels: Sequence[object] | None,
    diameter: float,
    frame: NDArray[np.float64],
) -> Iterator[tuple[list[Group], bool]]:
    """Yield ways to name the points, the best first, each with whether it is worth drawing incompletely."""
    count = len(pixels)
    singles = [Group(plain(name), np.array([index])) for index, name in enumerate(names)] if count <= MAX_NAMES else []
    touching = _clusters(pixels, diameter)
    one_by_one = max(len(members) for members in touching) <= MAX_APART
    if singles and one_by_one:
        yield singles, True
    extent = (frame[2:] - frame[:2]) * MAX_EXTENT
    found = [_compact(_clusters(pixels, diameter * factor), pixels, extent) for factor in _DISTANCES]
    # Clusters that stay the same when the threshold grows by half are separated by a real gap.
    stable = [clusters for clusters, wider in pairwise(found) if len(clusters) == len(wider)]
    shares = [sum(len(members) for members in clusters) / count for clusters in stable]
    for index in sorted(range(len(stable)), key=lambda index: -round(shares[index], 1)):
        if shares[index] >= MIN_NAMED:
            rest = set(range(count)) - {int(point) for members in stable[index] for point in members}
            shared = [Group(_cluster_name(members, names, labels), members) for members in stable[index]]
            yield shared + [single for single in singles if int(single.members[0]) in rest], False
    if singles and not one_by_one:
        apart = [singles[index] for members in touching if len(members) <= MAX_APART for index in members]
        together = [members for members in touching if len(members) > MAX_APART]
        yield apart + [Group(_cluster_name(members, names, labels), members) for members in together], True


def _compact(
    clusters: list[NDArray[np.int64]], pixels: NDArray[np.float64], extent: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Return the clusters that have enough points to matter and are small enough for one name."""
    large = [members for members in clusters if len(members) * MAX_CLUSTER_NAMES >= len(pixels) and len(members) > 1]
    return [members for members in large if (np.ptp(pixels[members], axis=0) <= extent).all()]


def _clusters(pixels: NDArray[np.float64], distance: float) -> list[NDArray[np.int64]]:
    """Return the points of each cluster, whose points are connected by steps of at most `distance`."""
    # scikit-learn's DBSCAN does the same, but importing it takes longer than all drawing.
    left = np.ones(len(pixels), dtype=np.bool_)
    clusters = []
    while left.any():
        members: list[int] = []
        pending = [int(left.argmax())]
        left[pending] = False
        while pending:
            members.append(pending.pop())
            near = np.flatnonzero(left & (np.linalg.norm(pixels - pixels[members[-1]], axis=1) <= distance))
            left[near] = False
            pending.extend(near.tolist())
        clusters.append(np.sort(members))
    return clusters


def _cluster_name(members: NDArray[np.int64], names: Sequence[object], labels: Sequence[object] | None) -> str:
    if len(members) == 1:
        return plain(names[members[0]])
    if labels is None:
        return f"{plain(names[members[0]])} and {len(members) - 1:,} more"
    counts = Counter("no label" if labels[index] is None else str(labels[index]) for index in members)
    listed = [value for value, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    if len(listed) <= MAX_LISTED:
        return ", ".join(plain(value) for value in listed)
    try:
        numbers = [float(value) for value in listed]
    except ValueError:
        return f"{', '.join(plain(value) for value in listed[:MAX_LISTED])} and {len(listed) - MAX_LISTED:,} more"
    return f"{min(numbers):g} to {max(numbers):g}"


def _size(figure: Figure, name: str) -> tuple[float, float]:
    """Return width and height of the drawn `name`."""
    text = figure.text(0, 0, name, fontsize=SMALL, fontfamily=FAMILIES)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _draw(axes: Axes, groups: list[Group], positions: dict[int, NamePosition]) -> None:
    to_units = axes.transData.inverted()
    look: dict[str, Any] = {"fontsize": SMALL, "fontfamily": FAMILIES, "color": INK}
    for number, position in positions.items():
        left, bottom = to_units.transform(position.box[:2])
        axes.text(left, bottom, groups[number].name, va="bottom", ha="left", **look)
        if len(position.line):
            ends = to_units.transform(position.line[[0, -1]])
            axes.add_artist(Line2D(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.7, solid_capstyle="butt"))
