"""Read a list of arrays (time, features) as sequences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.decode.nested import finish_block, infinite_steps
from seqembed.data.decode.steps import Steps
from seqembed.data.errors import InputError
from seqembed.data.sequences import SequenceBlock, at_most
from seqembed.runner.tables.arrow import ArrowArray, ArrowStream

_DECODE_VALUES = 1 << 20  # per block, as for files
_MAX_ROWS = 1 << 16
_NOT_NUMBERS = "cmMSU"  # kinds of numpy's types that it would cast to numbers: complex, times, text


@dataclass(frozen=True, slots=True)
class ArraySource:
    """A source of sequences from arrays; ids are indices in the list.

    Attributes:
        arrays: float32 (time, features) each.
        contract: Contract of the model.
        name: Name of the list in messages.
        keep: Always empty, since arrays have no other columns.
        noun: Kind of source, for messages.
        partitions: Always empty, since there is no path.
    """

    arrays: Sequence[NDArray[np.float32]]
    contract: ModelContract
    name: str = "the list"
    keep: tuple[str, ...] = ()
    noun: str = "list"
    partitions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def first_row(self) -> int:
        """Index of the first row, 0."""
        return 0

    def columns(self) -> pa.Schema:
        """Return the only column besides the features, the id."""
        return pa.schema([pa.field(self.contract.schema.id, pa.int64())])

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return a row without columns for each span, since there is no quarantine that needs them."""
        return [pa.RecordBatch.from_pydict({})] * len(spans)

    def fingerprint(self) -> None:
        """Return None, since data in memory has no version."""

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield the sequences in order, about `_DECODE_VALUES` numbers at a time, at most `limit`."""
        return at_most(self._blocks(), limit)

    def _blocks(self) -> Iterator[SequenceBlock]:
        width = max(1, self.contract.schema.num_features)
        first = num_values = 0
        for index, array in enumerate(self.arrays):
            size = max(1, len(array)) * width
            if index > first and (num_values + size > _DECODE_VALUES or index - first >= _MAX_ROWS):
                yield self._block(first, index)
                first, num_values = index, 0
            num_values += size
        if first < len(self.arrays):
            yield self._block(first, len(self.arrays))

    def _block(self, first: int, end: int) -> SequenceBlock:
        arrays, schema = self.arrays[first:end], self.contract.schema
        indices = np.arange(first, end)
        values = np.concatenate(list(arrays))
        return finish_block(
            Steps(values, np.empty((len(values), 0), dtype=np.int32)),
            schema,
            np.array([len(array) for array in arrays], dtype=np.int64),
            infinite_steps(values),
            pa.array(indices, pa.int64()),
            {},
            {},
            self.contract.length_policy,
            indices,
            lambda index: pa.RecordBatch.from_pydict({schema.id: [first + index]}),
        )


def array_source(data: Sequence[ArrayLike], contract: ModelContract, keep: tuple[str, ...]) -> ArraySource:
    """Return a source for arrays, checked.

    Raises:
        InputError: One is not (time, features), or the model also needs categories or times.
    """
    schema = contract.schema
    lacking = [field.name for field in schema.categorical]
    lacking += [feature.name for feature in schema.features if feature.kind == "time"]
    if lacking:
        raise InputError(
            f"the list: arrays have only numbers; the model also reads {', '.join(lacking)}. Pass a table with the "
            "columns it was trained on."
        )
    if keep:
        raise InputError(f"the list: arrays have no column '{keep[0]}' to keep. Pass a table.")
    names = ", ".join(schema.feature_names[:20]) + (", …" if schema.num_features > 20 else "")
    return ArraySource(
        [_checked(array, index, schema.num_features, names) for index, array in enumerate(data)], contract
    )


def _checked(array: ArrayLike, index: int, width: int, names: str) -> NDArray[np.float32]:
    if isinstance(array, ArrowStream | ArrowArray):
        raise InputError(
            f"the list: item {index} is a {type(array).__name__}, a table; expected an array (time, {width}), "
            f"the features in the order {names}. Pass one table of all sequences, or batches to embed_batches."
        )
    try:
        given = np.ma.filled(array.astype(np.float32), np.nan) if isinstance(array, np.ma.MaskedArray) else array
        given = np.asarray(given)
        if given.dtype.kind in _NOT_NUMBERS:
            raise TypeError(f"it has the type {given.dtype}")
        with np.errstate(over="ignore"):  # values beyond float32 become ±inf, a bad row, as in a table
            values = given.astype(np.float32, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the list: item {index} is not numeric ({error}). Pass arrays of numbers.") from error
    if values.shape == (0,):  # an empty list: a sequence without steps
        return values.reshape(0, width)
    if values.ndim != 2 or values.shape[1] != width:
        raise InputError(
            f"the list: item {index} has shape {values.shape}; expected (time, {width}), the features in the order "
            f"{names}. Reshape it."
        )
    return values
