"""A map of embeddings: the plane itself, a strip, or the two directions in which they differ most."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from seqembed.trainer.plot_style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    MARKERS,
    NORMAL,
    SMALL,
    any_script,
    headline,
    new_figure,
    plain,
    save,
    tidy,
)

MAX_LABELS = 20  # more cannot be told apart by colour and shape
MAX_NAMES = 30
NO_LABEL = "none"


def plot_embeddings(
    embeddings: NDArray[np.float32],
    path: Path | str,
    labels: Sequence[object] | None = None,
    names: Sequence[object] | None = None,
    label_name: str | None = None,
) -> None:
    """Draw one point a sequence.

    Two dimensions are drawn as they are, one as a strip, more by principal components.

    Args:
        embeddings: float32 (sequences, embedding_dim), finite.
        path: PNG file.
        labels: One for each sequence, None where there is none; up to `MAX_LABELS` kinds get a colour and shape each,
            more a colour scale where they are numbers.
        names: One for each sequence; shown where there are at most `MAX_NAMES`.
        label_name: What the labels are, for the legend.

    Raises:
        ValueError: There is no embedding, one is not finite, or labels or names are of another number.
        OutputError: The picture cannot be written.
    """
    _check(embeddings, labels, names)
    figure = new_figure(9, 6.4)
    axes = figure.subplots()
    kinds = _kinds(labels)
    points = _place(axes, embeddings, [kinds.index(_text(label)) for label in labels] if labels and kinds else None)
    count, dim = embeddings.shape
    coloured = f", coloured by {plain(label_name)}" if label_name and labels else ""
    what = f"{count:,} embedding{'s' if count > 1 else ''} of {dim} dimension{'s' if dim > 1 else ''}"
    headline(figure, f"{what}{coloured}")
    size = float(np.clip(6000 / count, 9, 60))
    if labels and kinds:
        _draw_kinds(axes, points, [_text(label) for label in labels], kinds, size, label_name)
    elif labels and _numbers(labels) is not None:
        dots = axes.scatter(points[:, 0], points[:, 1], c=_numbers(labels), cmap="viridis", s=size, **_edge(size))
        bar = figure.colorbar(dots, ax=axes, shrink=0.8)
        bar.set_label(plain(label_name or ""), fontsize=NORMAL, color=INK)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, colors=GREY, length=0)
    else:
        axes.scatter(points[:, 0], points[:, 1], color=BLUE, s=size, **_edge(size))
    if names is not None and count <= MAX_NAMES:
        with any_script():
            _annotate(figure, axes, points, [plain(name) for name in names])
    save(figure, path)


def principal_components(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components, float64 (sequences, 2), and each one's share of the variance (2).

    The sign is such that the largest loading is positive, so that equal embeddings give equal pictures.
    """
    centred = np.asarray(embeddings, dtype=np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    components = np.zeros((len(embeddings), 2))
    shares = np.zeros(2)
    variances = strengths**2
    for place, direction in enumerate(directions[:2]):
        sign = np.sign(direction[np.argmax(np.abs(direction))]) or 1.0
        components[:, place] = centred @ direction * sign
        shares[place] = variances[place] / variances.sum() if variances.sum() else 0.0
    return components, shares


def _check(embeddings: NDArray[np.float32], labels: Sequence[object] | None, names: Sequence[object] | None) -> None:
    if embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(f"plot_embeddings needs an array (sequences, embedding_dim), got shape {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("plot_embeddings needs finite embeddings; leave out sequences without one")
    for what, given in (("labels", labels), ("names", names)):
        if given is not None and len(given) != len(embeddings):
            raise ValueError(f"plot_embeddings got {len(given)} {what} for {len(embeddings)} embeddings")


def _place(axes: Axes, embeddings: NDArray[np.float32], kinds: list[int] | None) -> NDArray[np.float64]:
    """Return where each point goes, float64 (sequences, 2), and name the axes."""
    count, dim = embeddings.shape
    if dim == 1:
        tidy(axes, x="the embedding's one dimension")
        axes.set_yticks([])
        # Height says nothing but the kind: a band each, and a little spread so that equal points stay visible.
        spread = np.random.Generator(np.random.PCG64(0)).uniform(-0.3, 0.3, size=count)
        return np.column_stack([embeddings[:, 0].astype(np.float64), (-np.array(kinds) if kinds else 0) + spread])
    if dim == 2:
        tidy(axes, x="dimension 1", y="dimension 2")
        points = embeddings.astype(np.float64)
    else:
        points, shares = principal_components(embeddings)
        texts = [f"principal component {place + 1} ({share:.0%} of the variance)" for place, share in enumerate(shares)]
        tidy(axes, x=texts[0], y=texts[1])
    axes.set_aspect("equal", adjustable="datalim")
    return points


def _text(label: object) -> str:
    return NO_LABEL if label is None else str(label)


def _numbers(labels: Sequence[object]) -> NDArray[np.float64] | None:
    """Return the labels as float64 (sequences), NaN for None; None where one of them is no number."""
    try:
        return np.array([np.nan if label is None else float(str(label)) for label in labels])
    except ValueError:
        return None


def _kinds(labels: Sequence[object] | None) -> list[str]:
    """Return the distinct labels in order, numbers by value; empty where there are none or too many."""
    distinct = sorted({_text(label) for label in labels or ()})
    if len(distinct) > MAX_LABELS:
        return []
    numbers = _numbers([None if label == NO_LABEL else label for label in distinct])
    return distinct if numbers is None else [distinct[place] for place in np.argsort(numbers, kind="stable")]


def _edge(size: float) -> dict[str, Any]:
    """Return a white rim that keeps points apart, for points large enough to bear one."""
    return {"edgecolors": "white", "linewidths": 0.5} if size > 20 else {"linewidths": 0}


def _draw_kinds(
    axes: Axes, points: NDArray[np.float64], labels: list[str], kinds: list[str], size: float, label_name: str | None
) -> None:
    looks = product(MARKERS, COLOURS)
    handles = []
    for kind, (marker, colour) in zip(kinds, looks, strict=False):
        own = points[[label == kind for label in labels]]
        colour = GREY if kind == NO_LABEL else colour
        handles.append(axes.scatter(own[:, 0], own[:, 1], marker=marker, color=colour, s=size, **_edge(size)))
    legend = axes.legend(
        handles,
        [plain(kind) for kind in kinds],
        title=plain(label_name or ""),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=NORMAL,
        title_fontsize=NORMAL,
        alignment="left",
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([45])


def _annotate(figure: Figure, axes: Axes, points: NDArray[np.float64], names: list[str]) -> None:
    """Write each name beside its point, at the nearest place that no other name has taken."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("names need a canvas that measures text")
    axes.margins(0.12)
    canvas.draw()  # settles the layout, so that places in pixels are final
    figure.set_layout_engine("none")
    frame = axes.get_window_extent()
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(points)]
    for point, name in zip(points, names, strict=True):
        text = axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=SMALL,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )
        for x, y in _offsets():
            text.set_position((x, y))
            text.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            text.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")
            text.update_positions(canvas.get_renderer())
            box = Text.get_window_extent(text, canvas.get_renderer())  # of the name, without its line
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _offsets() -> Iterator[tuple[float, float]]:
    """Yield places around a point, in points, the near ones first."""
    for radius in (6.0, 16.0, 28.0, 42.0, 58.0):
        yield from ((radius * x, radius * y) for x, y in product((1, -1, 0), (0.7, -0.7, 0)) if x or y)
