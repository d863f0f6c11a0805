"""What happens to rows that are no sequence: fail, keep them with a null vector, or put them aside."""

from collections.abc import Sequence

import pyarrow as pa

from seqembed.data.bad_rows import bad_row_error
from seqembed.data.decode.arrow import plain_type
from seqembed.data.errors import BadRowError
from seqembed.data.plurals import counted, verb
from seqembed.data.sequences import BadRow

QUARANTINE = "_quarantine"


def refuse(name: str, bad: BadRow) -> None:
    """Raise for a row of the input `name` that is no sequence.

    Raises:
        BadRowError: Names the file, row, id, reason and the remedies.
    """
    raise bad_row_error(name, bad, "Fix the row, or pass --on-bad-row null or quarantine.")


def kind_of_reason(reason: str) -> str:
    """Return the part of a reason that it shares with others of its kind: without what holds for one row alone."""
    return reason.split(":")[0].split(";")[0]


def refuse_too_many(name: str, num_bad: int, num_rows: int, most: float) -> None:
    """Check the share of bad rows of the input `name`.

    Raises:
        BadRowError: It is above `most`.
    """
    if num_rows and num_bad / num_rows > most:
        bad = f"{num_bad:,} of {counted(num_rows, 'row')} {verb(num_bad, 'is', 'are')} bad"
        raise BadRowError(
            f"{name}: {bad} ({num_bad / num_rows:.2%}); --max-bad-fraction "
            f"allows {most:.2%}. The part was not published. Fix the feed, or allow more."
        )


def quarantine_schema(raw: pa.Schema) -> pa.Schema:
    """Return the columns of a quarantine file: file, row, id, reason, and under ``raw`` the columns that were read."""
    return pa.schema(
        [
            pa.field("file", pa.string()),
            pa.field("row", pa.int64()),
            pa.field("id", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("raw", pa.struct([pa.field(field.name, plain_type(field.type)) for field in raw])),
        ]
    )


def quarantine_rows(name: str, rows: Sequence[BadRow], schema: pa.Schema) -> pa.RecordBatch:
    """Return bad rows of the input `name` as rows of a quarantine file."""
    raw_type = schema.field("raw").type
    raw = pa.concat_arrays([_struct(row.raw, raw_type) for row in rows])
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name] * len(rows), pa.string()),
            pa.array([row.row for row in rows], pa.int64()),
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.reason for row in rows], pa.string()),
            raw,
        ],
        schema=schema,
    )


def _struct(raw: pa.RecordBatch, kind: pa.StructType) -> pa.StructArray:
    fields = [kind.field(index) for index in range(kind.num_fields)]
    columns = [raw.column(field.name) for field in fields]
    # Only where it is needed: pyarrow 26 casts lists of Arrow's null type to lists that are too short.
    columns = [c if c.type == f.type else c.cast(f.type) for c, f in zip(columns, fields, strict=True)]
    return pa.StructArray.from_arrays(columns, fields=fields)
