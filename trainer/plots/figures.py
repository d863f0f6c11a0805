"""Draw the pictures of a training: its losses, reconstructions, embeddings and model."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from seqembed.data.display.pictures import (
    FAMILIES,
    GREY,
    INK,
    NORMAL,
    ORANGE,
    PALE_BLUE,
    headline,
    new_figure,
    plain,
    save,
    style_axes,
)
from seqembed.trainer.plots.model_picture import plot_model
from seqembed.trainer.plots.plot_embeddings import plot_embeddings

__all__ = ["plot_embeddings", "plot_losses", "plot_model", "plot_reconstructions"]

Record = Mapping[str, float | None]

WIDE_RANGE = 20.0  # ratio of largest to smallest loss from which a logarithmic scale is used
MAX_SEQUENCES = MAX_FEATURES = 4
MAX_NAMED = 8  # categories of a field with a row of their own
MAX_CATEGORY = 14  # characters of their names
MAX_TITLE = 36  # characters per line above a panel
MAX_MARKED = 40  # records; curves of more records have no markers
# One curve is wide and pale, the other narrow and dashed on top: both stay visible where they agree.
BELOW: dict[str, Any] = {"color": PALE_BLUE, "linewidth": 3.6, "solid_capstyle": "butt"}
ABOVE: dict[str, Any] = {"color": ORANGE, "linewidth": 1.5}
DASHED = (0, (4, 2.5))


def plot_losses(
    history: Sequence[Record],
    path: Path | str,
    baseline: float | None = None,
    measured_in: str = "epochs",
    kept_epoch: int | None = None,
) -> None:
    """Draw loss (and binary accuracy, if there is one) over the training, with the record of the kept weights marked.

    Args:
        history: One mapping per record: ``epoch``, ``loss``, ``val_loss``, optionally ``step`` (batches so far),
            ``binary_accuracy`` and ``val_binary_accuracy``; None or NaN where there is no value.
        path: PNG file.
        baseline: Loss of always predicting the mean, which a model must beat; None draws no line.
        measured_in: ``epochs``, or ``steps`` if the training's length is given in batches. Several records of one
            epoch are always drawn over batches.
        kept_epoch: Number of the record whose weights are kept, from 1; None is the one with the lowest loss.

    Raises:
        ValueError: `history` is empty.
        OutputError: The picture cannot be written.
    """
    save(draw_losses(history, baseline, measured_in, kept_epoch), path)


def draw_losses(
    history: Sequence[Record],
    baseline: float | None = None,
    measured_in: str = "epochs",
    kept_epoch: int | None = None,
) -> Figure:
    """Return the picture that `plot_losses` writes."""
    if not history:
        raise ValueError("plot_losses needs at least one record")
    has_accuracy = not np.isnan(_column(history, "binary_accuracy")).all()
    figure = new_figure(8.5, 6.9 if has_accuracy else 4.7)
    panels = figure.subplots(2 if has_accuracy else 1, 1, sharex=True, squeeze=False)[:, 0]
    x, unit = _progress(history, measured_in)
    criterion = "val_loss" if not np.isnan(_column(history, "val_loss")).all() else "loss"
    values = _column(history, criterion)
    lowest = int(np.nanargmin(values)) if not np.isnan(values).all() else len(history) - 1
    best = kept_epoch - 1 if kept_epoch else lowest
    what = "lowest" if best == lowest else "final"
    when = f"{unit} {x[best]:,.0f} of {x[-1]:,.0f}"
    kind = "validation" if criterion == "val_loss" else "training"
    headline(figure, f"Training: {what} {kind} loss {values[best]:.4g} after {when}")
    if baseline is not None and math.isfinite(baseline):
        text = f"predicting the mean: {baseline:.4g}"
        panels[0].axhline(baseline, color=INK, linewidth=1.1, linestyle="-.", label=text)
    _curves(panels[0], x, history, "loss", best)
    if has_accuracy:
        _curves(panels[1], x, history, "binary_accuracy", best)
    panels[-1].set_xlabel("batches" if unit == "batch" else "epoch", fontsize=NORMAL, color=INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=NORMAL, handlelength=3)
    return figure


def plot_reconstructions(
    originals: Sequence[NDArray[np.float32]],
    reconstructions: Sequence[NDArray[np.float32]],
    feature_names: Sequence[str],
    path: Path | str,
    titles: Sequence[str],
    categories: Mapping[int, Mapping[int, str]] | None = None,
) -> None:
    """Draw sequences and their reconstructions.

    With several features each feature gets a row and each sequence a column; a single feature gets two large panels
    per row.

    Args:
        originals: Each float32 (time, features), raw units; NaN is a missing value and leaves a gap. At most the first
            four sequences and features are shown.
        reconstructions: In the same order, each float32 (time, features), raw units.
        feature_names: As many as there are features.
        path: PNG file.
        titles: One per sequence; may have several lines.
        categories: Index of a feature that holds ids → id → name. Each id has a row of its own with its name, the most
            frequent ids up to `MAX_NAMED`, without connecting lines.

    Raises:
        ValueError: There is no sequence, or the numbers of sequences, reconstructions and titles differ.
        OutputError: The picture cannot be written.
    """
    save(draw_reconstructions(originals, reconstructions, feature_names, titles, categories), path)


def draw_reconstructions(
    originals: Sequence[NDArray[np.float32]],
    reconstructions: Sequence[NDArray[np.float32]],
    feature_names: Sequence[str],
    titles: Sequence[str],
    categories: Mapping[int, Mapping[int, str]] | None = None,
) -> Figure:
    """Return the picture that `plot_reconstructions` writes."""
    if not originals or not len(originals) == len(reconstructions) == len(titles):
        raise ValueError(
            f"plot_reconstructions needs sequences, reconstructions and titles in equal number, one at least; "
            f"got {len(originals)}, {len(reconstructions)} and {len(titles)}"
        )
    shown, features = min(len(originals), MAX_SEQUENCES), min(len(feature_names), MAX_FEATURES)
    figure, grid = _panels(shown, features)
    rows = {
        feature: _rows_of_ids([*originals[:shown], *reconstructions[:shown]], feature, names)
        for feature, names in (categories or {}).items()
        if feature < features
    }
    for feature, sequence in np.ndindex(features, shown):
        axes = grid[feature, sequence]
        title = "\n".join(plain(line, MAX_TITLE) for line in titles[sequence].splitlines())
        style_axes(axes, title=title if feature == 0 else "")
        pair = originals[sequence][:, feature], reconstructions[sequence][:, feature]
        if feature in rows:
            rows[feature].name(axes)
            pair = rows[feature].of(pair[0]), rows[feature].of(pair[1])
        _steps(axes, *pair, joined=feature not in rows)
        if feature == features - 1:
            axes.set_xlabel("step", fontsize=NORMAL, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(plain(feature_names[feature]), fontsize=NORMAL, fontfamily=FAMILIES, color=INK)
    cut = f", first {features} of {len(feature_names)} features" if features < len(feature_names) else ""
    headline(figure, f"Sequences and their reconstructions{cut}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=NORMAL, handlelength=3)
    return figure


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of the ids of a field, from the top.

    Attributes:
        ids: Ids with a row of their own; all others share a last one.
        names: Names of the rows.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]

    def of(self, steps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the row of each id, float32 (time), NaN where it is missing."""
        row = {each: index for index, each in enumerate(self.ids)}
        return np.array([np.nan if np.isnan(x) else row.get(int(x), len(self.ids)) for x in steps], dtype=np.float32)

    def name(self, axes: Axes) -> None:
        """Write the names of the rows at the side of a panel."""
        axes.set_yticks(range(len(self.names)), [plain(name, MAX_CATEGORY) for name in self.names])
        axes.set_ylim(len(self.names) - 0.5, -0.5)


