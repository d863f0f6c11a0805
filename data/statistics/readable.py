"""Statistics in plain numbers and lines, for `_SUCCESS` and `seqembed inspect`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqembed.data.schema.vocabulary import MISSING_ID, UNKNOWN_ID
from seqembed.data.statistics.definition import LENGTH_EDGES
from seqembed.data.statistics.statistics import Statistics

_MAX_LINES = 30


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
    width = max((len(feature.name) for feature in statistics.definition.features[:_MAX_LINES]), default=0)
    found = [f"  {name:<{width}}  {_feature_line(one)}" for name, one in _features(statistics)]
    found += [
        f"  {name}  unknown {one['unknown_share']:.1%}, missing {one['missing_share']:.1%}"
        for name, one in _fields(statistics)
    ]
    yield from found[:_MAX_LINES]
    if len(found) > _MAX_LINES:
        yield f"  … and {len(found) - _MAX_LINES} more"


def _feature_line(one: dict[str, Any]) -> str:
    missing = f"missing {one['missing_share']:.1%}"
    if not one["count"]:
        return missing
    outside = (one["histogram"][0] + one["histogram"][-1]) / one["count"] if one["edges"] else 1.0
    clipped = f", clipped {one['clipped_share']:.1%}: mean and std are those of the clipped values"
    return (
        f"mean {one['mean']:.4g}, std {one['std']:.4g}, {one['min']:.4g} to {one['max']:.4g}, {missing}, "
        f"outside the training range {outside:.1%}"
    ) + (clipped if one["clipped_share"] >= 0.0005 else "")


def _number(value: float | np.floating[Any]) -> float | int | None:
    """Return a number that JSON holds, to nine digits; None for what is not finite."""
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.9g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
