"""Draw Keras models: their layers as boxes joined by arrows, without graphviz."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from seqembed.data.display.pictures import GREY, INK, LARGE, SMALL, new_figure, plain, save
from seqembed.trainer.model.encoder import Landmark
from seqembed.trainer.plots.model_graph import INPUT, LayerBox, ModelGraph, model_graph

BOX_WIDTH, BOX_HEIGHT = 3.1, 0.92  # inches, as are all positions in the picture
MAX_NAME = 37  # characters that fit into a box
LINE_HEIGHT = 0.195
BETWEEN_BOXES, BETWEEN_RANKS = 0.3, 0.5
MARGIN, HEADER, BETWEEN_MODELS = 0.3, 0.75, 0.7
LANE_WIDTH = 0.25  # width of a passing arrow within a rank

# Fill and edge colour by kind of layer; edges are darker variants of the colour-blind-safe fills.
INPUTS, RECURRENT, DENSE, OTHERS = ("#F2F2F2", GREY), ("#D6E8F5", "#0072B2"), ("#FBE3D2", "#D55E00"), ("#FFFFFF", GREY)


@dataclass(frozen=True, slots=True)
class Placement:
    """The layout of one model, in inches from its lower left corner.

    Attributes:
        width, height: Size, including the header.
        centres: Centre of each box by layer name.
        ways: Points of each arrow, from the lower edge of one box to the upper edge of another.
    """

    width: float
    height: float
    centres: dict[str, tuple[float, float]]
    ways: tuple[tuple[tuple[float, float], ...], ...]


def plot_model(models: Mapping[str, Any], path: Path | str, landmarks: Sequence[Landmark] = ()) -> None:
    """Draw the layers of each model, side by side, with names, kinds, units, output shapes and numbers of parameters.

    Operations between layers (masks, comparisons, sums) are not drawn, except for landmarks; an arrow represents them.
    Keras's own `plot_model` needs Graphviz, a program that pip does not install, and its summary lists every operation.

    Args:
        models: Title → functional Keras model, e.g. encoder and decoder.
        path: PNG file.
        landmarks: Operations that are drawn like layers, of whichever model they belong to.

    Raises:
        ValueError: `models` is empty.
        OutputError: The picture cannot be written.
    """
    if not models:
        raise ValueError("plot_model needs at least one model")
    graphs = {title: model_graph(model, landmarks) for title, model in models.items()}
    placements = {title: arrange(graph) for title, graph in graphs.items()}
    width = sum(each.width for each in placements.values()) + BETWEEN_MODELS * (len(models) - 1) + 2 * MARGIN
    height = max(each.height for each in placements.values()) + 2 * MARGIN
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(0, height))
    left = MARGIN
    for title, model in models.items():
        placement = placements[title]
        _draw(axes, graphs[title], placement, left, height - MARGIN - placement.height)
        top = height - MARGIN
        axes.text(left, top, title, fontsize=LARGE, weight="bold", color=INK, va="top")
        axes.text(left, top - 0.27, f"{model.count_params():,} parameters", fontsize=SMALL, color=GREY, va="top")
        left += placement.width + BETWEEN_MODELS
    save(figure, path)


def arrange(graph: ModelGraph) -> Placement:
    """Arrange a model from top to bottom: every layer below its sources, inputs right above their first consumer.

    An arrow that passes a rank gets its own lane there, so that it runs beside boxes and not through them.
    """
    ranks = _ranks(graph)
    lanes = [_lane(edge, ranks) for edge in graph.edges]
    rows: dict[int, list[str]] = defaultdict(list)
    for name in _by_readers(graph):
        rows[ranks[name]].append(name)
    for lane in lanes:
        for passing in lane[1:-1]:
            rows[int(passing.rsplit("@", 1)[1])].append(passing)
    parents: dict[str, list[str]] = defaultdict(list)
    for lane in lanes:
        for source, target in zip(lane, lane[1:], strict=False):
            parents[target].append(source)
    across = _across(rows, parents)
    width = max(x + _width(name) / 2 for name, x in across.items())
    num_ranks = max(rows) + 1
    height = HEADER + num_ranks * BOX_HEIGHT + (num_ranks - 1) * BETWEEN_RANKS

    def middle(rank: int) -> float:
        return height - HEADER - rank * (BOX_HEIGHT + BETWEEN_RANKS) - BOX_HEIGHT / 2

    centres = {box.name: (across[box.name], middle(ranks[box.name])) for box in graph.boxes}
    ways = []
    for (source, target), lane in zip(graph.edges, lanes, strict=True):
        start, end = centres[source], centres[target]
        way = [(start[0], start[1] - BOX_HEIGHT / 2)]
        for passing in lane[1:-1]:
            y = middle(int(passing.rsplit("@", 1)[1]))
            way += [(across[passing], y + BOX_HEIGHT / 2), (across[passing], y - BOX_HEIGHT / 2)]
        ways.append((*way, (end[0], end[1] + BOX_HEIGHT / 2)))
    return Placement(width, height, centres, tuple(ways))


def _ranks(graph: ModelGraph) -> dict[str, int]:
    """Return the depth of each layer; the model's order puts sources first."""
    ranks: dict[str, int] = {}
    sources: dict[str, list[str]] = defaultdict(list)
    for source, target in graph.edges:
        sources[target].append(source)
    for box in graph.boxes:
        ranks[box.name] = 1 + max((ranks[source] for source in sources[box.name]), default=-1)
    for box in graph.boxes:
        readers = [ranks[target] for source, target in graph.edges if source == box.name]
        if box.kind == INPUT and readers:
            ranks[box.name] = min(readers) - 1
    return ranks


