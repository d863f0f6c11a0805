"""Describe the categorical fields and time features of a model."""

from collections.abc import Iterator

from seqembed.data.display.tables import WIDTH, aligned, cut, folded
from seqembed.data.schema.schema import CategoricalField, SequenceSchema

_MAX_FIELDS = 30
_MAX_VALUES = 5
_MAX_VALUE_CHARACTERS = 24
MEANINGS = {
    "since_previous": "log1p of the seconds since the previous step, 0 for the first",
    "since_first": "log1p of the seconds since the first step that is kept",
    "day_sin": "sine of the time of day",
    "day_cos": "cosine of the time of day",
    "week_sin": "sine of the time of week, from Monday 00:00",
    "week_cos": "cosine of the time of week, from Monday 00:00",
}


def describe_fields(schema: SequenceSchema) -> Iterator[str]:
    """Yield a heading and a line for each categorical field; nothing if there are none."""
    fields = schema.categorical
    if not fields:
        return
    yield f"{len(fields)} categorical {'field' if len(fields) == 1 else 'fields'} in this order:"
    yield from aligned(("field", "kind", "values", "unknown", "missing"), [_cells(one) for one in fields[:_MAX_FIELDS]])
    for field in fields[:_MAX_FIELDS]:
        yield from (
            f"  {line}" for line in folded(f"{cut(field.name, 30)}, most frequent: {_frequent(field)}", WIDTH - 2)
        )
    if len(fields) > _MAX_FIELDS:
        yield f"  … and {len(fields) - _MAX_FIELDS} more"


def _cells(field: CategoricalField) -> tuple[str, ...]:
    vocabulary = field.vocabulary
    if vocabulary is None:
        return (field.name, "no vocabulary yet", "", "", "")
    shares = (f"{share:.1%}" if share else "" for share in (vocabulary.unknown_share, vocabulary.missing_share))
    return (field.name, vocabulary.kind, f"{len(vocabulary.values):,}", *shares)


def _frequent(field: CategoricalField) -> str:
    vocabulary = field.vocabulary
    if vocabulary is None or not vocabulary.values:
        return "none"
    total = max(1, sum(vocabulary.counts) + vocabulary.num_unknown + vocabulary.num_missing)
    pairs = zip(vocabulary.values[:_MAX_VALUES], vocabulary.counts, strict=False)
    more = ", …" if len(vocabulary.values) > _MAX_VALUES else ""
    return ", ".join(f"{_short(value)} {count / total:.1%}" for value, count in pairs) + more


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else f"{text[: _MAX_VALUE_CHARACTERS - 1]}…"


def describe_times(schema: SequenceSchema) -> Iterator[str]:
    """Yield how time features are computed; nothing if there are none."""
    if schema.time_zone is None:
        return
    zone = "instants; day and week in UTC" if schema.time_zone == "aware" else "local clock times without time zone"
    yield f"Time features of '{schema.time}' ({zone}):"
    features = [feature for feature in schema.features if feature.kind == "time"]
    width = max(len(feature.name) for feature in features)
    for feature in features:
        yield f"  {feature.name:<{width}}  {MEANINGS[str(feature.component)]}"
