"""Candidates for features: the numbers and categories per step that a column offers, by default or by name."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.decode.arrow import is_list, is_number
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.peek import peek
from seqembed.data.schema.check import refuse_column, require_column, value_kind
from seqembed.data.schema.schema import Layout

MAX_WIDTH = 1 << 16  # maximum number of features of a model


@dataclass(frozen=True, slots=True)
class Candidate:
    """A source of one value per step.

    Attributes:
        name: Name for the user.
        column: The top-level column.
        component: Field of a struct, position in a vector, or None for the column itself.
        kind: Arrow type of the value.
    """

    name: str
    column: str
    component: str | int | None
    kind: pa.DataType

    def is_named(self, names: Collection[str]) -> bool:
        """Return whether one of `names` refers to it, by full name, column, or field."""
        return (
            self.name in names or self.column in names or (isinstance(self.component, str) and self.component in names)
        )


def is_value(kind: pa.DataType) -> bool:
    """Return whether values of a type can be numbers or categories."""
    return is_number(kind) or value_kind(kind) is not None


def inside_lists(field: pa.Field) -> Iterator[Candidate]:
    """Yield the candidates of a column in the nested layout, except vectors of variable width."""
    if not is_list(field.type):
        return
    step = field.type.value_type
    if is_value(step):
        yield Candidate(field.name, field.name, None, step)
    elif pa.types.is_struct(step):
        for index in range(step.num_fields):
            component = step.field(index)
            if is_value(component.type):
                yield Candidate(f"{field.name}.{component.name}", field.name, component.name, component.type)
    elif pa.types.is_fixed_size_list(step) and is_number(step.value_type):
        yield from _vector(field, step.list_size)


def is_open_vector(field: pa.Field) -> bool:
    """Return whether a column holds lists of vectors whose width is known only from the data."""
    kind = field.type
    return is_list(kind) and is_list(kind.value_type) and is_number(kind.value_type.value_type)


def of_column(file: InputFile, field: pa.Field, layout: Layout) -> list[Candidate]:
    """Return the candidates of a column.

    Raises:
        InputError: It has no vectors, so their width is unknown, or they are too wide.
    """
    if layout == "events":
        return [Candidate(field.name, field.name, None, field.type)] if is_value(field.type) else []
    if is_list(field.type) and is_list(field.type.value_type) and is_number(field.type.value_type.value_type):
        inner = field.type.value_type
        width = inner.list_size if pa.types.is_fixed_size_list(inner) else _peek_width(file, field.name)
        if width > MAX_WIDTH:
            expected = f"vectors of at most {MAX_WIDTH:,} numbers"
            refuse_column(file, field.name, f"vectors of {width:,} numbers", expected, "Name other --features")
        return list(_vector(field, width))
    return list(inside_lists(field))


def named(file: InputFile, arrow_schema: pa.Schema, layout: Layout, name: str, role: str) -> list[Candidate]:
    """Return the candidates that `name` refers to: a column, ``column.field``, or a field of only one struct column.

    Args:
        file: For messages.
        arrow_schema: The file's columns.
        layout: Layout of the file.
        name: Name given by the user.
        role: ``feature`` or ``categorical``, for messages.

    Raises:
        InputError: The name refers to nothing, to several columns, or to neither numbers nor categories.
    """
    if name in arrow_schema.names or layout == "events":
        field = require_column(file, arrow_schema, name, role)
        found = of_column(file, field, layout)
        if not found:
            expected = "a list of numbers, text, vectors or structs" if layout == "nested" else "a number or text"
            where = "nested" if layout == "nested" else "events"
            refuse_column(
                file, name, field.type, f"{expected} in each row ({where} layout)", "Cast it, or name other features"
            )
        return found
    inside = [
        candidate
        for field in arrow_schema
        for candidate in inside_lists(field)
        if name in (candidate.name, candidate.component)
    ]
    if len(inside) > 1:
        raise InputError(f"{file.name}: '{name}' could be {' or '.join(c.name for c in inside)}. Name the column too.")
    if not inside:
        require_column(file, arrow_schema, name, role)
    return inside


def _vector(field: pa.Field, width: int) -> Iterator[Candidate]:
    for index in range(width):
        yield Candidate(f"{field.name}.{index}", field.name, index, field.type.value_type.value_type)


def _peek_width(file: InputFile, column: str) -> int:
    """Return the width of the first vector in a column of list<list<number>>."""
    for batch in peek(file, [column]):
        widths = pc.list_value_length(batch.column(0).flatten()).drop_null()
        if len(widths):
            return int(widths[0].as_py())
    raise InputError(f"{file.name}: column '{column}' holds no vector, so its width is unknown. Name other --features.")
