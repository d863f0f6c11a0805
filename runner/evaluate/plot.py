"""Plot the accuracy of embeddings and controls by classifier."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from seqembed.data.display.pictures import (
    AMBER,
    BLUE,
    INK,
    LIGHT_GREY,
    MIDDLE_GREY,
    NORMAL,
    PALE_BLUE,
    PURPLE,
    SMALL,
    headline,
    new_figure,
    plain,
    save,
    style_axes,
)
from seqembed.runner.evaluate.bag import BAG
from seqembed.runner.evaluate.minirocket import MINIROCKET
from seqembed.runner.evaluate.report import METRICS, TRAINED, UNTRAINED, Evaluation, Metric, Row

_COLOURS = {
    TRAINED: BLUE,
    UNTRAINED: AMBER,
    "raw values": MIDDLE_GREY,
    "mean and spread": LIGHT_GREY,
    MINIROCKET: PURPLE,
    BAG: PALE_BLUE,
}
WIDTH, HEIGHT = 10.0, 4.6  # inches
_GROUP = 0.84  # width of a group of bars, as a share of the distance between groups
_MAX_LABEL_CHARACTERS = 40
_BACKGROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # hides grid lines behind numbers


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw bars with their values, with error bars over the untrained seeds, and save them as PNG.

    Raises:
        OutputError: `path` cannot be written.
    """
    figure = new_figure(WIDTH, HEIGHT)
    accuracy, clusters = figure.subplots(1, 2, width_ratios=[3, 1.15])
    rows = [row for row in evaluation.rows if row.scores]
    _bars(accuracy, rows, ("svm", "logistic", "nearest"), 100)
    _bars(clusters, rows, ("clusters",), 1)
    _format_axes(accuracy, f"accuracy on {evaluation.test.used:,} test rows, %", (0, 112), np.arange(0, 101, 20))
    lowest = min((value for row in rows for value in row.values("clusters")), default=0.0)
    _format_axes(clusters, "adjusted Rand index", (min(0.0, lowest * 1.3), 1.12), np.arange(0, 1.01, 0.2))
    _chance(accuracy, evaluation)
    what = plain(evaluation.label, _MAX_LABEL_CHARACTERS)
    headline(figure, f"Accuracy of the embeddings for {what}: {evaluation.train.classes} classes")
    handles, labels = accuracy.get_legend_handles_labels()
    spacing = {"columnspacing": 1.3, "handlelength": 1.4, "handletextpad": 0.5}
    figure.legend(
        handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, fontsize=SMALL, **spacing
    )
    save(figure, path)


def _bars(axes: Axes, rows: list[Row], metrics: tuple[Metric, ...], factor: int) -> None:
    width = _GROUP / len(rows)
    for index, row in enumerate(rows):
        middles = np.arange(len(metrics)) - _GROUP / 2 + width * (index + 0.5)
        means = np.array([np.nan if (mean := row.mean(metric)) is None else mean * factor for metric in metrics])
        axes.bar(middles, np.nan_to_num(means), width * 0.92, color=_COLOURS[row.name], label=_name(row))
        errors = np.array([(row.standard_error(metric) or 0.0) * factor for metric in metrics])
        if errors.any():
            axes.errorbar(middles, means, errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=3)
        for middle, mean, error in zip(middles, means, errors, strict=True):
            text = "–" if np.isnan(mean) else f"{mean:z.1f}" if factor > 1 else f"{mean:z.2f}"
            top = max(0.0, np.nan_to_num(mean)) + error + 0.012 * factor
            axes.text(middle, top, text, ha="center", va="bottom", fontsize=SMALL, color=INK, bbox=_BACKGROUND)
    axes.set_xticks(
        np.arange(len(metrics)), ["k-means" if metric == "clusters" else METRICS[metric] for metric in metrics]
    )


def _format_axes(axes: Axes, title: str, limits: tuple[float, float], ticks: np.ndarray) -> None:
    style_axes(axes, title=title, bars=True)
    axes.set_ylim(*limits)
    axes.set_yticks(ticks)
    axes.tick_params(axis="x", labelsize=NORMAL, colors=INK)


def _chance(axes: Axes, evaluation: Evaluation) -> None:
    level = max(evaluation.chance, evaluation.majority) * 100
    what = "chance" if evaluation.chance >= evaluation.majority else "always the most frequent class"
    axes.axhline(level, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label=f"{what}: {level:.1f} %")


def _name(row: Row) -> str:
    return f"{row.name} (mean ± s.e. of {len(row.scores)})" if len(row.scores) > 1 else row.name
