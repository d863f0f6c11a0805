"""Which columns of the files make the events, and the types that they have in all files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from seqembed.data.decode.arrow import is_number, is_storable, plain_type
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.plurals import counted, verb
from seqembed.data.schema.check import require_column
from seqembed.data.schema.pandas_index import index_columns
from seqembed.runner.group.carried import NotCarriedError, carrier_type
from seqembed.runner.group.options import EXACT, GroupOptions

Schemas = Sequence[tuple[InputFile, pa.Schema]]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The columns of an event, with their types.

    Attributes:
        id: The id.
        time: The time.
        kept: Columns of which a row gets the newest value.
        features: Columns that become lists.
        compared: Columns that only `--deduplicate` compares.
        left_out: Why columns that some files lack are left out, for the user, by name.
    """

    id: pa.Field
    time: pa.Field
    kept: tuple[pa.Field, ...]
    features: tuple[pa.Field, ...]
    compared: tuple[pa.Field, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[pa.Field, ...]:
        """The columns in the order in which they travel."""
        return (self.id, self.time, *self.kept, *self.features, *self.compared)

    @property
    def carried(self) -> pa.Schema:
        """The columns as they travel, under names that no user chose: c0 is the id, c1 the time, the last one a number.

        DuckDB ignores upper and lower case in names, and refuses some.
        """
        fields = [pa.field(f"c{index}", carrier_type(field.type)) for index, field in enumerate(self.all)]
        return pa.schema([*fields, pa.field("number", pa.int64())])

    @property
    def output(self) -> pa.Schema:
        """The columns of the output: id, kept columns, lists of times and features."""
        lists = [pa.field(field.name, pa.list_(field.type)) for field in (self.time, *self.features)]
        return pa.schema([self.id, *self.kept, *lists])

    @property
    def names(self) -> list[str]:
        """Names in order, for the hash of the options."""
        return [field.name for field in self.all]

    @property
    def types(self) -> list[str]:
        """Types in the same order; a late file may change them, as from int16 to int64."""
        return [str(field.type) for field in self.all]

    def index(self, name: str) -> int:
        """Return the position of a column among those that travel."""
        return self.names.index(name)


def event_columns(schemas: Schemas, options: GroupOptions) -> EventColumns:
    """Return the columns of the events of all files.

    Args:
        schemas: Every file with its columns; those of files without rows count only where no other file has rows.
        options: Options of the job.

    Raises:
        InputError: A file lacks a column, has it with a type that does not fit the other files, or a type is refused.
    """
    counts = Counter(name for _, schema in schemas for name in dict.fromkeys(schema.names))
    named = [options.id, options.time, *options.keep]
    first = schemas[0][1].names
    compared = [] if options.deduplicate == (EXACT,) else list(options.deduplicate)
    common = [name for name in first if counts[name] == len(schemas)]
    indices = {name for _, schema in schemas for name in index_columns(schema)}
    features = list(options.features) or [name for name in common if name not in named and name not in indices]
    lacking = [name for name in counts if counts[name] < len(schemas) and name not in named]
    left_out = {} if options.features else {name: _left_out(schemas, name, counts[name]) for name in lacking}
    used = [*named, *features]
    _check_compared(schemas, compared)
    more = [name for name in dict.fromkeys(compared) if name not in used]
    fields = {name: _field(schemas, name, _role(name, options)) for name in [*used, *more]}
    _check_id(schemas[0][0], fields[options.id])
    _check_time(schemas[0][0], fields[options.time])
    if not features:
        raise InputError(
            f"{schemas[0][0].name}: beside the id, the time and the kept columns there is no column that all files "
            "have. Name --features."
        )

    def chosen(names: Sequence[str]) -> tuple[pa.Field, ...]:
        return tuple(fields[name] for name in names)

    return EventColumns(
        fields[options.id], fields[options.time], chosen(options.keep), chosen(features), chosen(more), left_out
    )


def _left_out(schemas: Schemas, name: str, num_with: int) -> str:
    """Return why a column is left out, with one of the files that lack it, or that have it where those are fewer."""
    num = len(schemas)
    if num_with <= num / 2:
        having = next(file for file, schema in schemas if name in schema.names)
        found = f"only {num_with:,} of {counted(num, 'file')} {verb(num_with, 'has', 'have')} it"
        return f"column '{name}' is left out, since {found}, such as {having.name}"
    lacking = next(file for file, schema in schemas if name not in schema.names)
    without = num - num_with
    found = f"{without:,} of {counted(num, 'file')} {verb(without, 'lacks', 'lack')} it"
    return f"column '{name}' is left out, since {found}, such as {lacking.name}"


def _check_compared(schemas: Schemas, compared: Sequence[str]) -> None:
    for file, schema in schemas:
        missing = next((name for name in compared if name not in schema.names), None)
        if missing is not None:
            raise InputError(
                f"{file.name}: no column '{missing}', which --deduplicate names. The file has: "
                f"{', '.join(schema.names[:20])}."
            )


def _role(name: str, options: GroupOptions) -> str:
    if name in (options.id, options.time):
        return "id" if name == options.id else "time"
    return "kept" if name in options.keep else "feature"


def _field(schemas: Schemas, name: str, role: str) -> pa.Field:
    """Return a column with the type that holds its values in all files."""
    found: pa.DataType | None = None
    where = schemas[0][0]
    for file, schema in schemas:
        if schema.names.count(name) > 1:
            raise InputError(f"{file.name}: there are several columns '{name}'. Rename them.")
        if role == "kept" and name not in schema.names and name in file.partitions:
            kind: pa.DataType = pa.string()
        else:
            kind = _named(require_column(file, schema, name, role).type)
        joined = kind if found is None else _joined(found, kind)
        if joined is None:
            raise InputError(
                f"{file.name}: column '{name}' is {kind}; in {where.name} it is {found}. Cast it to one "
                "type in all files."
            )
        where = file if joined != found else where
        found = joined
    kind = pa.null() if found is None else found
    _check_carried(where, name, kind)
    return pa.field(name, kind)


def _named(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column in the output: its own, but plain text and bytes instead of large ones and views.

    Programs write text with large offsets or without, as Delta's deletes and appends do: that does not change the
    output. Dictionaries get indices of 32 bits, since those of several files together may hold more values
    than one.
    """
    if not pa.types.is_dictionary(kind) or pa.types.is_nested(kind.value_type):
        return _small(plain_type(kind))
    return pa.dictionary(pa.int32(), _small(plain_type(kind.value_type)), ordered=kind.ordered)


def _small(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both without a change; None if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    plain = [plain_type(kind) for kind in (one, other)]
    if plain[0] == plain[1]:
        return plain[0]
    if (times := _joined_times(*plain)) is not None:
        return times
    for family in (pa.types.is_signed_integer, pa.types.is_unsigned_integer, pa.types.is_floating):
        if all(map(family, plain)):
            return max(plain, key=lambda kind: int(kind.bit_width))
    return None


def _joined_times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return times in the finer unit of both; None if they are not of one kind, or only one has a zone."""
    types = pa.types
    if not any(all(map(kind, (one, other))) for kind in (types.is_timestamp, types.is_duration, types.is_time)):
        return None
    unit = max(one.unit, other.unit, key=("s", "ms", "us", "ns").index)
    if types.is_duration(one):
        return pa.duration(unit)
    if types.is_time(one):
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if (one.tz is None) != (other.tz is None):
        return None
    return pa.timestamp(unit, one.tz if one.tz == other.tz else "UTC")  # the same instants, whatever zone a file names


def _check_carried(file: InputFile, name: str, kind: pa.DataType) -> None:
    try:
        carrier_type(kind)
        refused = not is_storable(kind)
    except NotCarriedError:
        refused = True
    if refused:
        raise InputError(
            f"{file.name}: column '{name}' is {kind}; DuckDB would not return its values unchanged. Expected numbers, "
            "booleans, text, bytes, times, decimals, or structs and lists of numbers and text. Cast it, or leave it "
            "out with --features and --keep."
        )


def _check_id(file: InputFile, field: pa.Field) -> None:
    kind = plain_type(field.type)
    if pa.types.is_decimal(kind) and not pa.types.is_decimal128(carrier_type(kind)):
        raise InputError(f"{file.name}: the id column '{field.name}' is {kind}; expected at most 38 digits. Cast it.")


def _check_time(file: InputFile, field: pa.Field) -> None:
    kind = plain_type(field.type)
    ordered = pa.types.is_temporal(kind) or (is_number(kind) and not pa.types.is_boolean(kind))
    if not (ordered or pa.types.is_null(kind)) or pa.types.is_large_binary(carrier_type(kind)):
        raise InputError(
            f"{file.name}: the time column '{field.name}' is {field.type}; expected timestamps, dates or numbers. "
            "Cast it to a timestamp."
        )
