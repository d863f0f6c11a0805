"""Names on a map: one beside each point where all can be read, else one beside each cluster of points.

Places are searched in pixels, greedily, names with the least room first. A name is never drawn over a point, another
name or a line; adjustText 1.4 was tried and left 4 names of 60 overlapping and 11 points covered after a minute.
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

from trainer.plot_style import DPI, FAMILIES, GREY, INK, SMALL, any_script, plain

MAX_NAMES = 100
MAX_CLUSTER_NAMES = 20
MAX_LISTED = 3  # values in the name of a cluster
MAX_APART = 4  # points that touch each other and are still named one by one
MAX_EXTENT = 0.35  # of the map's width or height; one name does not describe what is wider
MIN_NAMED = 0.5  # share of the points that names must cover to be worth drawing
_GAP = 3.0  # pixels around texts, as are all lengths below
_RADII = (2.0, 9.0, 18.0, 29.0, 42.0, 57.0, 74.0, 93.0, 115.0)  # from the edge of a point to its name
_DISTANCES = (1.0, 1.5, 2.25, 3.4, 5.1, 7.6, 11.4)  # over which points are joined, in diameters of a point
_DIRECTIONS = 16
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Points that share a name.

    Attributes:
        name: What is written.
        members: Their places among all points, int64 (points).
    """

    name: str
    members: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Place:
    box: NDArray[np.float64]  # of the name: left, bottom, right, top
    line: NDArray[np.float64]  # (steps, 2) from point to name; no step where the name is right beside its point


def name_points(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    names: Sequence[object],
    labels: Sequence[object] | None,
    diameter: float,
) -> int:
    """Write names on a map, and return how many points have one; none where they would not be readable.

    Args:
        figure: Has all else drawn; its layout is settled here.
        axes: The map.
        points: float64 (points, 2), in the units of `axes`.
        names: One for each point.
        labels: One for each point, None where there is none; they name the clusters.
        diameter: Of a point as it is drawn, in points (1/72 inch).

    Returns:
        Points with a name of their own or of their cluster.
    """
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("names need a canvas that measures text")
    axes.margins(0.12)
    with any_script():
        canvas.draw()  # settles the layout, so that places in pixels are final
        figure.set_layout_engine("none")
        pixels = axes.transData.transform(points)
        frame = np.array(axes.get_window_extent().extents)
        chosen: list[Group] = []
        places: dict[int, _Place] = {}
        for groups, in_part in _groupings(pixels, names, labels, diameter * DPI / 72, frame):
            sizes = np.array([_size(figure, group.name) for group in groups])
            found = _arrange(groups, sizes, pixels, diameter * DPI / 144, frame)
            if len(found) == len(groups) or in_part:
                chosen, places = groups, found
            if len(found) == len(groups):
                break
        _draw(axes, chosen, places)
    return sum(len(chosen[number].members) for number in places)


def _groupings(
    pixels: NDArray[np.float64],
    names: Sequence[object],
    labels: Sequence[object] | None,
    diameter: float,
    frame: NDArray[np.float64],
) -> Iterator[tuple[list[Group], bool]]:
    """Yield ways to name the points, the best first, each with whether it is worth drawing in part."""
    count = len(pixels)
    singles = [Group(plain(name), np.array([place])) for place, name in enumerate(names)] if count <= MAX_NAMES else []
    touching = _clusters(pixels, diameter)
    one_by_one = max(len(members) for members in touching) <= MAX_APART
    if singles and one_by_one:
        yield singles, True
    extent = (frame[2:] - frame[:2]) * MAX_EXTENT
    found = [_compact(_clusters(pixels, diameter * factor), pixels, extent) for factor in _DISTANCES]
    for clusters, wider in pairwise(found):
        covered = sum(len(members) for members in clusters)
        # What stays the same where points are joined over half the distance more is set apart by a real gap.
        if covered >= MIN_NAMED * count and len(clusters) == len(wider):
            rest = set(range(count)) - {int(place) for members in clusters for place in members}
            shared = [Group(_cluster_name(members, names, labels), members) for members in clusters]
            yield shared + [single for single in singles if int(single.members[0]) in rest], False
    if singles and not one_by_one:
        apart = [singles[place] for members in touching if len(members) <= MAX_APART for place in members]
        together = [members for members in touching if len(members) > MAX_APART]
        yield apart + [Group(_cluster_name(members, names, labels), members) for members in together], True


