"""Learn the vocabularies of a schema's categorical fields in one streaming pass, in bounded memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.decode.arrow import as_lists, leaf, plain_values
from seqembed.data.decode.ids import is_null_id, same_as_previous
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import record_batches
from seqembed.data.schema.check import check_schema
from seqembed.data.schema.schema import CategoricalField, SequenceSchema
from seqembed.data.schema.vocabulary import ValueKind, Vocabulary
from seqembed.trainer.input.heavy_hitters import HeavyHitters

DEFAULT_MIN_COUNT = 2
DEFAULT_MAX_VOCABULARY = 10_000
MAX_VOCABULARY = 1 << 20  # ids are exact in float32, and the contract is smaller than a model
MAX_VALUE_BYTES = 256  # longer text is not a category: memory and contract would depend on its length
_MIN_CAPACITY = 1 << 16
_CAPACITY_PER_VALUE = 8  # values to count per value of the vocabulary
_MIN_COVERAGE = 0.5


def learn_vocabularies(
    files: Sequence[InputFile],
    schema: SequenceSchema,
    *,
    min_count: int = DEFAULT_MIN_COUNT,
    max_vocabulary: int = DEFAULT_MAX_VOCABULARY,
    named: Collection[str] = (),
) -> tuple[SequenceSchema, tuple[str, ...]]:
    """Return `schema` with the vocabulary of every field, and notes about the fields, one line each.

    Values are counted by `heavy_hitters.py` with a capacity of eight times `max_vocabulary`, but at least
    65,536. Counts are exact up to that many distinct values; with more, a value is not missed if it is more frequent
    than one step in that many. Text of more than 256 bytes counts as unknown.

    Fields that are not in `named` are left out if they carry no information: in the events layout text that never
    changes within a sequence (it describes the sequence, like a label), and fields whose vocabulary covers less than
    half of the steps that have a value (names, free text).

    Args:
        files: The training files.
        schema: Schema from `seqembed.data.schema.detect`.
        min_count: Minimum count of a value in the vocabulary.
        max_vocabulary: Maximum number of values per field; the most frequent ones are kept.
        named: Fields, columns or struct fields that the user named.

    Raises:
        InputError: A file cannot be read, text is not UTF-8, or no column is left to learn from.
    """
    if not schema.categorical:
        return schema, ()
    capacity = max(_MIN_CAPACITY, _CAPACITY_PER_VALUE * max_vocabulary)
    counters = [_Counter(field, capacity) for field in schema.categorical]
    # Counts do not depend on the order, so the time column is not needed.
    wanted = replace(schema, features=(), time=None, time_zone=None)
    for file in files:
        parquet = file.open()
        check_schema(file, parquet.schema_arrow, wanted, num_rows=parquet.metadata.num_rows)
        last = None
        for batch in record_batches(file, parquet, wanted):
            ids = plain_values(batch.column(schema.id))
            same = _same_sequence(ids, last) if schema.layout == "events" else None
            last = ids[-1:] if len(ids) else last
            for counter in counters:
                counter.add(batch.column(counter.field.column), same, file)
    kept: list[CategoricalField] = []
    notes: list[str] = []
    for counter in counters:
        field = replace(counter.field, vocabulary=counter.vocabulary(min_count, max_vocabulary))
        reason = None if _is_named(field, named) else counter.useless(field.vocabulary)
        if reason is None:
            kept.append(field)
        notes.append(_describe(field, counter.num_values) if reason is None else _left_out(field, reason))
    if not kept and not schema.features:
        raise InputError(f"{files[0].name}: no column is left to learn from: {'; '.join(notes)}.")
    return replace(schema, categorical=tuple(kept)), tuple(notes)


def _same_sequence(ids: pa.Array, last: pa.Array | None) -> pa.Array:
    """Return for each event whether it has the same id as the previous event; `last` is the id before the first."""
    if last is None or not len(ids):
        same = np.concatenate([np.zeros(min(1, len(ids)), dtype=bool), same_as_previous(ids)])
    else:
        same = same_as_previous(pa.concat_arrays([last, ids]))
    return pa.array(same & ~is_null_id(ids))


def _shifted(values: pa.Array, last: pa.Array | None) -> pa.Array:
    """Return the previous value of each value, null for the first."""
    before = pa.nulls(min(1, len(values)), values.type) if last is None else last
    return pa.concat_arrays([before, values])[: len(values)]


def _is_named(field: CategoricalField, named: Collection[str]) -> bool:
    return field.name in named or field.column in named or field.component in named


def _left_out(field: CategoricalField, reason: str) -> str:
    return f"'{field.name}' is left out: {reason}; name it with --features to keep it"


def _describe(field: CategoricalField, num_values: int) -> str:
    vocabulary = field.vocabulary
    known = 0 if vocabulary is None else sum(vocabulary.counts)
    size = 0 if vocabulary is None else len(vocabulary.values)
    return f"'{field.name}': {size:,} values cover {known / max(num_values, 1):.2%} of the steps that have one"


class _Counter:
    """Counts the values of one field.

    Attributes:
        field: Without its vocabulary.
        num_values: Steps that have a value.
    """

    def __init__(self, field: CategoricalField, capacity: int) -> None:
        self.field = field
        self.num_values = self._num_missing = 0
        self._counts = HeavyHitters(capacity)
        self._kind: ValueKind = "string"
        self._met_pairs = self._changes = False
        self._last: pa.Array | None = None

    def add(self, column: pa.Array, same: pa.Array | None, file: InputFile) -> None:
        """Count a column; in the events layout `same` marks the events with the same id as the previous event."""
        if same is None:
            lists = as_lists(column)
            column, same = lists.flatten(), _not_first(lists)
        steps = leaf(column, self.field.component)
        if not self._changes:
            self._compare(steps, same)
        values, counts = _value_counts(steps)
        num_known = int(pc.sum(counts).as_py() or 0)
        self.num_values += num_known
        self._num_missing += len(steps) - num_known
        if not len(values):
            return
        if pa.types.is_boolean(values.type):
            self._kind = "boolean"
        elif pa.types.is_integer(values.type):
            self._kind, values = "integer", _to_int64(values, file, self.field)
        else:
            short = pc.less_equal(pc.binary_length(values), MAX_VALUE_BYTES)
            values, counts = values.filter(short).cast(pa.large_string()), counts.filter(short)
        self._counts.add(values, counts)

    def _compare(self, steps: pa.Array, same: pa.Array) -> None:
        """Detect whether values change within sequences."""
        plain = plain_values(steps)
        last = self._last if self._last is not None and self._last.type == plain.type else None
        if not len(plain) or pa.types.is_null(plain.type):
            return
        before = _shifted(plain, last)
        self._last = plain[-1:]
        missing = pc.xor(pc.is_null(plain), pc.is_null(before))
        differ = pc.or_(pc.fill_null(pc.not_equal(plain, before), False), missing)
        self._met_pairs = self._met_pairs or bool(pc.any(same).as_py())
        self._changes = bool(pc.any(pc.and_(differ, same)).as_py())

    def vocabulary(self, min_count: int, max_vocabulary: int) -> Vocabulary:
        """Return the most frequent values.

        Raises:
            InputError: A value is not UTF-8.
        """
        table = self._counts.counts().filter(pc.field("count") >= min_count)
        order = [("count", "descending"), ("value", "ascending")]
        table = table.sort_by(order).slice(0, max_vocabulary)
        counts = tuple(table["count"].to_pylist())
        try:
            values = tuple(table["value"].to_pylist())
        except UnicodeDecodeError as error:
            raise InputError(
                f"column '{self.field.name}' holds text that is not UTF-8 ({error.reason}); categories must be. "
                "Write the column again as UTF-8, or leave it out with --features."
            ) from error
        return Vocabulary(self._kind, values, counts, self.num_values - sum(counts), self._num_missing)

    def useless(self, vocabulary: Vocabulary | None) -> str | None:
        """Return why the field carries no information, or None if it may."""
        if self._met_pairs and not self._changes and self._kind == "string":
            return "its value never changes within a sequence"
        known = 0 if vocabulary is None else sum(vocabulary.counts)
        if known < _MIN_COVERAGE * self.num_values or not self.num_values:
            return f"the values that are frequent enough cover {known / max(self.num_values, 1):.0%} of its steps"
        return None


def _not_first(lists: pa.Array) -> pa.Array:
    """Return which of the values of all lists are not the first of their list, bool (values)."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    found = np.ones(int(lengths.sum()), dtype=bool)
    found[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
    return pa.array(found)


def _value_counts(steps: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the distinct values of an array, without null, and their counts, int64."""
    if pa.types.is_null(steps.type):
        return pa.array([], pa.string()), pa.array([], pa.int64())
    if pa.types.is_dictionary(steps.type):
        indices = steps.indices.drop_null().to_numpy().astype(np.int64)
        counts = np.bincount(indices, minlength=len(steps.dictionary))
        met = np.flatnonzero(counts)
        values, counted = steps.dictionary.take(pa.array(met)), pa.array(counts[met])
    else:
        found = pc.value_counts(steps)
        values, counted = found.field(0), found.field(1)
    known = pc.is_valid(values)
    return values.filter(known), counted.filter(known)


def _to_int64(values: pa.Array, file: InputFile, field: CategoricalField) -> pa.Array:
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{file.name}: categorical column '{field.name}' holds a number beyond 63 bits. Cast the column to text."
        ) from error