def _rows_of_ids(sequences: Sequence[NDArray[np.float32]], feature: int, names: Mapping[int, str]) -> _Rows:
    """Return rows for the most frequent ids of some sequences; ids are in the order of their frequency in training."""
    steps = np.concatenate([sequence[:, feature] for sequence in sequences])
    counts = Counter(steps[~np.isnan(steps)].astype(int).tolist())
    ids = sorted(each for each, _ in counts.most_common(MAX_NAMED))
    shown = tuple(names.get(each, str(each)) for each in ids)
    return _Rows(tuple(ids), shown if len(counts) <= MAX_NAMED else (*shown, "others"))


def _panels(num_sequences: int, num_features: int) -> tuple[Figure, Any]:
    """Return a figure and its panels, (features, sequences)."""
    if num_features > 1:
        figure = new_figure(max(5.5, 3.2 * num_sequences + 0.6), 1.7 * num_features + 1.6)
        return figure, figure.subplots(num_features, num_sequences, sharex="col", sharey="row", squeeze=False)
    columns = min(num_sequences, 2)
    rows = math.ceil(num_sequences / columns)
    figure = new_figure(5.2 * columns + 0.6, 3.2 * rows + 1.0)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for unused in grid.flat[num_sequences:]:
        unused.remove()
    return figure, grid.flatten()[None, :num_sequences]


