"""A hash of ids that is the same on every machine, run and file, computed on Arrow's buffers.

The validation split and the check that an id's events stand together use it. It is not for secrets.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that its powers never vanish modulo 2**64


def hash_ids(ids: pa.Array) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every id, uint64 (n); all nulls hash alike.

    Integers hash by value, whatever their width; text and bytes by their bytes; other types by their text.
    """
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if pa.types.is_integer(ids.type) or pa.types.is_boolean(ids.type):
        wide = pa.uint64() if ids.type == pa.uint64() else pa.int64()
        numbers = pc.fill_null(ids.cast(wide), 0).to_numpy(zero_copy_only=False)
        hashes = _mix(numbers.astype(np.uint64))
    else:
        hashes = _hash_bytes(ids)
    if ids.null_count:
        hashes[pc.is_null(ids).to_numpy(zero_copy_only=False)] = 0
    return hashes


def _hash_bytes(ids: pa.Array) -> NDArray[np.uint64]:
    binary = pa.types.is_binary(ids.type) or pa.types.is_large_binary(ids.type)
    flat = (ids if binary else ids.cast(pa.large_string())).cast(pa.large_binary())
    flat = pc.fill_null(flat, b"")
    _, offset_buffer, value_buffer = flat.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[flat.offset : flat.offset + len(flat) + 1]
    lengths = np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    if last == first:
        return _mix(lengths.astype(np.uint64))
    content = np.frombuffer(value_buffer, dtype=np.uint8)[first:last].astype(np.uint64) + np.uint64(1)
    powers = np.cumprod(np.full(int(lengths.max()), _BASE, dtype=np.uint64), dtype=np.uint64)
    places = np.arange(last - first) - np.repeat(offsets[:-1] - first, lengths)
    # A polynomial hash of each id as a difference of prefix sums: wrapping arithmetic keeps it exact.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(content * powers[places], dtype=np.uint64)])
    return _mix(sums[offsets[1:] - first] - sums[offsets[:-1] - first] + lengths.astype(np.uint64))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every input bit over the result: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014)."""
    mixed = values + np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class SeenIds:
    """Remembers the hashes of ids met, 8 bytes an id, and finds the first that comes again.

    Sorted runs are merged when they reach like size, so that adding n ids costs n·log(n) in all.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, hashes: NDArray[np.uint64]) -> int | None:
        """Add hashes, uint64 (n); return the place of the first one met before (here or earlier), or None."""
        if not len(hashes):
            return None
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        again = np.zeros(len(hashes), dtype=bool)
        again[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            places = np.searchsorted(run, ordered)
            again[order] |= run[np.minimum(places, len(run) - 1)] == ordered
        self._runs.append(ordered)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return int(np.argmax(again)) if again.any() else None
