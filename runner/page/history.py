"""The last runs as charts: rows, speed, and how far the farthest measure of drift moved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.charts import Chart, Rule, Shape, bars, curve, dots
from seqembed.data.pages.numbers import number
from seqembed.data.pages.scales import Scale, Tick, linear
from seqembed.data.plurals import counted
from seqembed.runner.page.drift import drift_in

_MAX_MOVED = 10.0  # thresholds; what is stuck has moved infinitely far
Record = Mapping[str, Any]


def history_charts(records: Sequence[Record]) -> list[Chart]:
    """Return charts of at least two runs, oldest first; nothing of fewer.

    Args:
        records: Of `seqembed.runner.output.history.read_history`, the newest last.
    """
    if len(records) < 2:
        return []
    found = [_rows(records), _speed(records), _drift(records)]
    return [chart for chart in found if chart is not None]


def day(time: str) -> str:
    """Return date and minute of a time in ISO 8601: ``2026-11-27 03:12``."""
    return time[:16].replace("T", " ")


def _rows(records: Sequence[Record]) -> Chart:
    rows = _numbers(records, lambda record: record["rows_in"])
    x, y = _runs(records), linear([0, *rows], zero=True, widened=True, num_ticks=3)
    return Chart(
        title=f"The run covers {number(rows[-1])} rows; {counted(len(rows) - 1, 'run')} before it had "
        f"{number(rows[:-1].min())} to {number(rows[:-1].max())}",
        description=f"Rows of all parts after each of the last {counted(len(rows), 'run')}, oldest first.",
        shapes=(Shape(bars(np.arange(len(rows) + 1), rows, y, x), "bar c1"),),
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        y_name="rows",
    )


def _speed(records: Sequence[Record]) -> Chart | None:
    speed = _numbers(records, lambda record: record["rows_per_second"] if record["rows_made"] else np.nan)
    made = speed[~np.isnan(speed)]
    if len(made) < 2:
        return None
    x, y = _runs(records), linear([0, *made], zero=True, widened=True, num_ticks=3)
    return Chart(
        title=f"The last run that made rows made {number(made[-1])} per second; the median is "
        f"{number(float(np.median(made)))}",
        description=f"Rows per second of {counted(len(made), 'run')}, oldest first, from {number(made.min())} to "
        f"{number(made.max())}.",
        shapes=_line(speed, x, y, "c1"),
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        y_name="rows per second",
    )


def _drift(records: Sequence[Record]) -> Chart | None:
    moved = _numbers(records, _farthest)
    known = moved[~np.isnan(moved)]
    if not len(known):
        return None
    x, y = _runs(records), linear([0, 1.2, *known], zero=True, widened=True, num_ticks=3)
    beyond, cut = int((known > 1).sum()), int((known >= _MAX_MOVED).sum())
    ten = number(_MAX_MOVED)
    more = f"; {counted(cut, 'point')} cut at {ten} thresholds" if cut else ""
    last = f"{ten} or more" if known[-1] >= _MAX_MOVED else number(float(known[-1]))
    return Chart(
        title=f"{beyond:,} of {counted(len(known), 'run')} moved beyond a threshold of drift{more}",
        description="How far the farthest measure of each run moved, in thresholds, oldest first; in the last one "
        f"{last}. What moved {ten} thresholds or more is drawn at {ten}.",
        shapes=_line(moved, x, y, "c2"),
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        y_name=f"farthest measure, in thresholds (cut at {ten})",
        rules=(Rule(float(y.at(1.0)), "alarm"),),
    )


def _farthest(record: Record) -> float:
    drift = drift_in(record)
    return np.nan if drift is None or not drift.measures else min(drift.measures[0].moved, _MAX_MOVED)


def _line(values: NDArray[np.float64], x: Scale, y: Scale, colour: str) -> tuple[Shape, ...]:
    middles = np.arange(len(values)) + 0.5
    known = ~np.isnan(values)
    return (
        Shape(curve(middles, values, x, y), f"line {colour}"),
        Shape(dots(middles[known], values[known], x, y), f"dots {colour}"),
    )


def _numbers(records: Sequence[Record], read: Callable[[Record], float]) -> NDArray[np.float64]:
    return np.array([read(record) for record in records], dtype=np.float64)


def _runs(records: Sequence[Record]) -> Scale:
    """Return a scale with a unit per run, of which the first and the last are labelled."""
    ends = Tick(0.0, day(records[0]["time"])), Tick(100.0, day(records[-1]["time"]))
    return Scale(0.0, float(len(records)), ends)
