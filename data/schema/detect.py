"""Detect which columns of a Parquet file make its sequences, and refuse to guess if the layout is ambiguous."""

from collections.abc import Sequence
from typing import Literal, NoReturn

import numpy as np
import pyarrow as pa

from seqembed.data.decode.arrow import is_list, is_number, locate
from seqembed.data.decode.ids import id_text, is_null_id, quoted_id, same_as_previous
from seqembed.data.decode.times import TimeZone, zone_of
from seqembed.data.decode.times import time_features as times_of
from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.grouping import grouping_line
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.peek import first_with_rows, peek
from seqembed.data.schema.candidates import Candidate, inside_lists, is_open_vector, is_value, named, of_column
from seqembed.data.schema.check import check_schema, refuse_column, require_column, time_type, value_kind
from seqembed.data.schema.pandas_index import index_columns
from seqembed.data.schema.schema import LAYOUTS, CategoricalField, Feature, Layout, SequenceSchema

LayoutChoice = Literal["auto", "nested", "events"]
LAYOUT_CHOICES: tuple[LayoutChoice, ...] = ("auto", *LAYOUTS)


def detect_schema(
    files: Sequence[InputFile],
    *,
    id_column: str = "id",
    features: Sequence[str] = (),
    layout: str = "auto",
    time_column: str | None = None,
    exclude: Sequence[str] = (),
    categorical: Sequence[str] = (),
    time_features: bool = True,
    categories: bool = True,
) -> SequenceSchema:
    """Return the schema of `files`, without vocabularies: detected from the first file with rows, checked with all.

    Args:
        files: At least one file.
        id_column: Column that names a sequence.
        features: Columns (``f0``) or struct fields (``readings.x``, or ``x`` if only one struct has it). Empty uses all
            columns with one number or text per step, in schema order.
        layout: ``auto``, ``nested`` or ``events``.
        time_column: Orders the events of an id; in the nested layout a column of lists of times, or a struct field.
        exclude: Columns that are not used by default, such as a label; the index of pandas is never used.
        categorical: Integer or boolean columns or struct fields to treat as categories, in addition to `features`.
        time_features: Whether timestamps in `time_column` become features.
        categories: Whether text is used; without it booleans are numbers, too.

    Raises:
        InputError: A column is missing or of a wrong type, or the layout is ambiguous.
        UsageError: Options contradict each other.
    """
    first = first_with_rows(files)
    arrow_schema, _ = first.footer()
    require_column(first, arrow_schema, id_column, "id")
    asked = tuple(features) + (tuple(name for name in categorical if name not in features) if features else ())
    labels = [name for name in exclude if name in arrow_schema.names]
    exclude = tuple(name for name in (*exclude, *sorted(index_columns(arrow_schema))) if name not in asked)
    chosen = _layout(first, arrow_schema, id_column, asked, layout, time_column, exclude)
    zone = _zone(arrow_schema, chosen, time_column)
    if asked:
        found = [one for name in asked for one in named(first, arrow_schema, chosen, name, "feature")]
    else:
        found = [
            candidate
            for field in arrow_schema
            if field.name not in {id_column, time_column, *exclude}
            for candidate in of_column(first, field, chosen)
            if candidate.name != time_column and (categories or is_number(candidate.kind))
        ]
    for name in () if asked else categorical:
        found += [one for one in named(first, arrow_schema, chosen, name, "categorical") if one not in found]
    made = time_features and zone is not None
    if not found and not made:
        _refuse_none(first, chosen, [id_column, time_column, *exclude])
    _refuse_twice(first, [candidate.name for candidate in found], asked)
    numbers, fields = _divide(first, found, categorical, booleans_too=categories and zone is not None)
    schema = SequenceSchema(
        id=id_column,
        features=numbers + (times_of(time_column) if made and time_column is not None else ()),
        layout=chosen,
        time=time_column,
        categorical=fields,
        time_zone=zone if made else None,
    )
    for file in files:
        columns, num_rows = file.footer()
        if chosen == "events" and not asked and num_rows:
            _refuse_lacking(file, first, columns, schema, files, labels)
        check_schema(file, columns, schema, num_rows=num_rows)
    return schema


def _refuse_lacking(
    file: InputFile,
    first: InputFile,
    columns: pa.Schema,
    schema: SequenceSchema,
    files: Sequence[InputFile],
    keep: Sequence[str],
) -> None:
    """Check that a file of events has the columns that were chosen from the first one.

    Raises:
        InputError: It lacks one; the message has the line that groups events without such columns.
    """
    lacking = next((name for name in schema.feature_columns if name not in columns.names), None)
    if lacking is None:
        return
    grouping = (
        f"group them: {grouping_line(files, schema, keep, names_features=False)}"
        if schema.time is not None
        else "name the column that orders them with --time, and group them with `seqembed group`"
    )
    raise InputError(
        f"{file.name}: no column '{lacking}', which {first.name} has. Add the column, or name with --features those "
        f"that all files have. If an id has events in several files, {grouping}"
    )


