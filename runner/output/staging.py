"""Stage files of workers below ``_temporary/<run id>/<attempt>/``, under their final relative path.

Every attempt at a part has its own files, so that two attempts on different hosts never write to the same one. A worker
closes, syncs and reads back a file, and reports it in a `StagedPart`; only the process with the lock publishes.
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
    """A staged file, already read back.

    Attributes:
        name: Final path, relative to the output directory.
        staged: Current path, relative to the output directory.
        num_bytes: Size in bytes.
    """

    name: str
    staged: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A worker's report of one attempt at a part; picklable.

    Attributes:
        name: Path of the part, relative to the output directory.
        attempt: Number of the attempt, from 1.
        files: The quarantine file, if any, and the part; empty if the attempt failed.
        footer: Metadata of the part; None if the attempt failed.
        fault: Error caused by the input or the model, which would occur again on any host; None if there was none.
        reasons: Number of bad rows by reason.
        ids: The ids of its rows, in the nested layout.
        seconds: Wall time of the attempt.
        input_rows: Rows read; in the events layout the number of events.
    """

    name: str
    attempt: int
    files: tuple[StagedFile, ...] = ()
    footer: PartFooter | None = None
    fault: SeqembedError | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    ids: IdCensus | None = None
    seconds: float = 0.0
    input_rows: int = 0

    @property
    def counts(self) -> PartCounts:
        """Its rows; zero if the attempt failed."""
        return PartCounts() if self.footer is None else self.footer.counts

    @property
    def quarantined(self) -> str | None:
        """Path of the file with its quarantined rows, or None."""
        return next((file.name for file in self.files if file.name != self.name), None)


def quarantine_name(name: str) -> str:
    """Return the path of the quarantine file of a part."""
    return f"{QUARANTINE}/{name}"


@dataclass(frozen=True, slots=True)
class Staging:
    """The temporary files of one run; small and picklable.

    Attributes:
        storage: The output directory.
        run_id: Identifier of the run.
        begun: Whether the run has made its directory, which goes with its end: no worker makes it again.
    """

    storage: Storage
    run_id: str
    begun: bool = False

    @property
    def directory(self) -> str:
        """The staging directory of the run."""
        return posixpath.join(TEMPORARY, self.run_id)

    @contextmanager
    def stage(self, name: str, attempt: int, schema: pa.Schema, vectors: Collection[str] = ()) -> Iterator[PartWriter]:
        """Open a writer for a temporary file, which is closed, synced and read back at the end.

        Args:
            name: Final path, relative to the output directory.
            attempt: Number of the attempt, from 1.
            schema: Columns of the file.
            vectors: Names of columns with vectors.

        Raises:
            OutputError: The disk is full or not writable, the run has ended, or the file read back differs from what
                was written.
        """
        storage, staged = self.storage, self.staged_name(name, attempt)
        with ExitStack() as stack:
            with storage.translated("write to"):
                directory = posixpath.dirname(staged)
                storage.refuse_link(directory)
                storage.make_directory(directory, below=self.directory if self.begun else "")
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
        """Return the path of a staged file, relative to the output directory."""
        return posixpath.join(self.directory, str(attempt), name)

    def staged_file(self, name: str, attempt: int, writer: PartWriter) -> StagedFile:
        """Return the file that `stage` wrote, after its block."""
        return StagedFile(name, self.staged_name(name, attempt), writer.num_bytes)

    def _read_back(self, path: str, num_rows: int) -> int:
        """Return the size of a file in bytes.

        Raises:
            OutputError: Its footer differs from what was written.
        """
        with self.storage.filesystem.open_input_file(path) as source:
            metadata, num_bytes = pq.read_metadata(source), source.size()
        if metadata.num_rows != num_rows or FOOTER_KEY not in (metadata.metadata or {}):
            raise OutputError(
                f"{path}: read back {metadata.num_rows} rows, wrote {num_rows}. "
                "The disk or network loses data; check it."
            )
        return int(num_bytes)
