"""Find out which columns of a Parquet file make its sequences, and refuse to guess where two readings are possible."""

from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from data.arrow import is_list, is_number
from data.check import check_schema, refuse_column, require_column
from data.errors import InputError, UsageError
from data.inputs import InputFile
from data.schema import LAYOUTS, Feature, Layout, SequenceSchema

LayoutChoice = Literal["auto", "nested", "events"]
LAYOUT_CHOICES: tuple[LayoutChoice, ...] = ("auto", *LAYOUTS)
_PEEK_ROWS = 1000


def detect_schema(
    files: Sequence[InputFile],
    *,
    id_column: str = "id",
    features: Sequence[str] = (),
    layout: str = "auto",
    time_column: str | None = None,
    exclude: Sequence[str] = (),
) -> SequenceSchema:
    """Return the schema of `files`, found from the first and checked against all.

    Args:
        files: At least one.
        id_column: Column that names a sequence.
        features: Columns (``f0``), struct fields (``readings.x``, or ``x`` where only one struct has it); empty takes
            every numeric sequence column, or in the events layout every numeric column, in schema order.
        layout: ``auto``, ``nested`` or ``events``.
        time_column: Events only: column that orders the events of an id.
        exclude: Columns never taken by default, such as a label.

    Raises:
        InputError: A column is missing or of a wrong type, or the layout is ambiguous.
        UsageError: Options contradict each other.
    """
    first = files[0]
    arrow_schema = first.open().schema_arrow
    require_column(first, arrow_schema, id_column, "id")
    if time_column is not None and layout == "nested":
        raise UsageError("--time orders events; it does not go with --layout nested. Leave one of the two out.")
    chosen = _layout(first, arrow_schema, id_column, features, layout, time_column, exclude)
    if chosen == "events":
        found = _event_features(first, arrow_schema, features, {id_column, time_column, *exclude})
    else:
        found = _nested_features(first, arrow_schema, features, {id_column, *exclude})
    names = [feature.name for feature in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--features names {twice!r} twice. Name each feature once.")
    schema = SequenceSchema(id=id_column, features=tuple(found), layout=chosen, time=time_column)
    for file in files:
        check_schema(file, file.open().schema_arrow, schema)
    return schema


def _sequence_features(field: pa.Field) -> Iterator[Feature]:
    """Yield the features a column can give in the nested layout; variable-width vectors are left to the data."""
    if not is_list(field.type):
        return
    step = field.type.value_type
    if is_number(step):
        yield Feature(field.name, field.name)
    elif pa.types.is_struct(step):
        for place in range(step.num_fields):
            part = step.field(place)
            if is_number(part.type):
                yield Feature(f"{field.name}.{part.name}", field.name, part.name)
    elif pa.types.is_fixed_size_list(step) and is_number(step.value_type):
        yield from _vector_features(field.name, step.list_size)


def _vector_features(column: str, width: int) -> Iterator[Feature]:
    for place in range(width):
        yield Feature(f"{column}.{place}", column, place)


def _is_open_vector(field: pa.Field) -> bool:
    kind = field.type
    return is_list(kind) and is_list(kind.value_type) and is_number(kind.value_type.value_type)


def _column_features(file: InputFile, field: pa.Field) -> list[Feature]:
    found = list(_sequence_features(field))
    if not found and _is_open_vector(field):
        return list(_vector_features(field.name, _peek_width(file, field.name)))
    return found


def _peek_width(file: InputFile, column: str) -> int:
    """Return the width of the first vector met in a column of list<list<number>>."""
    for batch in file.batches(file.open(), [column], _PEEK_ROWS):
        widths = pc.list_value_length(batch.column(0).flatten()).drop_null()
        if len(widths):
            return int(widths[0].as_py())
    raise InputError(f"{file.name}: column '{column}' holds no vector, so its width is unknown. Name other --features.")


def _layout(
    file: InputFile,
    arrow_schema: pa.Schema,
    id_column: str,
    features: Sequence[str],
    layout: str,
    time_column: str | None,
    exclude: Sequence[str],
) -> Layout:
    if layout != "auto":
        return "events" if layout == "events" else "nested"
    for name in features:
        if not any(name in _names(field) for field in arrow_schema):
            require_column(file, arrow_schema, name, "feature")
    others = [field for field in arrow_schema if field.name not in {id_column, time_column, *exclude}]
    named = {name.split(".")[0] for name in features} | set(features)
    asked = [field for field in others if field.name in named] or others
    lists = [field.name for field in asked if any(_sequence_features(field)) or _is_open_vector(field)]
    scalars = [field.name for field in asked if is_number(field.type)]
    if not lists:
        # A bare struct field (--features x) lies inside a list; everything else is looked up as a scalar.
        inside = any(
            field.type.value_type.get_field_index(name) >= 0
            for field in others
            for name in features
            if _is_structs(field)
        )
        return "nested" if features and inside else "events"
    if time_column is not None or (features and scalars):
        why = f"--time {time_column} says events" if time_column is not None else f"{scalars[0]!r} is one number a row"
        raise InputError(
            f"{file.name}: the layout is ambiguous: {why}, but {lists[0]!r} is a list in each row. Say --layout nested "
            "(a row is a sequence) or --layout events (a row is one event), with --features of that kind."
        )
    repeated = _repeated_id(file, id_column)
    if repeated is not None:
        raise InputError(
            f"{file.name}: the layout is ambiguous: {id_column} = {repeated!r} stands in neighbouring rows, as events "
            f"do, but {lists[0]!r} is a list in each row. Say --layout nested (each row is a sequence of its own) or "
            "--layout events."
        )
    return "nested"


def _names(field: pa.Field) -> set[str]:
    """Return how a column, or a part of it, may be named in ``--features``."""
    parts = [feature for feature in _sequence_features(field) if isinstance(feature.part, str)]
    return {field.name, *(feature.name for feature in parts), *(str(feature.part) for feature in parts)}


def _is_structs(field: pa.Field) -> bool:
    return is_list(field.type) and pa.types.is_struct(field.type.value_type)


def _repeated_id(file: InputFile, id_column: str) -> object | None:
    """Return an id that two neighbouring rows share near the start of the file, if any."""
    for batch in file.batches(file.open(), [id_column], _PEEK_ROWS):
        ids = batch.column(0)
        same = pc.fill_null(pc.equal(ids[1:], ids[:-1]), False)
        place = pc.index(same, True).as_py()
        return ids[place].as_py() if place >= 0 else None
    return None


def _nested_features(
    file: InputFile, arrow_schema: pa.Schema, names: Sequence[str], left_out: set[str]
) -> list[Feature]:
    if not names:
        found = [
            feature for field in arrow_schema if field.name not in left_out for feature in _column_features(file, field)
        ]
        if not found:
            raise InputError(
                f"{file.name}: no column holds a list of numbers in each row. Name the features with --features, or "
                "say --layout events where each row is one event."
            )
        return found
    return [feature for name in names for feature in _named_features(file, arrow_schema, name)]


def _named_features(file: InputFile, arrow_schema: pa.Schema, name: str) -> list[Feature]:
    if name in arrow_schema.names:
        field = require_column(file, arrow_schema, name, "feature")
        found = _column_features(file, field)
        if not found:
            refuse_column(
                file,
                name,
                field.type,
                "a list of numbers, vectors or structs (nested layout)",
                "Cast it, or name other features",
            )
        return found
    inside = [
        feature
        for field in arrow_schema
        for feature in _sequence_features(field)
        if name in (feature.name, feature.part)
    ]
    if len(inside) > 1:
        raise InputError(f"{file.name}: '{name}' could be {' or '.join(f.name for f in inside)}. Name the column too.")
    if not inside:
        require_column(file, arrow_schema, name, "feature")
    return inside


def _event_features(
    file: InputFile, arrow_schema: pa.Schema, names: Sequence[str], left_out: set[str | None]
) -> list[Feature]:
    if not names:
        names = [field.name for field in arrow_schema if is_number(field.type) and field.name not in left_out]
    if not names:
        raise InputError(
            f"{file.name}: no numeric column besides {', '.join(sorted(filter(None, left_out)))}. "
            "Name the features with --features."
        )
    return [Feature(name, name) for name in names]
