"""Where workers write: below ``_temporary/<run id>/<attempt>/``, under the name that a file will have once published.

Every attempt at a part has files of its own, so that two of them, on two hosts, never write to one. A worker closes a
file, syncs it and reads it back, and says so in a `StagedPart`; only whoever holds the lock of the directory publishes.
"""

import posixpath
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import OutputError, SeqembedError
from seqembed.data.files.census import IdCensus
from seqembed.runner.output.badrows import QUARANTINE
from seqembed.runner.output.parts import FOOTER_KEY, PartCounts, PartFooter
from seqembed.runner.output.storage import Storage
from seqembed.runner.output.write_out import WriteOut
from seqembed.runner.output.writer import PartWriter

TEMPORARY = "_temporary"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that was read back.

    Attributes:
        name: Where it belongs, below the output directory.
        staged: Where it is, likewise.
        num_bytes: Its size.
    """

    name: str
    staged: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class StagedPart:
    """What a worker reports of one attempt at a part; picklable.

    Attributes:
        name: Of the part, below the output directory.
        attempt: Which one, from 1.
        files: The part, and before it its quarantined rows where there are any; none where the attempt failed.
        footer: What the part says of itself; None where the attempt failed.
        fault: Why it failed, where the input or the model is the reason: it would fail again on any host.
        reasons: How many rows were bad for which reason.
        ids: The ids of its rows, in the nested layout.
        seconds: Wall time of the attempt.
    """

    name: str
    attempt: int
    files: tuple[StagedFile, ...] = ()
    footer: PartFooter | None = None
    fault: SeqembedError | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    ids: IdCensus | None = None
    seconds: float = 0.0

    @property
    def counts(self) -> PartCounts:
        """Its rows; none where the attempt failed."""
        return PartCounts() if self.footer is None else self.footer.counts

    @property
    def quarantined(self) -> str | None:
        """Name of the file with its quarantined rows, None where there are none."""
        return next((file.name for file in self.files if file.name != self.name), None)


def quarantine_name(name: str) -> str:
    """Return where the quarantined rows of a part lie."""
    return f"{QUARANTINE}/{name}"


@dataclass(frozen=True, slots=True)
class Staging:
    """The temporary files of one run; small and picklable.

    Attributes:
        storage: The output directory.
        run_id: Which run.
    """

    storage: Storage
    run_id: str

    @property
    def directory(self) -> str:
        """The directory below which the run stages."""
        return posixpath.join(TEMPORARY, self.run_id)

    @contextmanager
    def stage(self, name: str, attempt: int, schema: pa.Schema, vectors: Collection[str] = ()) -> Iterator[PartWriter]:
        """Open a writer for a temporary file; on leaving, the file is closed, synced and read back.

        Args:
            name: Where it belongs once it is published.
            attempt: Which one at its part, from 1.
            schema: Its columns.
            vectors: Those that hold vectors of a model.

        Raises:
            OutputError: The disk is full or not writable, or the file does not read back as it was written.
        """
        storage, staged = self.storage, self.staged_name(name, attempt)
        with ExitStack() as stack:
            with storage.translated("write to"):
                directory = posixpath.dirname(staged)
                storage.refuse_link(directory)
                storage.make_directory(directory)
                write_out = stack.enter_context(WriteOut(storage.at(staged))) if storage.is_local else None
                guard = partial(storage.translated, "write to")
                writer = PartWriter(storage.filesystem, storage.at(staged), schema, guard, write_out, vectors)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
        with storage.translated("write to"):
            storage.sync_file(staged)
            writer.num_bytes = self._read_back(storage.at(staged), writer.num_rows)

    def staged_name(self, name: str, attempt: int) -> str:
        """Return where an attempt stages a file, below the output directory."""
        return posixpath.join(self.directory, str(attempt), name)

    def staged_file(self, name: str, attempt: int, writer: PartWriter) -> StagedFile:
        """Return what `stage` wrote, once it was left."""
        return StagedFile(name, self.staged_name(name, attempt), writer.num_bytes)

    def _read_back(self, path: str, num_rows: int) -> int:
        """Return the size of a file in bytes.

        Raises:
            OutputError: Its footer is not the one that was written.
        """
        with self.storage.filesystem.open_input_file(path) as source:
            metadata, num_bytes = pq.read_metadata(source), source.size()
        if metadata.num_rows != num_rows or FOOTER_KEY not in (metadata.metadata or {}):
            raise OutputError(
                f"{path}: read back {metadata.num_rows} rows, wrote {num_rows}. "
                "The disk or network loses data; check it."
            )
        return int(num_bytes)
