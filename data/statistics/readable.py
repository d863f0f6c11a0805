"""Statistics in plain numbers and lines, for `_SUCCESS` and `seqembed inspect`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqembed.data.display.tables import aligned
from seqembed.data.schema.vocabulary import MISSING_ID, UNKNOWN_ID
from seqembed.data.statistics.definition import LENGTH_EDGES
from seqembed.data.statistics.statistics import Statistics

_MAX_LINES = 30
_HEADS = ("feature", "mean", "std", "min", "max", "missing", "outside", "clipped")
_CLIPPED = 0.0005  # share from which it is shown


def described(statistics: Statistics) -> dict[str, Any]:
    """Return what ``_SUCCESS`` holds: plain numbers, and the totals under ``exact``, as they merge."""
    num_vectors, covariance = statistics.number("vectors"), statistics.vector_covariance
    unit = 0.0 if statistics.definition.vectors is None else statistics.definition.vectors.unit
    vectors = {
        "count": num_vectors,
        "distance_from_training_mean": _number(unit * np.linalg.norm(statistics.vector_mean)),
        "std": _number(unit * np.sqrt(max(0.0, np.trace(covariance)) / max(1, len(covariance)))),
    }
    return {
        "sequences": statistics.number("sequences"),
        "empty": statistics.number("empty"),
        "steps": statistics.number("steps"),
        "counted_steps": statistics.number("counted_steps"),
        "lengths": _lengths(statistics),
        "features": dict(_features(statistics)),
        "categories": dict(_fields(statistics)),
        "embeddings": vectors if num_vectors else None,
        "exact": statistics.to_json(),
    }


def _lengths(statistics: Statistics) -> dict[str, Any]:
    sequences, counts = statistics.number("sequences"), statistics.block("lengths").tolist()
    return {
        "min": _number(statistics.lowest[0]),
        "max": _number(statistics.highest[0]),
        "mean": _number(statistics.number("steps") / sequences) if sequences else None,
        "histogram": {str(edge): count for edge, count in zip(LENGTH_EDGES, counts, strict=True) if count},
    }


def _features(statistics: Statistics) -> Iterator[tuple[str, dict[str, Any]]]:
    mean, std, missing = statistics.mean, statistics.std, statistics.missing_share
    bins, known, clipped = statistics.block("bins"), statistics.known, statistics.block("clipped")
    for index, feature in enumerate(statistics.definition.features):
        yield (
            feature.name,
            {
                "count": int(known[index]),
                "clipped_share": _number(clipped[index] / max(1, known[index])),
                "missing_share": _number(missing[index]),
                "mean": _number(mean[index]),
                "std": _number(std[index]),
                "min": _number(statistics.lowest[1 + index]),
                "max": _number(statistics.highest[1 + index]),
                "edges": list(feature.edges),
                "histogram": bins[index, : len(feature.edges) + 1].tolist(),
            },
        )


def _fields(statistics: Statistics) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, field in enumerate(statistics.definition.fields):
        counts = statistics.categories(index)
        total = max(1, int(counts.sum()))
        yield (
            field.name,
            {
                "unknown_share": _number(counts[UNKNOWN_ID] / total),
                "missing_share": _number(counts[MISSING_ID : MISSING_ID + 1].sum() / total),
                "histogram": counts.tolist(),
            },
        )


def lines(statistics: Statistics) -> Iterator[str]:
    """Yield what was counted, in a few plain lines."""
    sequences, steps = statistics.number("sequences"), statistics.number("steps")
    if not sequences:
        yield f"Statistics: no sequence with steps, {statistics.number('empty'):,} empty"
        return
    lengths = f"{int(statistics.lowest[0]):,} to {int(statistics.highest[0]):,} steps, mean {steps / sequences:.4g}"
    yield (
        f"Statistics: {sequences:,} sequences of {lengths}; {statistics.number('empty'):,} empty; values of "
        f"{statistics.number('counted_steps'):,} of {steps:,} steps counted"
    )
    features, fields = list(_features(statistics)), list(_fields(statistics))
    yield from aligned(_HEADS, [(name, *_cells(one)) for name, one in features[:_MAX_LINES]])
    shown = fields[: max(0, _MAX_LINES - len(features))]
    shares = [(name, f"{one['unknown_share']:.1%}", f"{one['missing_share']:.1%}") for name, one in shown]
    yield from aligned(("categorical field", "unknown", "missing"), shares)
    left = len(features) + len(fields) - min(len(features), _MAX_LINES) - len(shown)
    if left:
        yield f"  … and {left} more"
    if any(one["clipped_share"] >= _CLIPPED for _, one in features[:_MAX_LINES]):
        yield "  clipped: mean and std are those of the clipped values"


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a feature: what lies outside is the share beyond the range of the training sample."""
    missing = f"{one['missing_share']:.1%}"
    if not one["count"]:
        return ("", "", "", "", missing, "", "")
    outside = (one["histogram"][0] + one["histogram"][-1]) / one["count"] if one["edges"] else 1.0
    numbers = (f"{one[name]:.4g}" for name in ("mean", "std", "min", "max"))
    clipped = f"{one['clipped_share']:.1%}" if one["clipped_share"] >= _CLIPPED else ""
    return (*numbers, missing, f"{outside:.1%}", clipped)


def _number(value: float | np.floating[Any]) -> float | int | None:
    """Return a number that JSON holds, to nine digits; None for what is not finite."""
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.9g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
