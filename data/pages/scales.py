"""Scales of charts: from numbers to percent of a chart's width or height, with round numbers to label them by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqembed.data.pages.numbers import number, percent

_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position.

    Attributes:
        at: Percent of the chart's width from the left, or of its height from the bottom.
        text: The label.
    """

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic scale.

    Attributes:
        low, high: Its ends; `low` is the smaller one, and positive on a logarithmic scale.
        ticks: What to label.
        log: Whether it is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]
    log: bool = False

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return positions in percent, float64, of the shape of `values`; NaN stays."""
        return _positions(np.asarray(values, dtype=np.float64), self.low, self.high, self.log)


def linear(
    values: ArrayLike,
    *,
    num_ticks: int = 4,
    whole: bool = False,
    zero: bool = False,
    share: bool = False,
    widened: bool = False,
) -> Scale:
    """Return a linear scale from the least to the greatest finite value.

    Args:
        values: What is to be shown.
        num_ticks: About how many labels.
        whole: Label integers only.
        zero: Begin at 0.
        share: Label in percent.
        widened: End at labelled numbers.
    """
    low, high = ends(values)
    low = min(low, 0.0) if zero else low
    if low == high:
        low, high = (low, low + 1.0) if zero else (low - abs(low) * 0.1 - 0.5, high + abs(high) * 0.1 + 0.5)
    step = _step(low, high, num_ticks, whole)
    if widened:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    marked = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    label = percent if share else partial(_alike, step=step)
    return Scale(low, high, _ticks(marked, low, high, False, label))


def within(length: int) -> Scale:
    """Return the scale of the steps of one sequence, with its first and last one labelled."""
    if length < 2:
        return Scale(0.5, 1.5, (Tick(50.0, "1"),))
    return Scale(1.0, float(length), (Tick(0.0, "1"), Tick(100.0, f"{length:,}")))


def logarithmic(values: ArrayLike) -> Scale:
    """Return a logarithmic scale over positive values, labelled at 1, 2 and 5 of each power of ten, or at powers."""
    low, high = ends(np.where(np.asarray(values, np.float64) > 0, values, np.nan))
    low, high = (low, high) if low < high else (low / 2, low * 2)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        marked = [m * 10.0**e for e in exponents for m in multiples if low * 0.999 <= m * 10.0**e <= high * 1.001]
        if len(marked) <= 5:
            break
    marked = marked[:: -(-len(marked) // 5)] if len(marked) > 5 else marked
    return Scale(low, high, _ticks(marked, low, high, True, number), log=True)


def ends(values: ArrayLike) -> tuple[float, float]:
    """Return the least and greatest finite value; 0 and 1 without any."""
    array = np.asarray(values, dtype=np.float64).ravel()
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _alike(value: float, step: float) -> str:
    """Return a label with the decimals that all labels of an axis need."""
    if not 1e-4 <= step < 1e6:
        return number(value)
    decimals = next(n for n in range(9) if abs(round(step, n) - step) < step * 1e-6)
    return f"{value + 0.0:,.{decimals}f}".replace("-", "−")


def _step(low: float, high: float, num_ticks: int, whole: bool) -> float:
    rough = (high - low) / num_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(multiple * power for multiple in _ROUND if multiple * power >= rough * 0.999)
    return max(1.0, float(math.ceil(step))) if whole else step


def _ticks(marked: Iterable[float], low: float, high: float, log: bool, label: Any) -> tuple[Tick, ...]:
    numbers = list(marked)
    places = _positions(np.array(numbers), low, high, log)
    return tuple(Tick(round(float(at), 2), label(round(value, 12))) for at, value in zip(places, numbers, strict=True))


def _positions(values: NDArray[np.float64], low: float, high: float, log: bool) -> NDArray[np.float64]:
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
    return 100.0 * (values - low) / (high - low)