def _compact(
    clusters: list[NDArray[np.int64]], pixels: NDArray[np.float64], extent: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Return the clusters that are large enough to matter and small enough for a name to stand beside."""
    large = [members for members in clusters if len(members) * MAX_CLUSTER_NAMES >= len(pixels) and len(members) > 1]
    return [members for members in large if (np.ptp(pixels[members], axis=0) <= extent).all()]


def _clusters(pixels: NDArray[np.float64], distance: float) -> list[NDArray[np.int64]]:
    """Return the points of each cluster: steps of at most `distance` lead from each of its points to all others."""
    # scikit-learn's DBSCAN does the same, but to import it takes longer than all drawing.
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
    counts = Counter("no label" if labels[place] is None else str(labels[place]) for place in members)
    listed = [value for value, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    if len(listed) <= MAX_LISTED:
        return ", ".join(plain(value) for value in listed)
    try:
        numbers = [float(value) for value in listed]
    except ValueError:
        return f"{', '.join(plain(value) for value in listed[:MAX_LISTED])} and {len(listed) - MAX_LISTED:,} more"
    return f"{min(numbers):g} to {max(numbers):g}"


def _size(figure: Figure, name: str) -> tuple[float, float]:
    """Return width and height of `name` as it is drawn."""
    text = figure.text(0, 0, name, fontsize=SMALL, fontfamily=FAMILIES)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _arrange(
    groups: list[Group],
    sizes: NDArray[np.float64],
    pixels: NDArray[np.float64],
    radius: float,
    frame: NDArray[np.float64],
) -> dict[int, _Place]:
    """Return places of names by their number; those that find no room have none."""
    found = [_candidates(pixels[group.members], size, radius) for group, size in zip(groups, sizes, strict=True)]
    boxes, ends = (np.stack(each) for each in zip(*found, strict=True))  # (names, candidates, 4) and (…, 2)
    free = np.all(boxes[..., :2] >= frame[:2] + _GAP, axis=2) & np.all(boxes[..., 2:] <= frame[2:] - _GAP, axis=2)
    _take_discs(free, boxes, pixels, radius)
    order = np.argsort(free.sum(axis=1), kind="stable").tolist()  # those with the least room first
    best: dict[int, _Place] = {}
    for _ in range(_TRIES):
        places = _fill(order, [group.members for group in groups], boxes, ends, free.copy(), pixels, radius)
        best = max(best, places, key=len)
        if len(best) == len(groups):
            break
        order.sort(key=places.__contains__)  # those that found no room come first in the next try
    return best


def _fill(
    order: list[int],
    members: list[NDArray[np.int64]],
    boxes: NDArray[np.float64],
    ends: NDArray[np.float64],
    free: NDArray[np.bool_],
    pixels: NDArray[np.float64],
    radius: float,
) -> dict[int, _Place]:
    """Give each name in turn its nearest box that is free, and strike out from `free` what that box and line cover."""
    discs, radii = pixels, np.full(len(pixels), radius)
    places: dict[int, _Place] = {}
    for number in order:
        own = members[number]
        for option in np.flatnonzero(free[number]):
            nearest = own[np.linalg.norm(pixels[own] - ends[number, option], axis=1).argmin()]
            line = _line(pixels[nearest], ends[number, option], radius)
            others = np.arange(len(discs)) != nearest
            if _is_clear(line, discs[others], radii[others], [place.box for place in places.values()]):
                box = boxes[number, option]
                places[number] = _Place(box, line)
                free &= ~((boxes[..., :2] - _GAP < box[2:]) & (boxes[..., 2:] + _GAP > box[:2])).all(axis=2)
                _take_discs(free, boxes, line, 1.0)
                discs, radii = np.vstack([discs, line]), np.concatenate([radii, np.ones(len(line))])
                break
    return places


def _take_discs(
    free: NDArray[np.bool_], boxes: NDArray[np.float64], centres: NDArray[np.float64], radius: float
) -> None:
    """Strike out from `free` the boxes, float64 (names, candidates, 4), that touch a disc, float64 (discs, 2)."""
    names, candidates = np.nonzero(free)
    left = boxes[names, candidates]
    touched = np.zeros(len(left), dtype=np.bool_)
    for x, y in centres:  # one at a time: thousands of points by thousands of boxes would take gigabytes
        touched |= (
            (left[:, 0] - _GAP - radius < x)
            & (left[:, 2] + _GAP + radius > x)
            & (left[:, 1] - _GAP - radius < y)
            & (left[:, 3] + _GAP + radius > y)
        )
    free[names, candidates] = ~touched


def _is_clear(
    line: NDArray[np.float64],
    discs: NDArray[np.float64],
    radii: NDArray[np.float64],
    boxes: list[NDArray[np.float64]],
) -> bool:
    """Return whether a line, float64 (steps, 2), meets no disc and no box."""
    apart = np.linalg.norm(line[:, None] - discs, axis=2) >= radii + 1
    inside = [((line > box[:2] - 1) & (line < box[2:] + 1)).all(axis=1).any() for box in boxes]
    return bool(apart.all()) and not any(inside)


def _candidates(
    members: NDArray[np.float64], size: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes that a name may take, float64 (boxes, 4), near ones first, and where a line would meet each."""
    turns = np.arange(_DIRECTIONS)
    angles = turns[np.argsort(turns % 4 != 0, kind="stable")] * 2 * np.pi / _DIRECTIONS  # the sides first
    directions = np.column_stack([np.cos(angles), np.sin(angles)]).round(6)
    low, high = members.min(axis=0), members.max(axis=0)
    starts = (low + high) / 2 + directions * ((high - low) * 0.55)  # of a cluster: a little beyond its edge
    ends = np.concatenate([starts + directions * (radius + _GAP + distance) for distance in _RADII])
    # The part of the name that meets the line: its right edge where it lies to the left, and so on.
    shares = np.tile((1 - np.clip(directions * 2.5, -1, 1)) / 2, (len(_RADII), 1))
    corners = ends - shares * size
    return np.hstack([corners, corners + size]), ends


def _line(start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return steps of two pixels from the edge of a point to its name, float64 (steps, 2); none where they adjoin."""
    distance = float(np.linalg.norm(end - start))
    if distance <= radius + _GAP + _RADII[1]:
        return np.empty((0, 2))
    shares = np.linspace((radius + 1) / distance, 1 - 1 / distance, max(2, int(distance / 2)))
    return start + shares[:, None] * (end - start)


def _draw(axes: Axes, groups: list[Group], places: dict[int, _Place]) -> None:
    to_units = axes.transData.inverted()
    look: dict[str, Any] = {"fontsize": SMALL, "fontfamily": FAMILIES, "color": INK}
    for number, place in places.items():
        left, bottom = to_units.transform(place.box[:2])
        axes.text(left, bottom, groups[number].name, va="bottom", ha="left", **look)
        if len(place.line):
            ends = to_units.transform(place.line[[0, -1]])
            axes.add_artist(Line2D(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.7, solid_capstyle="butt"))
