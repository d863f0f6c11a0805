"""Drift on the page: each measure of a run beside the training data, and how far it moved in thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqembed.data.drift.drift import Drift, DriftMeasure
from seqembed.data.pages.numbers import number, percent, seconds, shortened
from seqembed.data.plurals import counted, verb

MAX_ROWS, SHOWN_ROWS = 300, 12
_SCALE = 2.0  # thresholds across a bar
_SHARES = ("missing", "unknown")


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One measure.

    Attributes:
        name, feature: What is compared.
        expected, observed: Of the training data and of the run, as text.
        at: Position on a bar of which `mark` is the threshold, 0…1.
        moved: In thresholds, as text.
        alarmed: Whether it is beyond its threshold.
    """

    name: str
    feature: str
    expected: str
    observed: str
    at: float
    moved: str
    alarmed: bool
    mark: float = 1 / _SCALE


def drift_in(document: Mapping[str, Any]) -> Drift | None:
    """Return the drift that a success marker or a record of history holds; None without one.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is damaged.
    """
    return None if document.get("drift") is None else Drift.from_json(document["drift"])


def drift_rows(drift: Drift | None) -> list[DriftRow]:
    """Return the measures, those that moved most first; at most `MAX_ROWS`."""
    return [] if drift is None else [_row(measure) for measure in drift.measures[:MAX_ROWS]]


def drift_title(drift: Drift | None) -> str:
    """Return what the comparison found, in a sentence."""
    if drift is None or not drift.measures:
        return "Nothing was compared with the training data"
    alarms = len(drift.alarms)
    if alarms:
        their = verb(alarms, "its", "their")
        return f"{alarms:,} of {counted(len(drift.measures), 'measure')} moved beyond {their} threshold"
    return f"All {len(drift.measures):,} measures are within their thresholds"


def _row(measure: DriftMeasure) -> DriftRow:
    write = percent if measure.name in _SHARES else seconds if measure.name == "gaps" else number
    stuck = measure.name == "stuck"
    return DriftRow(
        name=measure.name,
        feature="" if measure.feature is None or measure.is_of_vectors else shortened(measure.feature, 60),
        expected="" if measure.expected is None else write(measure.expected),
        observed="" if measure.observed is None else write(measure.observed),
        at=1.0 if stuck else min(1.0, measure.moved / _SCALE),
        moved="one value" if stuck else f"{number(measure.moved, 2)} ×",
        alarmed=measure.alarmed,
    )
