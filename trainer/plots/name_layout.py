"""Position names on a map: beside their points, without overlapping anything.

Candidate positions are tried in order of distance, and names with the least room choose first. adjustText 1.4 was
tried: after a minute it left 4 of 60 names overlapping and 11 points covered, and its result changed from run to run.
All lengths are in pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GAP = 3.0  # around names
RADII = (2.0, 9.0, 18.0, 29.0, 42.0, 57.0, 74.0, 93.0, 115.0)  # from the edge of a point to its name
NUM_DIRECTIONS = 16
NUM_TRIES = 4


@dataclass(frozen=True, slots=True)
class NamePosition:
    """The position of a name.

    Attributes:
        box: Box of the name: left, bottom, right, top, float64 (4).
        line: Samples of the line from its point to the name, float64 (samples, 2); empty if the name adjoins its point.
    """

    box: NDArray[np.float64]
    line: NDArray[np.float64]


def find_positions(
    members: list[NDArray[np.int64]],
    sizes: NDArray[np.float64],
    pixels: NDArray[np.float64],
    radius: float,
    frame: NDArray[np.float64],
) -> dict[int, NamePosition]:
    """Return the positions of names by their number, without those that find no room.

    Args:
        members: For each name the points that share it, int64 (points).
        sizes: Width and height of each name, float64 (names, 2).
        pixels: All points, float64 (points, 2).
        radius: Radius of a drawn point.
        frame: Left, bottom, right and top of the map, float64 (4).
    """
    found = [_candidates(pixels[own], size, radius) for own, size in zip(members, sizes, strict=True)]
    boxes, ends = (np.stack(each) for each in zip(*found, strict=True))  # (names, candidates, 4) and (…, 2)
    free = np.all(boxes[..., :2] >= frame[:2] + GAP, axis=2) & np.all(boxes[..., 2:] <= frame[2:] - GAP, axis=2)
    _take_discs(free, boxes, pixels, radius)
    order = np.argsort(free.sum(axis=1), kind="stable").tolist()  # those with the least room first
    best: dict[int, NamePosition] = {}
    for _ in range(NUM_TRIES):
        positions = _fill(order, members, boxes, ends, free.copy(), pixels, radius)
        best = max(best, positions, key=len)
        if len(best) == len(members):
            break
        order.sort(key=positions.__contains__)  # those that found no room come first in the next try
    return best


def _fill(
    order: list[int],
    members: list[NDArray[np.int64]],
    boxes: NDArray[np.float64],
    ends: NDArray[np.float64],
    free: NDArray[np.bool_],
    pixels: NDArray[np.float64],
    radius: float,
) -> dict[int, NamePosition]:
    """Give each name in turn its nearest free box, and remove from `free` what that box and line cover."""
    discs, radii = pixels, np.full(len(pixels), radius)
    positions: dict[int, NamePosition] = {}
    for number in order:
        own = members[number]
        for option in np.flatnonzero(free[number]):
            nearest = own[np.linalg.norm(pixels[own] - ends[number, option], axis=1).argmin()]
            line = _line(pixels[nearest], ends[number, option], radius)
            others = np.arange(len(discs)) != nearest
            if _is_clear(line, discs[others], radii[others], [taken.box for taken in positions.values()]):
                box = boxes[number, option]
                positions[number] = NamePosition(box, line)
                free &= ~((boxes[..., :2] - GAP < box[2:]) & (boxes[..., 2:] + GAP > box[:2])).all(axis=2)
                _take_discs(free, boxes, line, 1.0)
                discs, radii = np.vstack([discs, line]), np.concatenate([radii, np.ones(len(line))])
                break
    return positions


def _take_discs(
    free: NDArray[np.bool_], boxes: NDArray[np.float64], centres: NDArray[np.float64], radius: float
) -> None:
    """Remove from `free` the boxes, float64 (names, candidates, 4), that touch a disc, float64 (discs, 2)."""
    names, candidates = np.nonzero(free)
    left = boxes[names, candidates]
    touched = np.zeros(len(left), dtype=np.bool_)
    for x, y in centres:  # one at a time: thousands of points by thousands of boxes would take gigabytes
        touched |= (
            (left[:, 0] - GAP - radius < x)
            & (left[:, 2] + GAP + radius > x)
            & (left[:, 1] - GAP - radius < y)
            & (left[:, 3] + GAP + radius > y)
        )
    free[names, candidates] = ~touched


def _is_clear(
    line: NDArray[np.float64],
    discs: NDArray[np.float64],
    radii: NDArray[np.float64],
    boxes: list[NDArray[np.float64]],
) -> bool:
    """Return whether a line, float64 (samples, 2), touches no disc and no box."""
    apart = np.linalg.norm(line[:, None] - discs, axis=2) >= radii + 1
    inside = [((line > box[:2] - 1) & (line < box[2:] + 1)).all(axis=1).any() for box in boxes]
    return bool(apart.all()) and not any(inside)


def _candidates(
    members: NDArray[np.float64], size: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return candidate boxes of a name, float64 (boxes, 4), nearest first, and where a line would end at each."""
    turns = np.arange(NUM_DIRECTIONS)
    angles = turns[np.argsort(turns % 4 != 0, kind="stable")] * 2 * np.pi / NUM_DIRECTIONS  # the sides first
    directions = np.column_stack([np.cos(angles), np.sin(angles)]).round(6)
    low, high = members.min(axis=0), members.max(axis=0)
    starts = (low + high) / 2 + directions * ((high - low) * 0.55)  # of a cluster: a little beyond its edge
    ends = np.concatenate([starts + directions * (radius + GAP + distance) for distance in RADII])
    # The point of the box where the line ends: its right edge if the name is to the left, and so on.
    shares = np.tile((1 - np.clip(directions * 2.5, -1, 1)) / 2, (len(RADII), 1))
    corners = ends - shares * size
    return np.hstack([corners, corners + size]), ends


def _line(start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return samples from the edge of a point to its name, float64 (samples, 2), every two pixels; empty if close."""
    distance = float(np.linalg.norm(end - start))
    if distance <= radius + GAP + RADII[1]:
        return np.empty((0, 2))
    shares = np.linspace((radius + 1) / distance, 1 - 1 / distance, max(2, int(distance / 2)))
    return start + shares[:, None] * (end - start)
