"""What sequences come from: whoever embeds them asks for blocks, and need not know whether a file is behind it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from seqembed.data.errors import BadFileError
from seqembed.data.fingerprints import fingerprint
from seqembed.data.inputs import InputFile, OpenedFile
from seqembed.data.raw_rows import read_raw
from seqembed.data.reader import read_blocks, rows_before
from seqembed.data.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock


class Source(Protocol):
    """Sequences in an order of their own, from wherever they come."""

    @property
    def name(self) -> str:
        """What it is called in messages, and beside quarantined rows."""

    @property
    def first_row(self) -> int:
        """The number of its first row: 0, or where a slice of something larger begins."""

    def columns(self) -> pa.Schema:
        """Return the columns of its rows, before any row is read.

        Raises:
            InputError: It cannot be read.
        """

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield its sequences in order, some thousands at a time, at most `limit`.

        Raises:
            InputError: It cannot be read as such sequences.
        """

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return rows as they stand there, for sequences that turn out bad only when they are embedded.

        Args:
            spans: Number of the first row of each sequence and of the row behind its last, rising.

        Returns:
            The columns that were read, one row for each span, as `seqembed.data.sequences.BadRow.raw` has them.

        Raises:
            InputError: It cannot be read any more.
        """

    def fingerprint(self) -> str | None:
        """Return what no other version of it has, looked at now; None where it cannot be read any more."""


class ParquetSource:
    """The sequences of a Parquet file, or of some of its row groups; the file is opened once, when it is needed."""

    def __init__(
        self,
        file: InputFile,
        schema: SequenceSchema,
        policy: LengthPolicy | None = None,
        keep: Sequence[str] = (),
        row_groups: range | None = None,
    ) -> None:
        """Name what is read; arguments as for `seqembed.data.reader.read_blocks`."""
        self.file = file
        self._schema, self._policy, self._keep, self._row_groups = schema, policy, tuple(keep), row_groups
        self._opened: OpenedFile | None = None

    @property
    def name(self) -> str:
        """The name of the file, relative to the input it came from."""
        return self.file.name

    @property
    def first_row(self) -> int:
        """Where its row groups begin in the file."""
        return rows_before(self._open(), self._row_groups)

    def columns(self) -> pa.Schema:
        """Return the columns of the file.

        Raises:
            BadFileError: It cannot be read.
        """
        return self._open().schema_arrow

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield the sequences in the order of their rows.

        Raises:
            InputError: See `seqembed.data.reader.read_blocks`.
        """
        return read_blocks(
            self.file, self._schema, self._policy, self._keep, limit, self._open(), row_groups=self._row_groups
        )

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return single rows of the file, as `Source.rows_again` has them.

        Raises:
            BadFileError: The file cannot be read any more.
        """
        return read_raw(self.file, self._schema, self._keep, spans, self._open(), self._row_groups)

    def fingerprint(self) -> str | None:
        """Return that of the file as it is now, read through the handle that its rows were read through."""
        try:
            return fingerprint(self.file, None if self._opened is None else self._opened.source)
        except BadFileError:
            return None

    def _open(self) -> OpenedFile:
        if self._opened is None:
            self._opened = self.file.open()
        return self._opened
