"""Compare a file's columns with the schema that a model needs, before the first row is read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, Protocol

import pyarrow as pa

from seqembed.data.decode.arrow import is_list, is_number, is_number_or_null, is_storable, is_string, locate
from seqembed.data.decode.times import zone_of
from seqembed.data.errors import InputError
from seqembed.data.files.grouping import grouping_line
from seqembed.data.files.inputs import InputFile
from seqembed.data.schema.schema import CategoricalField, Layout, SequenceSchema
from seqembed.data.schema.vocabulary import ValueKind

_KINDS: dict[ValueKind, str] = {"string": "text", "integer": "integers", "boolean": "booleans"}


_ADD_ZONE = (
    "Add the time zone they were recorded in; pandas drops that of times in lists, unless it reads with "
    "dtype_backend='pyarrow'"
)


class Tabular(Protocol):
    """Something with columns: a file, or a table in memory."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def noun(self) -> str:
        """What it is, in one word, for messages."""

    @property
    def partitions(self) -> Mapping[str, str | None]:
        """Hive keys of its path, with their values."""


def as_stored(schema: SequenceSchema, arrow_schema: pa.Schema) -> SequenceSchema:
    """Return a schema in the layout of a file: a model of events also reads grouped events, lists of the same names.

    Args:
        schema: The schema of a model.
        arrow_schema: The file's columns.
    """
    names = {*schema.feature_columns, *([] if schema.time is None else [schema.time])} & {*arrow_schema.names}
    grouped = bool(names) and all(is_list(arrow_schema.field(name).type) for name in names)
    return replace(schema, layout="nested") if schema.layout == "events" and grouped else schema


def check_schema(
    file: Tabular,
    arrow_schema: pa.Schema,
    schema: SequenceSchema,
    keep: Sequence[str] = (),
    *,
    trained: bool = False,
    num_rows: int | None = None,
) -> None:
    """Compare a file's columns with the schema that a model needs; the order of columns does not matter.

    A column of Arrow's null type holds only nulls and is always accepted: its sequences are null.

    Args:
        file: For messages.
        arrow_schema: The file's columns.
        schema: The required schema.
        keep: Further required columns, or hive keys of the path.
        trained: Whether the schema is that of a trained model, so that no option can name other columns.
        num_rows: Rows of the file, if known. Without rows only the names are checked: the types of an empty table are a
            guess by its writer (pandas writes empty lists as double, string or null).

    Raises:
        InputError: A column is missing, or has the wrong type or width. The message names file, column, found type,
            expected type, and the remedy.
    """
    if num_rows == 0:
        _require_names(file, arrow_schema, schema, keep, trained=trained)
        return
    schema = as_stored(schema, arrow_schema)
    kind = require_column(file, arrow_schema, schema.id, "id", trained=trained).type
    _refuse_single_events(file, arrow_schema, schema, keep)
    _check_storable(file, schema.id, kind, "an id: numbers, text, bytes, times, or structs and lists of those")
    if schema.time is not None:
        require_column(file, arrow_schema, locate(arrow_schema, schema.time)[0], "time", trained=trained)
        _check_time(file, arrow_schema, schema, schema.time)
    for column in dict.fromkeys(feature.column for feature in schema.numbers):
        kind = require_column(file, arrow_schema, column, "feature", trained=trained).type
        components = [feature.component for feature in schema.numbers if feature.column == column]
        _check_column(file, column, kind, components, schema.layout)
    for field in schema.categorical:
        require_column(file, arrow_schema, field.column, "feature", trained=trained)
        _check_field(file, arrow_schema, field, schema.layout)
    for column in keep:
        if column in arrow_schema.names or column not in file.partitions:
            kind = require_column(file, arrow_schema, column, "kept").type
            _check_storable(file, column, kind, "a column that can be carried along")