def _column(history: Sequence[Record], key: str) -> NDArray[np.float64]:
    """Return one value per record, float64 (records), NaN where there is none."""
    values = [row.get(key) for row in history]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _progress(history: Sequence[Record], measured_in: str) -> tuple[NDArray[np.float64], str]:
    """Return the position of each record, float64 (records), and its unit: ``epoch`` or ``batch``."""
    epochs, steps = _column(history, "epoch"), _column(history, "step")
    several_per_epoch = bool((np.diff(epochs) < 1).any())
    if (measured_in == "steps" or several_per_epoch) and not np.isnan(steps).any():
        return steps, "batch"
    return epochs, "epoch"


def _curves(axes: Axes, x: NDArray[np.float64], history: Sequence[Record], key: str, best: int) -> None:
    """Draw `key` of training and validation, and mark record `best`."""
    style_axes(axes, y=key.replace("_", " "))
    training, validation = _column(history, key), _column(history, f"val_{key}")
    marked = len(x) <= MAX_MARKED
    axes.plot(x, training, **BELOW, label="training", marker="o" if marked else "", markersize=7, markeredgewidth=0)
    shown = training
    if not np.isnan(validation).all():
        axes.plot(
            x, validation, **ABOVE, linestyle=DASHED, label="validation", marker="o" if marked else "", markersize=3
        )
        shown = validation
    axes.axvline(x[best], color=GREY, linewidth=1, linestyle=":", zorder=0.9)
    ring: dict[str, Any] = {"color": INK, "markersize": 11, "fillstyle": "none", "markeredgewidth": 1.5}
    axes.plot(x[best], shown[best], "o", **ring, label="weights kept")
    drawn = np.concatenate([line.get_ydata() for line in axes.get_lines() if line.get_linestyle() != ":"])
    finite = drawn[np.isfinite(drawn)]
    if finite.size and finite.min() > 0 and finite.max() / finite.min() > WIDE_RANGE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel(f"{key.replace('_', ' ')} (log scale)", fontsize=NORMAL, color=INK)


def _steps(axes: Axes, original: NDArray[np.float32], reconstruction: NDArray[np.float32], joined: bool) -> None:
    """Draw a feature of a sequence and its reconstruction, each float32 (time)."""
    steps = np.arange(1, len(original) + 1)
    few = len(steps) <= MAX_MARKED
    width, mark = (BELOW["linewidth"], 7.0) if few else (2.4, 3.6)
    below = {**BELOW, "linewidth": width, "linestyle": "-" if joined else ""}
    above = {**ABOVE, "linestyle": DASHED if joined else "", "marker": "o" if few or not joined else ""}
    axes.plot(steps, original, **below, marker="o", markersize=mark, markeredgewidth=0, label="original")
    axes.plot(steps, reconstruction, **above, markersize=mark / 2.5, markeredgewidth=0, label="reconstruction")
