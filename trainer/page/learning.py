"""The losses: what fell, how far, and beside what a model that learned nothing would score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Rule, Shape, curve, dots
from seqembed.data.pages.numbers import number, percent
from seqembed.data.pages.scales import Scale, linear, logarithmic
from seqembed.data.plurals import counted
from seqembed.trainer.page.material import Material

_WIDE = 20.0  # ratio of the largest to the smallest loss from which the scale is logarithmic
_NARROW = 2.0  # ratio below which the scale does not begin at 0
_MAX_TERMS = 12


def loss_charts(material: Material) -> list[Chart]:
    """Return a chart of the loss, and one for each of its terms; nothing for an untrained model."""
    records = material.history["epochs"]
    if not records:
        return []
    names = [name for name in records[0] if _is_term(name)]
    several = len([name for name in names if name.endswith("_loss")]) > 1
    terms = names[:_MAX_TERMS] if several or any(name.endswith("accuracy") for name in names) else []
    return [_chart(material, name) for name in ("loss", *terms)]


def _is_term(name: str) -> bool:
    return not name.startswith("val_") and name.endswith(("_loss", "_accuracy")) and name != "contrast_loss"


def baseline(material: Material, name: str) -> float | None:
    """Return what a model that learned nothing scores; None where the loss has no such value."""
    history = material.history
    if name == "contrast_accuracy":
        return float(history["contrast_chance"])
    value = history["baseline"].get(name)
    return None if value is None else float(value)


def kept(material: Material, name: str) -> float | None:
    """Return the value of the kept weights, on held-out sequences if there are any."""
    history = material.history
    prefix = history["monitored"].removesuffix("loss")
    value = history["best"].get(f"{prefix}{name}")
    return None if value is None else float(value)


def spoken(name: str) -> str:
    """Return a term of the loss in words: ``accuracy of category``."""
    what, _, kind = name.rpartition("_")
    head, _, output = what.partition(".")
    if name == "contrast_accuracy":
        return "share of views distinguished"
    if not what:
        return kind
    return f"{kind} of {output}" if output else f"{head} {kind}"


def _chart(material: Material, name: str) -> Chart:
    history, records = material.history, material.history["epochs"]
    training = np.array([record.get(name, np.nan) for record in records], dtype=np.float64)
    held_out = np.array([record.get(f"val_{name}", np.nan) for record in records], dtype=np.float64)
    steps = np.array([record["step"] for record in records], dtype=np.float64)
    trivial, is_share = baseline(material, name), name.endswith("accuracy")
    shown = np.concatenate([training, held_out, [np.nan if trivial is None else trivial]])
    x, y = linear([0, *steps], whole=True, num_ticks=5), _scale(shown, is_share)
    shapes = [Shape(curve(steps, training, x, y), "line c5", "training")]
    if not np.isnan(held_out).all():
        shapes.append(Shape(curve(steps, held_out, x, y), "line c2", "held out"))
    shapes += _kept(material, name, steps, held_out if len(shapes) > 1 else training, x, y)
    rules = () if trivial is None else (Rule(float(y.at(trivial)), _trivial_name(name)),)
    title = _title(name, kept(material, name), trivial, counted(history["num_steps"], "batch", "batches"))
    last = [
        f"{shape.name} {_text(values[-1], is_share)}"
        for shape, values in zip(shapes, _pair(training, held_out), strict=False)
    ]
    return Chart(
        title=title,
        description=f"Over the batches of the training: {spoken(name)}; at the end: {', '.join(last)}.",
        shapes=tuple(shapes),
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        x_name="batches",
        y_name=spoken(name) + (" (logarithmic)" if y.log else ""),
        rules=rules,
        size="tall" if name == "loss" else "low",
    )


def _pair(training: NDArray[np.float64], held_out: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    return training, held_out


def _scale(values: NDArray[np.float64], is_share: bool) -> Scale:
    if is_share:
        return linear([0, float(np.nanmax(values))], share=True, zero=True, widened=True)
    low, high = np.nanmin(values), np.nanmax(values)
    return (
        logarithmic(values)
        if low > 0 and high / low > _WIDE
        else linear(values, zero=bool(high > _NARROW * low >= 0), widened=True)
    )


def _kept(
    material: Material,
    name: str,
    steps: NDArray[np.float64],
    monitored: NDArray[np.float64],
    x: Scale,
    y: Scale,
) -> list[Shape]:
    index = material.history["best_epoch"] - 1
    if index < 0 or np.isnan(monitored[index]):
        return []
    return [Shape(dots(steps[[index]], monitored[[index]], x, y), "dots ring c7", "weights kept")]


def _title(name: str, value: float | None, trivial: float | None, trained: str) -> str:
    is_share = name.endswith("accuracy")
    now, text = _text(value, is_share), spoken(name)
    if trivial is None:
        return f"After {trained} the {text} is {now}"
    return f"After {trained} the {text} is {now}; {_trivial_name(name)} scores {_text(trivial, is_share)}"


def _trivial_name(name: str) -> str:
    if name == "contrast_accuracy":
        return "chance"
    if name.endswith("accuracy"):
        return "the most frequent value"
    if name in ("reconstruction_loss", "prediction_loss") or name.endswith(".numbers_loss"):
        return "always predicting the mean"
    return "a model that learned nothing"


def _text(value: float | None, is_share: bool) -> str:
    return percent(value) if is_share else number(value)
