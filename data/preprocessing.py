"""Describe in the contract how the inputs of a model are computed from rows, for clients other than seqembed.

`seqembed run` does not need this: training and serving read with the same code. A client that calls the ONNX file
directly finds here exactly how times become features and categories become ids.
"""

from typing import Any

from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID
from seqembed.data.sequences import LengthPolicy

_DAY_SECONDS, _WEEK_SECONDS = 86_400, 604_800
_FIRST_MONDAY_SECONDS = 345_600  # 1970-01-05 00:00, since 1970-01-01 00:00
_ZONES = {
    "aware": "Timestamps are instants: they are taken in UTC, whatever zone the column names.",
    "naive": "Timestamps and dates have no zone: they are taken as what the clock showed, as if it were UTC.",
}
_FORMULAS = {
    "since_previous": "log1p((t - p) / u)",
    "since_first": "log1p((t - f) / u)",
    "day_sin": "sin(2 * pi * (t mod (86400 * u)) / (86400 * u))",
    "day_cos": "cos(2 * pi * (t mod (86400 * u)) / (86400 * u))",
    "week_sin": "sin(2 * pi * ((t - 345600 * u) mod (604800 * u)) / (604800 * u))",
    "week_cos": "cos(2 * pi * ((t - 345600 * u) mod (604800 * u)) / (604800 * u))",
}


def preprocessing(schema: SequenceSchema, policy: LengthPolicy) -> dict[str, Any]:
    """Return plain values that describe how the inputs of a model are computed.

    Args:
        schema: Schema of the model.
        policy: How long sequences are truncated.
    """
    value: dict[str, Any] = {"steps": _steps(schema, policy)}
    if schema.time_zone is not None:
        value["times"] = _times(schema)
    if schema.categorical:
        value["categories"] = _categories(schema)
    return value


def _steps(schema: SequenceSchema, policy: LengthPolicy) -> list[str]:
    """Return the preprocessing steps, in order."""
    rules = []
    if schema.time is not None:
        rules.append(
            f"Sort the steps of a sequence by '{schema.time}', ascending; steps of equal time keep their order."
        )
    if schema.time_zone is not None:
        rules.append("For every step let p be the time of the previous step; for the first step its own time.")
    if policy.max_length is not None:
        which = "last" if policy.truncate == "tail" else "first"
        rules.append(f"Keep the {which} {policy.max_length} steps of a longer sequence.")
    if schema.time_zone is not None:
        rules.append("Let f be the time of the first kept step, and compute the time features.")
    if schema.categorical:
        rules.append("Replace every category by its id.")
    rules.append("Pad at the end with any values; pass the number of steps of each sequence as 'lengths'.")
    return rules


def _times(schema: SequenceSchema) -> dict[str, Any]:
    features = [feature for feature in schema.features if feature.kind == "time"]
    return {
        "column": schema.time,
        "zone": _ZONES[str(schema.time_zone)],
        "t": "time of the step in ticks of the column's unit since 1970-01-01 00:00, int64",
        "u": "ticks per second: 1, 1000, 1000000 or 1000000000; dates count as 00:00",
        "features": {feature.name: _FORMULAS[str(feature.component)] for feature in features},
        "rule": "Subtract and take the remainder (never negative) in int64, then compute in float64; the result is "
        "float32.",
        "day_seconds": _DAY_SECONDS,
        "week_seconds": _WEEK_SECONDS,
        "first_monday_seconds": _FIRST_MONDAY_SECONDS,
    }


def _categories(schema: SequenceSchema) -> dict[str, Any]:
    return {
        "unknown_id": UNKNOWN_ID,
        "missing_id": MISSING_ID,
        "first_id": FIRST_ID,
        "rule": "The id of a value is first_id plus its index, from 0, in the values of its field's vocabulary "
        "(schema.categorical); null is missing_id; a value that is not in the vocabulary is unknown_id. Values are "
        "compared byte for byte.",
        "fields": [field.name for field in schema.categorical],
    }