def _divide(
    file: InputFile, found: Sequence[Candidate], categorical: Sequence[str], booleans_too: bool
) -> tuple[tuple[Feature, ...], tuple[CategoricalField, ...]]:
    """Divide candidates into numbers and categories.

    Text, dictionaries and whatever `categorical` names are categories; booleans are if there is text or with
    `booleans_too`.
    """
    with_text = booleans_too or any(not is_number(candidate.kind) for candidate in found)
    numbers, fields = [], []
    for candidate in found:
        wanted = candidate.is_named(categorical)
        if wanted and (value_kind(candidate.kind) is None or isinstance(candidate.component, int)):
            expected = "integers, booleans or text, as --categorical asks for"
            refuse_column(file, candidate.name, candidate.kind, expected, "Cast it, or leave it out of --categorical")
        if wanted or not is_number(candidate.kind) or (with_text and _is_flag(candidate)):
            component = None if candidate.component is None else str(candidate.component)
            fields.append(CategoricalField(candidate.name, candidate.column, component=component))
        else:
            numbers.append(Feature(candidate.name, candidate.column, candidate.component))
    return tuple(numbers), tuple(fields)


def _is_flag(candidate: Candidate) -> bool:
    return bool(pa.types.is_boolean(candidate.kind)) and not isinstance(candidate.component, int)


def _refuse_none(file: InputFile, layout: Layout, left_out: Sequence[str | None]) -> NoReturn:
    besides = ", ".join(sorted(filter(None, left_out)))
    raise InputError(
        f"{file.name}: no column holds a list of numbers or text in each row. Name the features with --features, or "
        "pass --layout events if each row is one event."
        if layout == "nested"
        else f"{file.name}: no column of numbers or text besides {besides}. Name the features with --features."
    )


def _refuse_twice(file: InputFile, names: Sequence[str], asked: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for name in names if names.count(name) > 1)
    if twice not in asked:
        raise InputError(
            f"{file.name}: two columns, or a column and a field of structs, are called '{twice}'. Rename one of them, "
            "or name others with --features."
        )
    raise UsageError(f"--features names {twice!r} twice. Name each feature once.")


def _zone(arrow_schema: pa.Schema, layout: Layout, time_column: str | None) -> TimeZone | None:
    """Return the kind of timestamps in the time column, if any; whether its type is valid is checked later."""
    if time_column is None:
        return None
    kind = time_type(arrow_schema, time_column, layout)
    return None if kind is None else zone_of(kind)


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
    lists = [field.name for field in asked if _holds_numbers(field)]
    scalars = [field.name for field in asked if is_value(field.type)]
    if time_column is not None and is_list(_column_type(arrow_schema, time_column)):
        return "nested"
    if not lists and time_column is None and _repeated_id(file, id_column) is None:
        lists = [field.name for field in asked if any(inside_lists(field))]  # lists of text, which events may have, too
    if not lists:
        # A struct field given without its column (--features x) is inside a list; everything else must be a scalar.
        inside = any(
            field.type.value_type.get_field_index(name) >= 0
            for field in others
            for name in features
            if _is_structs(field)
        )
        return "nested" if features and inside else "events"
    if time_column is not None or (features and scalars):
        why = (
            f"--time {time_column} means events" if time_column is not None else f"{scalars[0]!r} is one number per row"
        )
        raise InputError(
            f"{file.name}: the layout is ambiguous: {why}, but {lists[0]!r} is a list in each row. Pass "
            "--layout nested (a row is a sequence) or --layout events (a row is one event), with --features to match."
        )
    repeated = _repeated_id(file, id_column)
    if repeated is not None:
        raise InputError(
            f"{file.name}: the layout is ambiguous: {id_column} = {quoted_id(repeated)} occurs in adjacent rows, as "
            f"with events, but {lists[0]!r} is a list in each row. Pass --layout nested (each row is a separate "
            "sequence) or --layout events."
        )
    return "nested"


def _holds_numbers(field: pa.Field) -> bool:
    return is_open_vector(field) or any(is_number(candidate.kind) for candidate in inside_lists(field))


def _column_type(arrow_schema: pa.Schema, name: str) -> pa.DataType:
    index = arrow_schema.get_field_index(locate(arrow_schema, name)[0])
    return pa.null() if index < 0 else arrow_schema.field(index).type


def _names(field: pa.Field) -> set[str]:
    """Return the names by which ``--features`` may refer to a column or its components."""
    components = [candidate for candidate in inside_lists(field) if isinstance(candidate.component, str)]
    return {
        field.name,
        *(candidate.name for candidate in components),
        *(str(candidate.component) for candidate in components),
    }


def _is_structs(field: pa.Field) -> bool:
    return is_list(field.type) and pa.types.is_struct(field.type.value_type)


def _repeated_id(file: InputFile, id_column: str) -> str | None:
    """Return an id that two adjacent rows near the start of the file share, as text, if any."""
    for batch in peek(file, [id_column]):
        ids = batch.column(0)
        indices = np.flatnonzero(same_as_previous(ids) & ~is_null_id(ids)[1:])
        return id_text(ids[int(indices[0])]) if len(indices) else None
    return None
