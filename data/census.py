"""Find ids that stand in several places, in memory that does not grow with the data.

In the events layout an id whose events lie in several files would get one vector for each file, none of them of its
whole history. In the nested layout two rows may share an id; they are counted and reported.

Every id is hashed; what is kept is the ids whose hash lies below a bound, which is halved whenever too many are kept.
So each id that is kept was seen in every place it stands in: sharing among those is exact, and as the hash has nothing
to do with the data they are a fair sample of all. While no more than the capacity come, they are all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import InputError
from data.hashing import hash_ids
from data.ids import id_text, is_null_id, same_as_previous
from data.inputs import InputFile, is_local
from data.reader import record_batches
from data.schema import SequenceSchema

EVENTS_CAPACITY = 1 << 21
ROWS_CAPACITY = 1 << 18
_SHOWN_FILES = 3


@dataclass(frozen=True, slots=True)
class SharedIds:
    """Ids that stand in several places.

    Attributes:
        num_shared: How many; an estimate where `share_seen` is below 1.
        num_ids: Different ids in all; likewise.
        share_seen: Share of the ids that were kept.
    """

    num_shared: int
    num_ids: int
    share_seen: float

    @property
    def text(self) -> str:
        """The counts in words."""
        about = "" if self.share_seen == 1 else "about "
        share = self.num_shared / max(1, self.num_ids)
        return f"{about}{self.num_shared:,} of {self.num_ids:,} ids ({share:.1%})"


class IdCensus:
    """Counts different ids, and those that come again.

    Args:
        capacity: Most ids kept, 8 bytes each; twice as many for a moment.
    """

    def __init__(self, capacity: int = ROWS_CAPACITY) -> None:
        """Begin with nothing."""
        self._capacity = capacity
        self._halvings = 0
        self._kept = np.empty(0, np.uint64)  # sorted, each once
        self._shared = np.empty(0, np.uint64)  # likewise, among the kept
        self._waiting: list[NDArray[np.uint64]] = []
        self._num_waiting = 0

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Add the hashes of ids, uint64 (n), by `hash_ids`: each stands for a place of its own."""
        kept = self._sampled(hashes)
        self._waiting.append(kept)
        self._num_waiting += len(kept)
        if self._num_waiting >= self._capacity // 2:
            self._merge()

    def add_place(self, hashes: NDArray[np.uint64]) -> None:
        """Add the hashes of ids, uint64 (n), that all stand in one place, such as a file: there none counts twice."""
        self._merge()
        self._waiting, self._num_waiting = [np.unique(self._sampled(hashes))], len(hashes)
        self._merge()

    def met(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which hashes, uint64 (n), were added before, as far as they are kept: bool (n)."""
        self._merge()
        if not len(self._kept):
            return np.zeros(len(hashes), dtype=bool)
        places = np.minimum(np.searchsorted(self._kept, hashes), len(self._kept) - 1)
        found: NDArray[np.bool_] = self._kept[places] == hashes
        return found

    def result(self) -> SharedIds:
        """Return what was found so far."""
        self._merge()
        factor = 1 << self._halvings
        return SharedIds(len(self._shared) * factor, len(self._kept) * factor, 1 / factor)

    def _sampled(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes if not self._halvings else hashes[hashes >> np.uint64(64 - self._halvings) == 0]

    def _merge(self) -> None:
        if not self._waiting:
            return
        merged = np.sort(np.concatenate([self._kept, *self._waiting]), kind="stable")
        again = merged[1:][merged[1:] == merged[:-1]]
        self._shared = np.unique(np.concatenate([self._shared, again]))
        self._kept = merged[np.concatenate([[True], merged[1:] != merged[:-1]])] if len(merged) else merged
        self._waiting, self._num_waiting = [], 0
        while len(self._kept) > self._capacity:
            self._halvings += 1
            self._kept, self._shared = self._sampled(self._kept), self._sampled(self._shared)


def refuse_ids_in_several_files(
    files: Sequence[InputFile], schema: SequenceSchema, capacity: int = EVENTS_CAPACITY
) -> None:
    """Refuse events whose ids lie in several files; nested rows and single files pass without being read.

    Only the id column is read.

    Args:
        files: All files of the input.
        schema: Which column is the id.
        capacity: See `IdCensus`.

    Raises:
        InputError: Names an id, two files that hold it, how many ids are concerned, and the remedy.
    """
    if schema.layout != "events" or len(files) < 2:
        return
    census = IdCensus(capacity)
    of_file: list[NDArray[np.uint64]] = []  # a sample of each file's ids, to name the first file of a shared one
    found: tuple[str, np.uint64, InputFile] | None = None
    for file in files:
        mine: list[NDArray[np.uint64]] = []
        for ids in _first_ids(file, schema):
            hashes = hash_ids(ids)
            if found is None and (met := census.met(hashes)).any():
                place = int(np.argmax(met))
                found = str(id_text(ids[place])), hashes[place], file
            mine.append(hashes)
        hashes = np.concatenate(mine) if mine else np.empty(0, np.uint64)
        census.add_place(hashes)
        if found is None:
            of_file.append(np.sort(census.kept(hashes)))
    if found is None:
        return
    text, value, second = found
    first = next(file for file, hashes in zip(files, of_file, strict=False) if value in hashes)
    raise InputError(
        f"{second.name}: the events of {schema.id} = {text!r} lie in {first.name}, too; {census.result().text} have "
        f"events in more than one of {len(files):,} files, and each would get one vector for each file. Bring the "
        f"events of an id together first, e.g. in DuckDB: {duckdb_line(files, schema)}"
    )


def _first_ids(file: InputFile, schema: SequenceSchema) -> "Sequence[pa.Array]":
    raise NotImplementedError