def _refuse_single_events(file: Tabular, arrow_schema: pa.Schema, schema: SequenceSchema, keep: Sequence[str]) -> None:
    """Refuse rows that are events where the model reads grouped ones.

    Raises:
        InputError: The time and all other columns hold single values; the message has the line that groups them.
    """
    if schema.layout != "nested" or schema.time is None:
        return
    names = [name for name in (schema.time, *schema.feature_columns) if name in arrow_schema.names]
    kinds = [arrow_schema.field(name).type for name in names]
    if schema.time not in names or any(pa.types.is_nested(kind) or pa.types.is_null(kind) for kind in kinds):
        return
    remedy = (
        f"Group them, and pass the result: {grouping_line([file], schema, keep)}"
        if isinstance(file, InputFile)
        else f"Pass one row per '{schema.id}', with lists in time order, or write the events to Parquet and group them "
        "with seqembed.group."
    )
    raise InputError(
        f"{file.name}: rows are single events, and the model was trained on one row per '{schema.id}' with lists of "
        f"them. {remedy}"
    )


def _require_names(
    file: Tabular, arrow_schema: pa.Schema, schema: SequenceSchema, keep: Sequence[str], *, trained: bool
) -> None:
    require_column(file, arrow_schema, schema.id, "id", trained=trained)
    if schema.time is not None:
        require_column(file, arrow_schema, locate(arrow_schema, schema.time)[0], "time", trained=trained)
    for column in schema.feature_columns:
        require_column(file, arrow_schema, column, "feature", trained=trained)
    for column in keep:
        if column not in file.partitions:
            require_column(file, arrow_schema, column, "kept")


def _check_storable(file: Tabular, column: str, kind: pa.DataType, expected: str) -> None:
    if not is_storable(kind):
        refuse_column(file, column, kind, expected, "Cast views inside it to string or binary")


def _check_time(file: Tabular, arrow_schema: pa.Schema, schema: SequenceSchema, name: str) -> None:
    kind = arrow_schema.field(locate(arrow_schema, name)[0]).type
    step = time_type(arrow_schema, name, schema.layout)
    if step is not None and pa.types.is_null(step):
        return
    if step is None or not (pa.types.is_temporal(step) or is_number(step)) or pa.types.is_interval(step):
        where = "in each row" if schema.layout == "events" else "in each step of its lists (nested layout)"
        refuse_column(file, name, kind, f"a timestamp or a number {where}", "Cast it to a timestamp")
    if schema.time_zone is None:
        return
    if zone_of(step) is None:
        refuse_column(file, name, kind, "timestamps or dates, for the model's time features", "Cast it to a timestamp")
    if zone_of(step) != schema.time_zone:
        aware = schema.time_zone == "aware"
        refuse_column(
            file,
            name,
            kind,
            f"timestamps {'with' if aware else 'without'} a time zone, as the model was trained on",
            _ADD_ZONE if aware else "Cast them to local time without a zone",
        )


def _check_field(file: Tabular, arrow_schema: pa.Schema, field: CategoricalField, layout: Layout) -> None:
    kind = arrow_schema.field(field.column).type
    step = step_type(arrow_schema, field, layout)
    if pa.types.is_null(kind) or (step is not None and pa.types.is_null(step)):
        return
    found = None if step is None else value_kind(step)
    trained = None if field.vocabulary is None else field.vocabulary.kind
    if found is None or (trained is not None and found != trained):
        values = "text, integers or booleans" if trained is None else _KINDS[trained]
        where = "in each row (events layout)" if layout == "events" else "in each step of its lists (nested layout)"
        refuse_column(
            file,
            field.name,
            kind if step is None else step,
            f"categories: {values} {where}",
            "Cast it" if trained is None else "Cast it to what the model was trained on, or train again",
        )


def value_kind(kind: pa.DataType) -> ValueKind | None:
    """Return the kind of category that a type holds, plain or in a dictionary; None if it cannot be a category."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if is_string(plain):
        return "string"
    if pa.types.is_integer(plain):
        return "integer"
    return "boolean" if pa.types.is_boolean(plain) else None


def step_type(arrow_schema: pa.Schema, field: CategoricalField, layout: Layout) -> pa.DataType | None:
    """Return the type of one step of a field's column; None if the column has no such field."""
    return _step(arrow_schema.field(field.column).type, field.component, layout)


