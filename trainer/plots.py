"""The pictures of a training: how it went, what it rebuilds, where the sequences lie, and what the model is."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from seqembed.trainer.model_picture import plot_model
from seqembed.trainer.plot_embeddings import plot_embeddings
from seqembed.trainer.plot_style import BLUE, GREY, INK, NORMAL, ORANGE, SMALL, headline, new_figure, plain, save, tidy

__all__ = ["plot_embeddings", "plot_losses", "plot_model", "plot_reconstructions"]

Epoch = Mapping[str, float | None]

WIDE_RANGE = 20.0  # from this ratio of largest to smallest loss on, a linear scale hides the end
MAX_SEQUENCES = MAX_FEATURES = 4
MAX_TITLE = 38  # characters above a panel


def plot_losses(history: Sequence[Epoch], path: Path | str) -> None:
    """Draw loss (and binary accuracy, where there is one) over the epochs, with the best epoch marked.

    Args:
        history: One mapping an epoch: ``epoch``, ``loss``, ``val_loss``, perhaps ``binary_accuracy`` and
            ``val_binary_accuracy``; None or NaN where there is no value.
        path: PNG file.

    Raises:
        ValueError: `history` is empty.
        OutputError: The picture cannot be written.
    """
    if not history:
        raise ValueError("plot_losses needs at least one epoch")
    has_accuracy = any(not math.isnan(value) for value in _column(history, "binary_accuracy"))
    figure = new_figure(8.5, 6.6 if has_accuracy else 4.4)
    panels = figure.subplots(2 if has_accuracy else 1, 1, sharex=True, squeeze=False)[:, 0]
    criterion = "val_loss" if not np.isnan(_column(history, "val_loss")).all() else "loss"
    values = _column(history, criterion)
    best = int(np.nanargmin(values)) if not np.isnan(values).all() else len(history) - 1
    epoch = int(_column(history, "epoch")[best])
    headline(figure, f"Training: best epoch {epoch} of {len(history)}, {criterion} {values[best]:.4g}")
    _curves(panels[0], history, "loss", best)
    if has_accuracy:
        _curves(panels[1], history, "binary_accuracy", best)
    panels[-1].set_xlabel("epoch", fontsize=NORMAL, color=INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    panels[0].legend(frameon=False, fontsize=NORMAL)
    save(figure, path)


def plot_reconstructions(
    originals: Sequence[NDArray[np.float32]],
    reconstructions: Sequence[NDArray[np.float32]],
    feature_names: Sequence[str],
    path: Path | str,
    titles: Sequence[str],
    points: Sequence[bool] = (),
) -> None:
    """Draw sequences and what the decoder makes of their embeddings: a column a sequence, a row a feature.

    Args:
        originals: Each float32 (time, features), raw units; NaN is a missing value and leaves a gap. At most the first
            four sequences and features are shown.
        reconstructions: In the same order, each float32 (time, features), raw units.
        feature_names: As many as there are features.
        path: PNG file.
        titles: One for each sequence.
        points: One for each feature: whether it holds ids, between which no line is drawn; left out, none does.

    Raises:
        ValueError: There is no sequence, or the arguments differ in number.
        OutputError: The picture cannot be written.
    """
    if not originals or not len(originals) == len(reconstructions) == len(titles):
        raise ValueError(
            f"plot_reconstructions needs sequences, reconstructions and titles in equal number, one at least; "
            f"got {len(originals)}, {len(reconstructions)} and {len(titles)}"
        )
    columns, rows = min(len(originals), MAX_SEQUENCES), min(len(feature_names), MAX_FEATURES)
    figure = new_figure(max(5.5, 3.2 * columns + 0.6), max(3.4, 1.7 * rows + 1.3))
    grid = figure.subplots(rows, columns, sharex="col", sharey="row", squeeze=False)
    for column in range(columns):
        for row in range(rows):
            axes = grid[row, column]
            tidy(axes, title=plain(titles[column], MAX_TITLE) if row == 0 else "")
            solid, dashed = ("", "") if row < len(points) and points[row] else ("-", "--")
            _steps(axes, originals[column][:, row], BLUE, solid, "original")
            _steps(axes, reconstructions[column][:, row], ORANGE, dashed, "reconstruction")
        grid[-1, column].set_xlabel("step", fontsize=NORMAL, color=INK)
        grid[-1, column].xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    for row in range(rows):
        grid[row, 0].set_ylabel(plain(feature_names[row]), fontsize=NORMAL, color=INK)
    shown = f", first {rows} of {len(feature_names)} features" if rows < len(feature_names) else ""
    headline(figure, f"Sequences and their reconstructions{shown}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=NORMAL)
    save(figure, path)


def _column(history: Sequence[Epoch], key: str) -> NDArray[np.float64]:
    """Return one value an epoch, float64 (epochs), NaN where there is none."""
    values = [row.get(key) for row in history]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _curves(axes: Axes, history: Sequence[Epoch], key: str, best: int) -> None:
    """Draw `key` of training and validation, and mark the epoch at place `best`."""
    tidy(axes, y=key.replace("_", " "))
    epochs = _column(history, "epoch")
    shown = []
    for name, colour, label in ((key, BLUE, "training"), (f"val_{key}", ORANGE, "validation")):
        values = _column(history, name)
        if np.isnan(values).all():
            continue
        shown.append(values)
        axes.plot(epochs, values, color=colour, linewidth=1.8, label=label, marker="o" if len(epochs) < 3 else None)
    if not shown:
        return
    axes.axvline(epochs[best], color=GREY, linewidth=1, linestyle=":")
    axes.plot(epochs[best], shown[-1][best], "o", color=INK, markersize=7, fillstyle="none", markeredgewidth=1.6)
    axes.annotate(
        f"{shown[-1][best]:.4g}",
        (epochs[best], shown[-1][best]),
        xytext=(-8, 9 if key == "loss" else -15),  # on the side away from the training curve
        textcoords="offset points",
        ha="right",
        fontsize=SMALL,
        color=INK,
    )
    finite = np.concatenate(shown)
    finite = finite[np.isfinite(finite)]
    if finite.size and finite.min() > 0 and finite.max() / finite.min() > WIDE_RANGE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel(f"{key.replace('_', ' ')} (log scale)", fontsize=NORMAL, color=INK)


def _steps(axes: Axes, values: NDArray[np.float32], colour: str, style: str, label: str) -> None:
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, linestyle=style, color=colour, linewidth=1.6, marker="o", markersize=2.6, label=label)
