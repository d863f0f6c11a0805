"""Check totals read from a file against each other: a footer is input from outside."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqembed.data.statistics.definition import MAX_SCALES, STEPS_PER_SCALE
from seqembed.data.statistics.projection import MAX_STEPS

if TYPE_CHECKING:
    from seqembed.data.statistics.statistics import Statistics

_MAX_VALUE = MAX_SCALES * STEPS_PER_SCALE


def contradiction(statistics: "Statistics") -> str | None:
    """Return what does not add up in statistics, or None.

    Args:
        statistics: Totals of the right number, integers.
    """
    number, block = statistics.number, statistics.block
    sequences, steps, counted = number("sequences"), number("steps"), number("counted_steps")
    known = statistics.known
    found = np.isfinite(statistics.lowest), np.isfinite(statistics.highest)
    expected = np.concatenate([[sequences > 0], known > 0])
    checks = {
        "lengths": block("lengths").sum() == sequences and counted <= steps,
        "missing values": (known >= 0).all() and (block("clipped") <= known).all(),
        "histograms": (block("bins").sum(axis=1) == known).all(),
        "sums": _within(block("sums"), known, _MAX_VALUE) and _within(block("squares"), known, _MAX_VALUE**2),
        "categories": all(statistics.categories(field).sum() == counted for field in range(_num_fields(statistics))),
        "extremes": all((one == expected).all() for one in found)
        and bool((statistics.lowest[expected] <= statistics.highest[expected]).all()),
        "sums of embeddings": _within(block("vector_sums"), number("vectors"), MAX_STEPS)
        and _within(block("vector_products"), number("vectors"), MAX_STEPS**2),
    }
    if sequences and checks["extremes"]:
        shortest, longest = statistics.lowest[0] * sequences, statistics.highest[0] * sequences
        checks["length extremes"] = (
            1 <= statistics.lowest[0] and shortest <= steps <= longest and (statistics.highest[0] <= steps)
        )
    return next((name for name, holds in checks.items() if not holds), None)


def _within(totals: NDArray[np.int64], counts: NDArray[np.int64] | int, largest: int) -> bool:
    """Return whether the sums are possible for so many numbers of at most `largest` each."""
    limits = np.asarray(counts, dtype=np.float64) * largest
    return bool((np.abs(totals.astype(np.float64)) <= limits).all())


def _num_fields(statistics: "Statistics") -> int:
    return len(statistics.definition.fields)
