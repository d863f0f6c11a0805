"""Sources of sequences: code that embeds sequences reads blocks, without depending on files."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from seqembed.data.errors import BadFileError
from seqembed.data.files.fingerprints import fingerprint
from seqembed.data.files.inputs import InputFile, OpenedFile
from seqembed.data.parquet.raw_rows import read_raw
from seqembed.data.parquet.reader import first_sequence_row, read_blocks
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock


class Source(Protocol):
    """An ordered source of sequences."""

    @property
    def name(self) -> str:
        """Its name in messages and for quarantined rows."""

    @property
    def first_row(self) -> int:
        """Number of its first row: 0, or the start of a slice of something larger."""

    def columns(self) -> pa.Schema:
        """Return the columns of its rows, before any row is read.

        Raises:
            InputError: It cannot be read.
        """

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield its sequences in order, some thousands at a time, at most `limit` in total.

        Raises:
            InputError: It cannot be read as sequences.
        """

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return unchanged rows, for sequences that turn out to be bad only when they are embedded.

        Args:
            spans: First row and end of each sequence, ascending.

        Returns:
            The columns that were read, one row per span, as in `seqembed.data.sequences.BadRow.raw`.

        Raises:
            InputError: It can no longer be read.
        """

    def fingerprint(self) -> str | None:
        """Return the current fingerprint, which differs for every version; None if it can no longer be read."""


class ParquetSource:
    """The sequences of a Parquet file, or of some of its row groups; the file is opened once, when needed."""

    def __init__(
        self,
        file: InputFile,
        schema: SequenceSchema,
        policy: LengthPolicy | None = None,
        keep: Sequence[str] = (),
        row_groups: range | None = None,
    ) -> None:
        """Configure the source; arguments as for `seqembed.data.parquet.reader.read_blocks`."""
        self.file = file
        self._schema, self._policy, self._keep, self._row_groups = schema, policy, tuple(keep), row_groups
        self._opened: OpenedFile | None = None
        self._first_row: int | None = None

    @property
    def name(self) -> str:
        """The name of the file, relative to the input it came from."""
        return self.file.name

    @property
    def first_row(self) -> int:
        """Row of the file at which its first sequence begins.

        Raises:
            BadFileError: The file cannot be read.
        """
        if self._first_row is None:
            self._first_row = first_sequence_row(self.file, self._open(), self._schema, self._row_groups)
        return self._first_row

    def columns(self) -> pa.Schema:
        """Return the columns of the file.

        Raises:
            BadFileError: It cannot be read.
        """
        return self._open().schema_arrow

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield the sequences in the order of their rows.

        Raises:
            InputError: See `seqembed.data.parquet.reader.read_blocks`.
        """
        where = self._open(), self._row_groups, self.first_row
        return read_blocks(self.file, self._schema, self._policy, self._keep, limit, *where)

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return unchanged rows of the file; see `Source.rows_again`.

        Raises:
            BadFileError: The file can no longer be read.
        """
        return read_raw(self.file, self._schema, self._keep, spans, self._open(), self._row_groups)

    def fingerprint(self) -> str | None:
        """Return the file's current fingerprint, computed with the open file handle."""
        try:
            opened = None if self._opened is None or self.file.view is not None else self._opened.source
            return fingerprint(self.file, opened)
        except BadFileError:
            return None

    def _open(self) -> OpenedFile:
        if self._opened is None:
            self._opened = self.file.open()
        return self._opened
