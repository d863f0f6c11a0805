"""Draw a map of embeddings: two dimensions as they are, one as a strip, more by principal components."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqembed.data.display.pictures import (
    BLUE,
    COLOURS,
    FAMILIES,
    GREY,
    INK,
    MARKERS,
    NORMAL,
    SMALL,
    headline,
    new_figure,
    plain,
    save,
    style_axes,
)
from seqembed.data.plurals import counted
from seqembed.trainer.plots.plot_names import MAX_NAMES, name_points

MAX_ASPECT = 20.0  # of the wider span of a map to the narrower, up to which both axes have one scale
MAX_LABELS = 20  # more cannot be distinguished by colour and shape
MANY_NAMES = 30  # more need a larger picture
NO_LABEL = "no label"


def plot_embeddings(
    embeddings: NDArray[np.float32],
    path: Path | str,
    labels: Sequence[object] | None = None,
    names: Sequence[object] | None = None,
    label_name: str | None = None,
) -> None:
    """Draw one point per sequence.

    Two dimensions are drawn as they are, one as a strip, more by principal components.

    Args:
        embeddings: float32 (sequences, embedding_dim), finite.
        path: PNG file.
        labels: One per sequence, None where there is none. Up to `MAX_LABELS` distinct labels get a colour and shape
            each; more get a colour scale if they are numbers.
        names: One per sequence; shown where readable, else labels or names describe clusters of points.
        label_name: Title of the legend.

    Raises:
        ValueError: There is no embedding, one is not finite, or the number of labels or names differs.
        OutputError: The picture cannot be written.
    """
    figure = draw_embeddings(embeddings, labels, names, label_name)
    save(figure, path)


def draw_embeddings(
    embeddings: NDArray[np.float32],
    labels: Sequence[object] | None = None,
    names: Sequence[object] | None = None,
    label_name: str | None = None,
) -> Figure:
    """Return the picture that `plot_embeddings` writes."""
    _check(embeddings, labels, names)
    count, dim = embeddings.shape
    crowded = names is not None and MANY_NAMES < count <= MAX_NAMES
    figure = new_figure(12, 8.5) if crowded else new_figure(9, 6.4)
    axes = figure.subplots()
    kinds = _kinds(labels)
    points = _project(axes, embeddings, [kinds.index(_text(label)) for label in labels] if labels and kinds else None)
    what = f"{counted(count, 'embedding')} of {counted(dim, 'dimension')}"
    size = float(np.clip(2000 / count, 20, 50) if count <= MAX_NAMES else np.clip(5000 / count, 9, 36))
    coloured = f", coloured by {plain(label_name)}" if label_name and labels else ""
    if labels and kinds:
        _draw_kinds(axes, points, [_text(label) for label in labels], kinds, size, label_name)
    elif labels and (numbers := _numbers(labels)) is not None:
        _draw_numbers(figure, axes, points, numbers, size, label_name)
    else:
        axes.scatter(points[:, 0], points[:, 1], color=BLUE, s=size, **_edge(size))
        coloured = f", of too many kinds of {plain(label_name)} to colour" if coloured else ""
    equal = ", all equal" if count > 1 and (embeddings == embeddings[0]).all() else ""
    headline(figure, f"{what}{equal}{coloured}")
    if names is not None:
        named = name_points(figure, axes, points, names, labels, diameter=float(np.sqrt(size)))
        if count <= MAX_NAMES and named < count:
            axes.set_title(f"room for {named} of {count} names", fontsize=SMALL, color=GREY, loc="right")
    return figure


def principal_components(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components, float64 (sequences, 2), and their shares of the variance (2).

    The largest loading is positive, so that equal embeddings give equal pictures. scikit-learn's PCA does the same in
    no fewer lines, sign and shares included, and training would have to install it and scipy for this alone.
    """
    centred = np.asarray(embeddings, dtype=np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    variances, directions = _principal_directions(centred)
    components = np.zeros((len(embeddings), 2))
    shares = np.zeros(2)
    for index, direction in enumerate(directions[:2]):
        sign = np.sign(direction[np.argmax(np.abs(direction))]) or 1.0
        components[:, index] = centred @ direction * sign
        shares[index] = variances[index] / variances.sum() if variances.sum() else 0.0
    return components, shares


def _principal_directions(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances in falling order and their directions, one per row, by the smaller of the two Gram matrices.

    Of 1,000 embeddings of 441 numbers a singular value decomposition takes five times as long.
    """
    count, dim = centred.shape
    variances, vectors = np.linalg.eigh(centred.T @ centred if dim <= count else centred @ centred.T)
    directions = vectors.T if dim <= count else vectors.T @ centred
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    unit = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
    return np.maximum(variances[::-1], 0.0), unit[::-1]


def _check(embeddings: NDArray[np.float32], labels: Sequence[object] | None, names: Sequence[object] | None) -> None:
    if embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(f"plot_embeddings needs an array (sequences, embedding_dim), got shape {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("plot_embeddings needs finite embeddings; leave out sequences without one")
    for what, given in (("labels", labels), ("names", names)):
        if given is not None and len(given) != len(embeddings):
            raise ValueError(f"plot_embeddings got {len(given)} {what} for {len(embeddings)} embeddings")


def _project(axes: Axes, embeddings: NDArray[np.float32], kinds: list[int] | None) -> NDArray[np.float64]:
    """Return the position of each point, float64 (sequences, 2), and label the axes."""
    count, dim = embeddings.shape
    if dim == 1:
        style_axes(axes, x="embedding dimension 1")
        axes.set_yticks([])
        # The height shows only the kind: one band per kind, with a little jitter so that equal points stay visible.
        spread = np.random.Generator(np.random.PCG64(0)).uniform(-0.3, 0.3, size=count)
        return np.column_stack([embeddings[:, 0].astype(np.float64), (-np.array(kinds) if kinds else 0) + spread])
    if dim == 2:
        style_axes(axes, x="embedding dimension 1", y="embedding dimension 2")
        points = embeddings.astype(np.float64)
    else:
        points, shares = principal_components(embeddings)
        texts = [f"principal component {index + 1} ({share:.0%} of the variance)" for index, share in enumerate(shares)]
        style_axes(axes, x=texts[0], y=texts[1])
    spans = np.ptp(points, axis=0)
    if spans.max() <= MAX_ASPECT * spans.min():  # else the points would lie on a line
        axes.set_aspect("equal", adjustable="datalim")
    return points


def _text(label: object) -> str:
    return NO_LABEL if label is None else str(label)


def _numbers(labels: Sequence[object]) -> NDArray[np.float64] | None:
    """Return the labels as float64 (sequences), NaN for None; None if one of them is not a number."""
    try:
        return np.array([np.nan if label is None else float(str(label)) for label in labels])
    except ValueError:
        return None


def _kinds(labels: Sequence[object] | None) -> list[str]:
    """Return the distinct labels in order, numbers by value; empty if there are none or too many."""
    distinct = sorted({_text(label) for label in labels or ()})
    if len(distinct) > MAX_LABELS:
        return []
    numbers = _numbers([None if label == NO_LABEL else label for label in distinct])
    return distinct if numbers is None else [distinct[index] for index in np.argsort(numbers, kind="stable")]


def _edge(size: float) -> dict[str, Any]:
    """Return a white edge that separates points, for points that are large enough."""
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
    _legend(axes, handles, [plain(kind) for kind in kinds], label_name)


def _draw_numbers(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    numbers: NDArray[np.float64],
    size: float,
    label_name: str | None,
) -> None:
    known = np.isfinite(numbers)
    if not known.all():
        # A colour scale does not draw points without a number.
        rest = axes.scatter(points[~known, 0], points[~known, 1], color=GREY, marker="^", s=size, **_edge(size))
        _legend(axes, [rest], [NO_LABEL], None, anchor=(1.01, 0.0), loc="lower left")
    dots = axes.scatter(points[known, 0], points[known, 1], c=numbers[known], cmap="viridis", s=size, **_edge(size))
    bar = figure.colorbar(dots, ax=axes, shrink=0.8)
    bar.set_label(plain(label_name or ""), fontsize=NORMAL, fontfamily=FAMILIES, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, colors=GREY, length=0)


def _legend(
    axes: Axes,
    handles: list[PathCollection],
    texts: list[str],
    title: str | None,
    anchor: tuple[float, float] = (1.01, 0.5),
    loc: str = "center left",
) -> None:
    legend = axes.legend(
        handles,
        [f" {text}" if text.startswith("_") else text for text in texts],  # else matplotlib leaves the entry out
        title=plain(title or ""),
        loc=loc,
        bbox_to_anchor=anchor,
        frameon=False,
        prop={"family": FAMILIES, "size": NORMAL},
        title_fontproperties={"family": FAMILIES, "size": NORMAL},
        alignment="left",
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([45])
