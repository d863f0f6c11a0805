"""Hold a file's columns against the schema a model needs, before the first row is read."""

from collections.abc import Sequence
from typing import NoReturn

import pyarrow as pa

from data.arrow import is_list, is_number, is_number_or_null
from data.errors import InputError
from data.inputs import InputFile
from data.schema import Layout, SequenceSchema


def check_schema(file: InputFile, arrow_schema: pa.Schema, schema: SequenceSchema, keep: Sequence[str] = ()) -> None:
    """Hold a file's columns against the schema a model needs; the order of columns does not matter.

    Raises:
        InputError: A column is missing, of a wrong type or of another width; the message names file, column, what was
            found, what was expected, and the remedy.
    """
    require_column(file, arrow_schema, schema.id, "id")
    if schema.time is not None:
        kind = require_column(file, arrow_schema, schema.time, "time").type
        if not (pa.types.is_temporal(kind) or is_number(kind)) or pa.types.is_interval(kind):
            refuse_column(file, schema.time, kind, "a timestamp or a number", "Cast it to a timestamp")
    for column in schema.feature_columns:
        kind = require_column(file, arrow_schema, column, "feature").type
        parts = [feature.part for feature in schema.features if feature.column == column]
        _check_column(file, column, kind, parts, schema.layout)
    for column in keep:
        if column not in file.partitions:
            require_column(file, arrow_schema, column, "kept")


def _check_column(
    file: InputFile, column: str, kind: pa.DataType, parts: list[str | int | None], layout: Layout
) -> None:
    if layout == "events":
        if not is_number_or_null(kind):
            refuse_column(
                file, column, kind, "a number in each row (events layout)", "Cast it, or train on other features"
            )
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
    if parts == [None]:
        if not is_number_or_null(step):
            refuse_column(file, column, kind, "a list of numbers", "Cast it, or train on other features")
    elif isinstance(parts[0], int):
        if not (is_list(step) and is_number_or_null(step.value_type)):
            refuse_column(
                file, column, kind, f"a list of vectors of {len(parts)} numbers", "Cast it, or train on other features"
            )
        if pa.types.is_fixed_size_list(step) and step.list_size != len(parts):
            refuse_column(
                file, column, kind, f"vectors of {len(parts)} numbers", "Give the model the width it was trained on"
            )
    else:
        fields = (
            {step.field(place).name: step.field(place).type for place in range(step.num_fields)}
            if pa.types.is_struct(step)
            else {}
        )
        for part in parts:
            if part not in fields:
                refuse_column(
                    file,
                    column,
                    kind,
                    f"a list of structs with the field '{part}'",
                    "Add the field, or train on other features",
                )
            if not is_number_or_null(fields[part]):
                refuse_column(file, f"{column}.{part}", fields[part], "numbers", "Cast it, or train on other features")


def require_column(file: InputFile, arrow_schema: pa.Schema, column: str, role: str) -> pa.Field:
    """Return the field called `column`.

    Args:
        file: For messages.
        arrow_schema: The file's columns.
        column: The name looked for.
        role: What it is for: ``id``, ``time``, ``feature`` or ``kept``.

    Raises:
        InputError: There is none, or more than one.
    """
    places = arrow_schema.get_all_field_indices(column)
    if len(places) == 1:
        return arrow_schema.field(places[0])
    if places:
        raise InputError(f"{file.name}: {len(places)} columns are called '{column}'. Rename all but one.")
    there = ", ".join(arrow_schema.names[:20]) + (", …" if len(arrow_schema.names) > 20 else "")
    option = {"id": "--id", "time": "--time", "feature": "--features", "kept": "--keep"}[role]
    raise InputError(
        f"{file.name}: no column '{column}', expected as the {role} column. The file has: {there}. "
        f"Name the right one with {option}, or add the column."
    )


def refuse_column(file: InputFile, column: str, found: pa.DataType, expected: str, remedy: str) -> NoReturn:
    """Say that a column has a wrong type.

    Raises:
        InputError: Always.
    """
    raise InputError(f"{file.name}: column '{column}' is {found}; expected {expected}. {remedy}.")
