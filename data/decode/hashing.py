"""A hash of ids that is equal on every machine, run and file, computed on Arrow's buffers.

The validation split and the check that the events of an id are contiguous use it. It is not cryptographic.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import plain_values
from seqembed.data.decode.ids import list_spans, stored_values

_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that its powers never vanish modulo 2**64
_PIECE: Final = 1 << 20  # numbers hashed at a time


def hash_ids(ids: pa.Array) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every id, uint64 (n); null and NaN have the same hash.

    Equal ids have equal hashes, however a column is sliced, dictionary-encoded or stored in views. Integers hash by
    value, whatever their width; text and bytes by their bytes; structs, lists and maps by the hashes of their elements;
    other types by their text.
    """
    return _hash_values(plain_values(ids))


def _hash_values(values: pa.Array) -> NDArray[np.uint64]:
    """Return a hash of every value of a plain array, uint64 (n)."""
    values = stored_values(values)
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), dtype=np.uint64)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        wide = pa.uint64() if kind == pa.uint64() else pa.int64()
        numbers = pc.fill_null(values.cast(wide), 0).to_numpy(zero_copy_only=False)
        hashes = mix(numbers.astype(np.uint64))
    elif pa.types.is_struct(kind):
        hashes = _hash_structs(values)
    elif pa.types.is_nested(kind):
        hashes = _hash_lists(values)
    else:
        hashes = _hash_bytes(_as_binary(values))
    missing = pc.is_null(values, nan_is_null=True)
    if pc.any(missing).as_py():
        hashes[missing.to_numpy(zero_copy_only=False)] = 0
    return hashes


def _hash_structs(values: pa.StructArray) -> NDArray[np.uint64]:
    hashes = np.zeros(len(values), dtype=np.uint64)
    for index in range(values.type.num_fields):
        hashes = mix(hashes * np.uint64(_BASE) + _hash_values(values.field(index)))
    return hashes


def _hash_lists(values: pa.Array) -> NDArray[np.uint64]:
    starts, lengths, elements = list_spans(values)
    lengths = np.where(pc.is_valid(values).to_numpy(zero_copy_only=False), lengths, 0)
    ends = np.cumsum(lengths)
    indices = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    hashes = _hash_values(elements.take(pa.array(indices + np.repeat(starts, lengths))))
    return _fold(hashes, np.concatenate([np.zeros(1, np.int64), ends]))


def _as_binary(values: pa.Array) -> pa.Array:
    """Return text and bytes unchanged, and other values as text, all as large_binary (n)."""
    kind = values.type
    if pa.types.is_fixed_size_binary(kind):
        return values.cast(pa.binary()).cast(pa.large_binary())
    if pa.types.is_floating(kind):
        values = pc.add(values, pa.scalar(0, kind))  # -0.0 equals 0.0, so its text must be equal, too
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        try:
            values = values.cast(pa.large_string())
        except pa.ArrowInvalid:
            if not pa.types.is_timestamp(kind):
                raise
            # This host does not know the time zone: the text of the instant in UTC is as unique.
            values = values.cast(pa.timestamp(kind.unit)).cast(pa.large_string())
    return values.cast(pa.large_binary())


def _hash_bytes(values: pa.Array) -> NDArray[np.uint64]:
    """Return a hash of each value of a large_binary array by its bytes, uint64 (n)."""
    flat = pc.fill_null(values, b"")
    _, offset_buffer, value_buffer = flat.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[flat.offset : flat.offset + len(flat) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    content = np.zeros(0, dtype=np.uint8) if last == first else np.frombuffer(value_buffer, dtype=np.uint8)[first:last]
    return _fold(content, offsets - first)


def _fold(content: NDArray[np.unsignedinteger], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of each run of numbers and its length, uint64 (n); `offsets` are int64 (n + 1)."""
    lengths = np.diff(offsets)
    if not len(content):
        return mix(lengths.astype(np.uint64))
    powers = np.cumprod(np.full(min(int(lengths.max()), _PIECE), _BASE, dtype=np.uint64), dtype=np.uint64)
    sums = np.zeros(len(lengths), dtype=np.uint64)
    first = 0
    while first < len(lengths):
        last = max(int(np.searchsorted(offsets, offsets[first] + _PIECE, side="right")) - 1, first + 1)
        piece = content[offsets[first] : offsets[last]]
        if len(piece) <= _PIECE:
            sums[first:last] = _run_sums(piece, offsets[first : last + 1] - offsets[first], powers)
        else:
            sums[first] = _long_sum(piece, powers)
        first = last
    return mix(sums + lengths.astype(np.uint64))


def _run_sums(
    content: NDArray[np.unsignedinteger], offsets: NDArray[np.int64], powers: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the polynomial hash of each run of numbers, uint64 (n); it needs several times eight bytes per number."""
    numbers = content.astype(np.uint64) + np.uint64(1)
    indices = np.arange(len(content)) - np.repeat(offsets[:-1], np.diff(offsets))
    # A polynomial hash of each run as a difference of prefix sums: wrapping arithmetic keeps it exact.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(numbers * powers[indices], dtype=np.uint64)])
    result: NDArray[np.uint64] = sums[offsets[1:]] - sums[offsets[:-1]]
    return result


def _long_sum(content: NDArray[np.unsignedinteger], powers: NDArray[np.uint64]) -> int:
    """Return the polynomial hash of one run that is longer than a piece."""
    total = 0
    for start in range(0, len(content), _PIECE):
        numbers = content[start : start + _PIECE].astype(np.uint64) + np.uint64(1)
        piece = int(np.sum(numbers * powers[: len(numbers)], dtype=np.uint64))
        total += piece * pow(_BASE, start, 1 << 64)
    return total % (1 << 64)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of each number: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014)."""
    mixed = values + np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class SeenIds:
    """Remembers the hashes of ids, 8 bytes per id, and finds the first repeated one.

    Sorted runs are merged when they reach similar size, so that adding n ids costs n·log(n) in total.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, hashes: NDArray[np.uint64]) -> int | None:
        """Add hashes, uint64 (n); return the index of the first one that occurred before, or None."""
        if not len(hashes):
            return None
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        again = np.zeros(len(hashes), dtype=bool)
        again[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            indices = np.searchsorted(run, ordered)
            again[order] |= run[np.minimum(indices, len(run) - 1)] == ordered
        self._runs.append(ordered)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return int(np.argmax(again)) if again.any() else None