def _by_readers(graph: ModelGraph) -> list[str]:
    """Return the layers ordered by the position of their consumers, which determines the order of inputs."""
    order = {box.name: number for number, box in enumerate(graph.boxes)}
    readers = {name: [order[target] for source, target in graph.edges if source == name] for name in order}
    return sorted(order, key=lambda name: _or_last(_mean([float(number) for number in readers[name]])))


def _lane(edge: tuple[str, str], ranks: dict[str, int]) -> list[str]:
    """Return the two ends of `edge`, with a name for each rank that it passes in between."""
    source, target = edge
    passing = [f"{source}>{target}@{rank}" for rank in range(ranks[source] + 1, ranks[target])]
    return [source, *passing, target]


def _width(name: str) -> float:
    return LANE_WIDTH if "@" in name else BOX_WIDTH


def _across(rows: dict[int, list[str]], parents: dict[str, list[str]]) -> dict[str, float]:
    """Return the horizontal centre of each box and lane; each rank is ordered by the position of its sources."""
    across: dict[str, float] = {}
    order: dict[int, list[str]] = {}
    for rank in sorted(rows):
        wanted = {name: _mean([across[source] for source in parents[name]]) for name in rows[rank]}
        order[rank] = sorted(rows[rank], key=lambda name: _or_last(wanted[name]))
        _spread(order[rank], wanted, across)
    leftmost = min(x - _width(name) / 2 for name, x in across.items())
    return {name: x - leftmost for name, x in across.items()}


def _or_last(wanted: float | None) -> float:
    return np.inf if wanted is None else wanted


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(names: list[str], wanted: dict[str, float | None], across: dict[str, float]) -> None:
    """Place each name of a rank where it is wanted, moved right if the previous one needs the room; then centre."""
    edge = -np.inf
    positions = []
    for name in names:
        target = wanted[name]
        leftmost = edge + _width(name) / 2
        x = max(leftmost, target) if target is not None else max(leftmost, 0.0) if np.isfinite(leftmost) else 0.0
        positions.append(x)
        edge = x + _width(name) / 2 + BETWEEN_BOXES
    shifts = [target - x for name, x in zip(names, positions, strict=True) if (target := wanted[name]) is not None]
    shift = float(np.mean(shifts)) if shifts else 0.0
    across.update({name: x + shift for name, x in zip(names, positions, strict=True)})


def _draw(axes: Axes, graph: ModelGraph, placement: Placement, left: float, bottom: float) -> None:
    for way in placement.ways:
        points = [(x + left, y + bottom) for x, y in way]
        arrow = FancyArrowPatch(
            path=_smooth(points), arrowstyle="-|>", mutation_scale=11, color=GREY, linewidth=1.1, shrinkA=0, shrinkB=1
        )
        axes.add_patch(arrow)
    for box in graph.boxes:
        x, y = placement.centres[box.name]
        _draw_box(axes, box, x + left, y + bottom)


def _smooth(points: list[tuple[float, float]]) -> Curve:
    """Return a curve through `points` that leaves and enters each of them vertically."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        middle = (y0 + y1) / 2
        vertices += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)


def _draw_box(axes: Axes, box: LayerBox, x: float, y: float) -> None:
    fill, edge = _colours(box)
    lower_left = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(
            lower_left,
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=fill,
            edgecolor=edge,
            linewidth=2.2 if box.is_output else 1.1,
        )
    )
    kind = "input" if box.kind == INPUT else f"{box.kind}, {box.units}" if box.units else box.kind
    lines = [plain(box.name, MAX_NAME), kind, box.shape]
    if box.num_parameters:
        lines.append(f"{box.num_parameters:,} parameters")
    for number, line in enumerate(lines):
        weight, colour = ("bold", INK) if number == 0 else ("normal", INK if number == 1 else GREY)
        height = y + LINE_HEIGHT * ((len(lines) - 1) / 2 - number)
        axes.text(x, height, line, ha="center", va="center", fontsize=SMALL, weight=weight, color=colour)


def _colours(box: LayerBox) -> tuple[str, str]:
    if box.kind == INPUT:
        return INPUTS
    if any(cell in box.kind for cell in ("LSTM", "GRU", "RNN")):
        return RECURRENT
    return DENSE if "Dense" in box.kind else OTHERS
