"""Report which columns of a file a model uses, and why the others are left out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

import pyarrow as pa

from seqembed.data.decode.arrow import is_list, is_number, locate
from seqembed.data.schema.candidates import is_value
from seqembed.data.schema.pandas_index import index_columns
from seqembed.data.schema.schema import SequenceSchema

LINE_WIDTH = 80
_MIN_RUN = 4
_MAX_NAMES = 40


@dataclass(frozen=True, slots=True)
class Selection:
    """The used and unused columns.

    Attributes:
        numbers: Features, including time features, in model order.
        categories: Categorical fields, in model order.
        left_out: Unused columns, or ``column.field`` of partially used structs, with the reason; in file order.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]

    def lines(self, max_names: int | None = _MAX_NAMES) -> list[str]:
        """Return the selection in lines of at most `LINE_WIDTH` characters, readable for hundreds of columns.

        Args:
            max_names: Maximum names per group, where a run of numbered names counts once; None lists all.
        """
        lines = [
            *_listed(_counted(len(self.numbers), "feature"), self.numbers, max_names),
            *_listed(_counted(len(self.categories), "categorical field"), self.categories, max_names),
        ]
        if self.left_out:
            lines.append(f"{_counted(len(self.left_out), 'column')} left out:")
        for reason in dict.fromkeys(reason for _, reason in self.left_out):
            names = [name for name, its in self.left_out if its == reason]
            lines += [f"  {line}" for line in _listed(reason, names, max_names, LINE_WIDTH - 2)]
        return lines


def select(
    arrow_schema: pa.Schema,
    schema: SequenceSchema,
    *,
    asked: Collection[str] = (),
    label: str | None = None,
    categories: bool = True,
    unused: Collection[str] = (),
) -> Selection:
    """Return which columns of a file `schema` uses, and why others are left out.

    Args:
        arrow_schema: The file's columns.
        schema: The detected or learned schema.
        asked: Names given with ``--features`` or ``--categorical``; empty if defaults were used.
        label: Column that is not a feature by default.
        categories: Whether text is used.
        unused: Detected fields that carry too little information, as already reported.
    """
    left_out = []
    for field in arrow_schema:
        for name, kind in _offered(field, schema):
            if field.name == schema.id:
                reason = "the id"
            elif schema.time is not None and name in (schema.time, locate(arrow_schema, schema.time)[0]):
                reason = "the time"
            elif field.name == label:
                reason = "the label"
            elif name in unused:
                reason = "too little to learn from, as noted above"
            elif field.name in index_columns(arrow_schema):
                reason = "an index of pandas"
            elif asked:
                reason = "not named in --features"
            else:
                reason = _unsuitable(kind, schema, categories)
            left_out.append((name, reason))
    fields = tuple(field.name for field in schema.categorical)
    return Selection(schema.feature_names, fields, tuple(left_out))


def _offered(field: pa.Field, schema: SequenceSchema) -> Iterator[tuple[str, pa.DataType]]:
    """Yield the column or the struct fields that the schema does not use, with their type per row."""
    components = {feature.component for feature in schema.numbers if feature.column == field.name}
    components |= {one.component for one in schema.categorical if one.column == field.name}
    if not components:
        yield field.name, field.type
    elif any(isinstance(component, str) for component in components):
        step = field.type.value_type
        for inner in (step.field(index) for index in range(step.num_fields)):
            if inner.name not in components:
                yield f"{field.name}.{inner.name}", pa.list_(inner.type)


def _unsuitable(kind: pa.DataType, schema: SequenceSchema, categories: bool) -> str:
    """Return why a column is not used by default."""
    value = kind
    if schema.layout == "nested":
        if not is_list(kind):
            return "one value per row, not per step" if is_value(kind) else f"{_short(kind)} in each row, not per step"
        value = kind.value_type
    elif is_list(kind):
        return "a list in each row, which is one event"
    if is_value(value) and not is_number(value) and not categories:
        return "text; this model uses numbers"
    where = "a list of " if schema.layout == "nested" else ""
    if pa.types.is_timestamp(value) and schema.time is None:
        return f"{where}{_short(value)}; pass --time to order the steps by it and to learn from it"
    return f"{where}{_short(value)}, neither numbers nor text"


def _short(kind: pa.DataType) -> str:
    if pa.types.is_null(kind):
        return "only nulls"
    if pa.types.is_map(kind):
        return "map"
    if pa.types.is_struct(kind):
        return "struct"
    return "list" if is_list(kind) else str(kind)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def grouped_names(title: str, names: Sequence[str]) -> list[str]:
    """Return ``title: a, b, f0 … f99`` in lines of at most `LINE_WIDTH` characters, less an indent of two."""
    return _listed(title, names, None, LINE_WIDTH - 2)


def _listed(title: str, names: Sequence[str], max_names: int | None, width: int = LINE_WIDTH) -> list[str]:
    if not names:
        return []
    shown = _runs([name if name.strip() and name.isprintable() else repr(name) for name in names])
    if max_names is not None and len(shown) > max_names:
        more = sum(count for _, count in shown[max_names:])
        shown = [*shown[:max_names], (f"and {more:,} more", more)]
    # Do not break lines within a name or a run, so that a log can be searched for names.
    words = [f"{name},".replace(" ", "\0") for name, _ in shown]
    text = f"{title}: {' '.join(words)}"[:-1]
    lines = wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _runs(names: Sequence[str]) -> list[tuple[str, int]]:
    """Return names with their counts, where ``f0 … f99`` replaces a run of names with consecutive numbers."""
    found: list[tuple[str, int]] = []
    index = 0
    while index < len(names):
        end = index + 1
        while end < len(names) and _follows(names[end - 1], names[end]):
            end += 1
        if end - index >= _MIN_RUN:
            found.append((f"{names[index]} … {names[end - 1]}", end - index))
        else:
            found += [(name, 1) for name in names[index:end]]
        index = end
    return found


def _follows(name: str, following: str) -> bool:
    before, after = _split(name), _split(following)
    if before is None or after is None or before[0] != after[0]:
        return False
    # Numbers padded with zeros keep their width (f08, f09, f10); others need not (f9, f10).
    return int(after[1]) == int(before[1]) + 1 and after[1] == str(int(before[1]) + 1).zfill(len(before[1]))


def _split(name: str) -> tuple[str, str] | None:
    digits = len(name) - len(name.rstrip("0123456789"))
    return (name[:-digits], name[-digits:]) if 0 < digits < 10 else None
