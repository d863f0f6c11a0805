"""Find ids that occur in several files or rows, in memory that does not grow with the data.

In the events layout an id with events in several files would get one vector per file, none of its complete history:
that is refused. In the nested layout several rows may share an id; they are counted and reported.

Every id is hashed. Only ids whose hash is below a bound are kept, and the bound is halved whenever too many are kept.
So each kept id was looked for in all sources, and since the hash is independent of the data, the kept ids are a uniform
sample. As long as there are no more ids than the capacity, all are kept and all counts are exact.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.decode.arrow import is_string, plain_type, plain_values
from seqembed.data.decode.events import scattered_events
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import equal_values, id_text, is_null_id, quoted_id, same_as_previous
from seqembed.data.errors import BadFileError, InputError
from seqembed.data.files.grouping import grouping_line, grouping_remedy
from seqembed.data.files.inputs import InputFile, OpenedFile
from seqembed.data.parquet.reader import ids_of_events, rows_before
from seqembed.data.schema.check import as_stored
from seqembed.data.schema.schema import SequenceSchema

FILES_CAPACITY = 1 << 21
ROWS_CAPACITY = 1 << 18
_NO_HASHES: NDArray[np.uint64] = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class SharedIds:
    """Number of ids that occur in several sources.

    Attributes:
        num_shared: Ids that occur in several sources; an estimate if `is_exact` is false.
        num_ids: Distinct ids; an estimate if `is_exact` is false.
        is_exact: Whether every id was kept.
    """

    num_shared: int
    num_ids: int
    is_exact: bool = True

    def __str__(self) -> str:
        """Return the counts in words."""
        about = "" if self.is_exact else "about "
        share = self.num_shared / max(1, self.num_ids)
        return f"{about}{self.num_shared:,} of {self.num_ids:,} ids ({share:.1%})"


class IdCensus:
    """Counts distinct ids, and ids that occur in more than one source; a source is a row or a file."""

    def __init__(self, capacity: int = ROWS_CAPACITY) -> None:
        """Keep up to `capacity` ids of 12 bytes, and up to half as many in a buffer."""
        self._capacity = capacity
        self._halvings = 0
        self._hashes = _NO_HASHES  # sorted, unique
        self._sources = np.empty(0, np.int32)  # first source of each hash
        self._shared = _NO_HASHES  # sorted, unique, a subset of the hashes
        self._waiting: list[NDArray[np.uint64]] = []
        self._num_waiting = 0

    def add_rows(self, hashes: NDArray[np.uint64]) -> None:
        """Add ids by their hashes, uint64 (n), each from a separate source."""
        self._wait(hashes)
        if self._num_waiting >= self._capacity // 2:
            self._sort_in(source=0, rows_are_sources=True)

    def add(self, other: "IdCensus") -> None:
        """Add the rows that another census counted; the result is as if all had been added to one.

        An id that occurred in several of those rows is added exactly twice.
        """
        other._sort_in(source=0, rows_are_sources=True)
        if other._halvings > self._halvings:
            self._sort_in(source=0, rows_are_sources=True)
            while other._halvings > self._halvings:
                self._halve()
        self.add_rows(other._hashes)
        self.add_rows(other._shared)

    def first_source(self, hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the first source of each hash, uint64 (n), as int32 (n); -1 if it is new, or not kept."""
        if not len(self._hashes):
            return np.full(len(hashes), -1, np.int32)
        found = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.where(self._hashes[found] == hashes, self._sources[found], np.int32(-1))

    def add_to_source(self, hashes: NDArray[np.uint64]) -> None:
        """Add ids, uint64 (n), of the current source, until `end_source`; repetitions within a source do not count."""
        self._wait(hashes)
        while self._num_waiting > self._capacity:
            held, _ = _distinct(np.concatenate(self._waiting))
            if len(held) > self._capacity:
                self._halve()
                held = self._sampled(held)
            self._waiting, self._num_waiting = [held], len(held)

    def forget_source(self) -> None:
        """Discard the ids of the current source."""
        self._waiting, self._num_waiting = [], 0

    def end_source(self, source: int) -> None:
        """Finish the current source under the number `source`."""
        self._sort_in(source, rows_are_sources=False)

    def result(self) -> SharedIds:
        """Return the counts so far."""
        if self._waiting:
            self._sort_in(source=0, rows_are_sources=True)
        factor = 1 << self._halvings
        return SharedIds(len(self._shared) * factor, len(self._hashes) * factor, self._halvings == 0)

    def _wait(self, hashes: NDArray[np.uint64]) -> None:
        kept = self._sampled(hashes)
        self._waiting.append(kept)
        self._num_waiting += len(kept)

    def _sort_in(self, source: int, *, rows_are_sources: bool) -> None:
        new, is_repeated = _distinct(np.concatenate([_NO_HASHES, *self._waiting]))
        self._waiting, self._num_waiting = [], 0
        known = self.first_source(new) >= 0
        again = known | is_repeated if rows_are_sources else known
        self._shared, _ = _distinct(np.concatenate([self._shared, new[again]]))
        new = new[~known]
        at = np.searchsorted(self._hashes, new)
        self._hashes = np.insert(self._hashes, at, new)
        self._sources = np.insert(self._sources, at, np.int32(source))
        while len(self._hashes) > self._capacity:
            self._halve()

    def _halve(self) -> None:
        self._halvings += 1
        kept = self._is_sampled(self._hashes)
        self._hashes, self._sources = self._hashes[kept], self._sources[kept]
        self._shared = self._sampled(self._shared)

    def _sampled(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes[self._is_sampled(hashes)] if self._halvings else hashes

    def _is_sampled(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        sampled: NDArray[np.bool_] = hashes >> np.uint64(64 - self._halvings) == 0
        return sampled


def _distinct(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the distinct hashes, uint64 (n), sorted, and which of them occur more than once, bool (n).

    `numpy.unique` imports numpy.ma, which takes a twentieth of a small run.
    """
    ordered = np.sort(hashes)
    first = np.concatenate([np.ones(min(1, len(ordered)), dtype=bool), ordered[1:] != ordered[:-1]])
    last = np.concatenate([first[1:], np.ones(min(1, len(ordered)), dtype=bool)])
    return ordered[first], ~last[first]


def refuse_ids_in_several_files(
    files: Sequence[InputFile],
    schema: SequenceSchema,
    capacity: int = FILES_CAPACITY,
    take: Callable[[InputFile], pa.NativeFile | None] | None = None,
    skip_bad_files: bool = False,
    max_rows: int | None = None,
    keep: Sequence[str] = (),
    slices: Mapping[str, Sequence[range]] | None = None,
) -> None:
    """Refuse events of one id in several files or, apart, in several slices of a file.

    Nested rows and single files in one slice are accepted without being read.

    Only the id column is read.

    Args:
        files: All files of the input, columns checked.
        schema: Which column is the id.
        capacity: Maximum number of ids to keep, see `IdCensus`.
        take: Hands over a file that is open already, or None, so that it is not opened once more.
        skip_bad_files: Whether to skip unreadable files, which are reported later, when they are embedded.
        max_rows: Maximum number of rows to read; files that would exceed it are skipped. None reads all.
        keep: Kept columns, for the remedy.
        slices: Ranges of row groups of files that are read in several slices, by location.

    Raises:
        BadFileError: A file cannot be read.
        InputError: Events of one id are in several files: the message names an id, two of its files, the number of such
            ids, and the remedy. Or the ids of two files have types that cannot be compared.
    """
    slices = slices or {}
    if schema.layout != "events" or (len(files) < 2 and not slices):
        return
    census, left = IdCensus(capacity), max_rows
    sources: list[InputFile] = []
    example: tuple[str | None, str, str] | None = None
    kinds: dict[str, InputFile] = {}
    for file in files:
        try:
            parquet = file.open(source=None if take is None else take(file))
            if left is not None:
                if parquet.metadata.num_rows > left:
                    continue
                left -= parquet.metadata.num_rows
            if as_stored(schema, parquet.schema_arrow).layout == "nested":
                continue
            if parquet.metadata.num_rows:
                kinds.setdefault(_kind(parquet.schema_arrow.field(schema.id).type), file)
            ends = [rows_before(parquet, range(part.stop, part.stop)) for part in slices.get(file.location, ())]
            for ids, rows in _ids_of_runs(file, parquet, schema):
                while len(ends) > 1 and rows[0] >= ends[0]:  # record batches do not cross row groups
                    census.end_source(len(sources))
                    sources.append(file)
                    del ends[0]
                hashes = hash_ids(ids)
                first = census.first_source(hashes)
                if example is None and (first >= 0).any():
                    row = int(np.argmax(first >= 0))
                    before = sources[int(first[row])]
                    if before is file:
                        remedy = grouping_remedy(file, schema, keep)
                        raise scattered_events(file.name, schema.id, ids[row], int(rows[row]), remedy)
                    example = id_text(ids[row]), before.name, file.name
                census.add_to_source(hashes)
        except BadFileError:
            if not skip_bad_files:
                raise
            census.forget_source()
        census.end_source(len(sources))
        sources.append(file)
    _refuse_kinds(kinds, schema.id)
    if example is not None:
        text, first_name, second_name = example
        raise InputError(
            f"{second_name}: events of {schema.id} = {quoted_id(text)} also lie in {first_name}. {census.result()} "
            f"have events in more than one of {len(files):,} files; each would get one vector per file. "
            f"Bring the events of an id together first: {grouping_line(files, schema, keep)}"
        )


def _kind(kind: pa.DataType) -> str:
    """Return the kind of a column's ids in words; ids of different kinds never compare equal."""
    kind = plain_type(kind)
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_integer(kind):
        return "integers"
    if is_string(kind):
        return "text"
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return "bytes" if is_bytes else str(kind)


def _refuse_kinds(kinds: Mapping[str, InputFile], column: str) -> None:
    """Refuse files with different kinds of ids: the same id may be 7 in one file and 7.0 in another.

    Raises:
        InputError: There are two kinds.
    """
    known = [(kind, file) for kind, file in kinds.items() if kind != "null"]
    if len(known) > 1:
        (kind, file), (other, second) = known[:2]
        raise InputError(
            f"{second.name}: the id column '{column}' holds {other}, in {file.name} it holds {kind}, so an id could "
            "not be recognised in both files. Cast the column to one type in all files."
        )


def _ids_of_runs(
    file: InputFile, parquet: OpenedFile, schema: SequenceSchema
) -> Iterator[tuple[pa.Array, NDArray[np.int64]]]:
    """Yield the id and first row of each run of equal ids of a file, some at a time, without events that have none."""
    row, last = 0, None
    for ids in ids_of_events(file, parquet, schema):
        begins = last is None or not equal_values(plain_values(ids[:1]), last)[0]
        starts = np.flatnonzero(np.concatenate([[begins], ~same_as_previous(ids)]) & ~is_null_id(ids))
        if len(starts):
            yield ids.take(pa.array(starts)) if len(starts) < len(ids) else ids, row + starts
        row, last = row + len(ids), plain_values(ids[-1:])
