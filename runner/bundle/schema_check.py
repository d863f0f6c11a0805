"""Check that the columns, features and vocabularies of a contract are consistent."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NoReturn, get_args

from seqembed.data.decode.times import TIME_FEATURES, TimeZone
from seqembed.data.schema.schema import LAYOUTS, CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import ValueKind

_MAX_FEATURES = 1 << 16
_KINDS: dict[str, type] = dict(zip(get_args(ValueKind), (str, int, bool), strict=True))

Refuse = Callable[[str, object, str], NoReturn]  # what, found, expected


def is_integer_in(value: object, minimum: int, maximum: int) -> bool:
    """Return whether `value` is an integer, not a boolean, in minimum…maximum."""
    return type(value) is int and minimum <= value <= maximum


def check_contract_schema(schema: SequenceSchema, refuse: Refuse) -> None:
    """Check that the fields of a schema are consistent.

    Args:
        schema: The schema of a bundle.
        refuse: Raises an error from the name of the field, the value found and the expected one.
    """
    _Check(schema, refuse).all()


class _Check:
    def __init__(self, schema: SequenceSchema, refuse: Refuse) -> None:
        self._schema, self._refuse = schema, refuse

    def all(self) -> None:
        self._columns()
        self._names()
        self._numbers([feature for feature in self._schema.features if feature.kind == "numeric"])
        self._times()
        for field in self._schema.categorical:
            self._field(field)

    def _columns(self) -> None:
        schema = self._schema
        if schema.layout not in LAYOUTS:
            self._refuse("layout", schema.layout, " or ".join(LAYOUTS))
        if not _is_name(schema.id):
            self._refuse("id", schema.id, "the name of a column")
        if not (schema.time is None or _is_name(schema.time)):
            self._refuse("time", schema.time, "the name of a column, or null")

    def _names(self) -> None:
        entries: list[Feature | CategoricalField] = [*self._schema.features, *self._schema.categorical]
        if not 1 <= len(entries) <= _MAX_FEATURES:
            self._refuse("features", len(entries), f"1…{_MAX_FEATURES:,}, including categorical fields")
        for entry in entries:
            if not (_is_name(entry.name) and _is_name(entry.column)):
                self._refuse("feature", entry, "a name and a column")
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            self._refuse("features", f"'{twice[0]}' twice", "every name once")
        if self._schema.id in {entry.column for entry in entries}:
            self._refuse("features", f"the id column '{self._schema.id}'", "other columns")
        for feature in self._schema.features:
            if feature.kind not in ("numeric", "time"):
                self._refuse(f"kind of feature '{feature.name}'", feature.kind, "numeric or time")

    def _numbers(self, features: Sequence[Feature]) -> None:
        columns = [column for column, _ in groupby(features, key=lambda feature: feature.column)]
        if len(set(columns)) < len(columns):
            self._refuse("features", columns, "the features of a column to be adjacent")
        for column, group in groupby(features, key=lambda feature: feature.column):
            self._components(column, [feature.component for feature in group])

    def _components(self, column: str, components: list[str | int | None]) -> None:
        is_column = components == [None]
        vector = all(is_integer_in(component, 0, _MAX_FEATURES) for component in components) and components == list(
            range(len(components))
        )
        struct = all(_is_name(component) for component in components) and len(set(components)) == len(components)
        if not (is_column or (self._schema.layout == "nested" and (vector or struct))):
            self._refuse(
                f"components of column '{column}'",
                components[:10],
                "the column, all its elements in order, or its fields",
            )

    def _times(self) -> None:
        schema = self._schema
        if schema.time_zone is None:
            expected: tuple[Feature, ...] = ()
        else:
            expected = schema.features[-len(TIME_FEATURES) :]
            if schema.time_zone not in get_args(TimeZone):
                self._refuse("time_zone", schema.time_zone, "aware, naive or null")
            if tuple(feature.component for feature in expected) != TIME_FEATURES:
                self._refuse(
                    "time features",
                    [feature.name for feature in expected],
                    f"the components {', '.join(TIME_FEATURES)}",
                )
        found = tuple(feature for feature in schema.features if feature.kind == "time")
        if found != expected or any(feature.column != schema.time for feature in found):
            what = f"all six of '{schema.time}', last" if expected else "none, since no time_zone is given"
            self._refuse("time features", [feature.name for feature in found], what)

    def _field(self, field: CategoricalField) -> None:
        name, vocabulary = f"field '{field.name}'", field.vocabulary
        if not (field.component is None or (_is_name(field.component) and self._schema.layout == "nested")):
            self._refuse(f"component of {name}", field.component, "a field of structs in the nested layout, or null")
        if vocabulary is None:
            self._refuse(f"vocabulary of {name}", None, "the values that were learned")
        if vocabulary.kind not in tuple(_KINDS):  # a tuple, since the kind may not be hashable
            self._refuse(f"kind of {name}", vocabulary.kind, ", ".join(_KINDS))
        mismatched = [value for value in vocabulary.values if type(value) is not _KINDS[vocabulary.kind]]
        if mismatched:
            self._refuse(f"vocabulary of {name}", repr(mismatched[0]), f"values of the kind {vocabulary.kind}")
        if len(set(vocabulary.values)) < len(vocabulary.values):
            self._refuse(f"vocabulary of {name}", "a value twice", "every value once")
        counts = [*vocabulary.counts, vocabulary.num_unknown, vocabulary.num_missing]
        if len(vocabulary.counts) != len(vocabulary.values) or not all(is_integer_in(n, 0, 1 << 62) for n in counts):
            self._refuse(f"counts of {name}", counts[:10], "an integer for each value, unknown and missing")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)