def time_type(arrow_schema: pa.Schema, name: str, layout: Layout) -> pa.DataType | None:
    """Return the type of one time in the column or struct field `name`; None if there is no such column."""
    column, component = locate(arrow_schema, name)
    index = arrow_schema.get_field_index(column)
    return None if index < 0 else _step(arrow_schema.field(index).type, component, layout)


def _step(kind: pa.DataType, component: str | None, layout: Layout) -> pa.DataType | None:
    if layout == "nested" and not pa.types.is_null(kind):
        if not is_list(kind):
            return None
        kind = kind.value_type
    if component is None or pa.types.is_null(kind):
        return kind
    if not pa.types.is_struct(kind) or kind.get_field_index(component) < 0:
        return None
    return kind.field(component).type


def _check_column(
    file: Tabular, column: str, kind: pa.DataType, components: list[str | int | None], layout: Layout
) -> None:
    if layout == "events":
        if not is_number_or_null(kind):
            refuse_column(
                file, column, kind, "a number in each row (events layout)", "Cast it, or train on other features"
            )
        return
    if pa.types.is_null(kind):
        return
    if not is_list(kind):
        refuse_column(
            file,
            column,
            kind,
            "a list in each row (nested layout)",
            "Gather each sequence into one row, or train on events",
        )
    step = kind.value_type
    if pa.types.is_null(step):
        return
    if components == [None]:
        if not is_number(step):
            refuse_column(file, column, kind, "a list of numbers", "Cast it, or train on other features")
    elif isinstance(components[0], int):
        if not (is_list(step) and is_number_or_null(step.value_type)):
            refuse_column(
                file,
                column,
                kind,
                f"a list of vectors of {len(components)} numbers",
                "Cast it, or train on other features",
            )
        if pa.types.is_fixed_size_list(step) and step.list_size != len(components):
            refuse_column(
                file,
                column,
                kind,
                f"vectors of {len(components)} numbers",
                "Use the width the model was trained on",
            )
    else:
        fields = (
            {step.field(index).name: step.field(index).type for index in range(step.num_fields)}
            if pa.types.is_struct(step)
            else {}
        )
        for component in components:
            if component not in fields:
                refuse_column(
                    file,
                    column,
                    kind,
                    f"a list of structs with the field '{component}'",
                    "Add the field, or train on other features",
                )
            if not is_number_or_null(fields[component]):
                refuse_column(
                    file, f"{column}.{component}", fields[component], "numbers", "Cast it, or train on other features"
                )


_ROLES = {
    "id": "the id column",
    "time": "the time column",
    "feature": "a feature",
    "kept": "a column to keep",
    "categorical": "a category",
    "label": "the label",
}


def require_column(
    file: Tabular, arrow_schema: pa.Schema, column: str, role: str, *, trained: bool = False
) -> pa.Field:
    """Return the field called `column`.

    Args:
        file: For messages.
        arrow_schema: The file's columns.
        column: Name of the column.
        role: Its purpose: ``id``, ``time``, ``feature``, ``categorical``, ``kept`` or ``label``.
        trained: Whether a trained model requires it, so that no option can name another.

    Raises:
        InputError: There is no such column, or more than one.
    """
    indices = arrow_schema.get_all_field_indices(column)
    if len(indices) == 1:
        return arrow_schema.field(indices[0])
    if indices:
        raise InputError(f"{file.name}: {len(indices)} columns are called '{column}'. Rename all but one.")
    there = ", ".join(arrow_schema.names[:20]) + (", …" if len(arrow_schema.names) > 20 else "")
    option = {
        "id": "--id",
        "time": "--time",
        "feature": "--features",
        "kept": "--keep",
        "categorical": "--categorical",
        "label": "--label",
    }[role]
    raise InputError(
        f"{file.name}: no column '{column}', expected as {_ROLES[role]}. The {file.noun} has: {there}. "
        + (
            "Add the column, or give it the name that the model was trained on."
            if trained and role != "kept"
            else f"Name the right one with {option}, or add the column."
        )
    )


def refuse_column(file: Tabular, column: str, found: pa.DataType | str, expected: str, remedy: str) -> NoReturn:
    """Raise for a column of the wrong type.

    Raises:
        InputError: Always.
    """
    raise InputError(f"{file.name}: column '{column}' is {found}; expected {expected}. {remedy}.")
