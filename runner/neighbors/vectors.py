"""Read the vectors of Parquet files, in bounded memory, and single rows of them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import is_list, is_number, plain_values
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.outputs import EMBEDDING
from seqembed.data.parquet.reader import decoded
from seqembed.data.schema.check import refuse_column
from seqembed.runner.output.parts import FOOTER_KEY, PartFooter

_VALUES = 1 << 20  # numbers decoded at a time: 8 MiB where distances are computed
_MAX_ROWS = 1 << 16
_REMEDY = "Pass the output directory of `seqembed run`, or Parquet with an id and a list of numbers in each row."
_DEFAULT_ID = "id"
Vectors = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class VectorFile:
    """A Parquet file with a vector per row.

    Attributes:
        file: The file.
        id_column: Its column with the ids.
        kept: Its other columns, without the reasons for missing vectors.
        width: Numbers of a vector, where the type says so.
        model_sha256: The model that made them; None if `seqembed run` did not write the file.
        made_from: Location of the file with their sequences (`InputFile.location`); None likewise.
    """

    file: InputFile
    id_column: str
    kept: tuple[str, ...]
    width: int | None
    model_sha256: str | None
    made_from: str | None


def find_vectors(given: str, id_column: str | None) -> list[VectorFile]:
    """Return the files of a directory, file, glob or URI; only footers are read.

    Args:
        given: What to look through.
        id_column: Column with the ids; None takes that of the run which wrote a file, or ``id``.

    Raises:
        InputError: There is no Parquet file, a file has no vectors or no ids, or two files have vectors of different
            models or widths.
    """
    found = [_of(file, id_column) for file in resolve_inputs([given])]
    for name, what in (("model_sha256", "by the model {:.16}…"), ("width", "with vectors of {} numbers")):
        first: VectorFile | None = None
        for one in found:
            mine = getattr(one, name)
            first = one if first is None and mine is not None else first
            if first is not None and mine is not None and mine != (theirs := getattr(first, name)):
                raise InputError(
                    f"{first.file.name} was made {what.format(theirs)}, {one.file.name} {what.format(mine)}: their "
                    "distances mean nothing. Pass the files of one model."
                )
    return found


def _of(file: InputFile, id_column: str | None) -> VectorFile:
    parquet = file.open()
    columns = parquet.schema_arrow
    footer = _footer((parquet.metadata.metadata or {}).get(FOOTER_KEY))
    own_id = _DEFAULT_ID if footer is None else footer.columns[0]
    name = own_id if id_column is None else id_column
    for column, role, remedy in (
        (EMBEDDING, "the vectors of a run", _REMEDY),
        (name, "the ids", "Name the column of the ids with --id-column."),
    ):
        if columns.get_field_index(column) < 0:
            there = ", ".join(columns.names[:20]) + (", …" if len(columns.names) > 20 else "")
            raise InputError(f"{file.name}: no column '{column}', expected as {role}. The file has: {there}. {remedy}")
    kind = columns.field(EMBEDDING).type
    if not (is_list(kind) and is_number(kind.value_type)) and file.footer()[1]:
        refuse_column(file, EMBEDDING, kind, "a list of numbers in each row", _REMEDY.rstrip("."))
    aside = {name, EMBEDDING, *(() if footer is None else ("error",))}
    return VectorFile(
        file=file,
        id_column=name,
        kept=tuple(column for column in columns.names if column not in aside),
        width=kind.list_size if pa.types.is_fixed_size_list(kind) else None,
        model_sha256=None if footer is None else footer.key.model_sha256,
        made_from=None if footer is None else footer.input,
    )


def _footer(text: bytes | None) -> PartFooter | None:
    try:
        return None if text is None else PartFooter.from_json(text)
    except ValueError:
        return None  # of another version: the columns show what it holds


def batches(one: VectorFile, column: str) -> Iterator[tuple[int, pa.Array]]:
    """Yield a column in batches, each with the number of its first row.

    Raises:
        BadFileError: The file cannot be read.
    """
    first = 0
    for batch in decoded(one.file, one.file.open(), [column], num_values=_VALUES, max_rows=_MAX_ROWS):
        yield first, batch.column(0)
        first += batch.num_rows


def vectors_in(one: VectorFile, lists: pa.Array, width: int | None, first: int) -> Vectors:
    """Return the finite vectors of a batch, float64 (vectors, width), and their rows in the file, int64 (vectors).

    Args:
        one: The file.
        lists: The column of vectors, some null.
        width: The width of the vectors before this batch; None if this is the first.
        first: Row of the batch's first vector.

    Raises:
        InputError: A vector has another width.
    """
    rows = np.flatnonzero(pc.is_valid(lists).to_numpy(zero_copy_only=False))
    lists = plain_values(lists)
    if not len(rows):
        return np.empty((0, width or 0)), rows
    present = lists.drop_null()
    widths = pc.list_value_length(present).to_numpy(zero_copy_only=False)
    width = int(widths[0]) if width is None else width
    if (widths != width).any():
        at = int(np.flatnonzero(widths != width)[0])
        raise InputError(
            f"{one.file.name}: row {first + rows[at]}: a vector of {widths[at]} numbers; the others have {width}. Pass "
            "the files of one model."
        )
    values = present.flatten()
    values = values.cast(pa.float64()) if pa.types.is_decimal(values.type) else values
    vectors = values.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(present), width)
    finite = np.isfinite(vectors).all(axis=1)
    return (vectors, rows + first) if finite.all() else (vectors[finite], rows[finite] + first)


def read_rows(one: VectorFile, columns: Sequence[str], rows: Collection[int]) -> dict[int, pa.RecordBatch]:
    """Return some rows of a file, each as a batch of one row, by number; only their row groups are read.

    Raises:
        BadFileError: The file cannot be read.
    """
    parquet = one.file.open()
    ends = np.cumsum([0, *(parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups))])
    groups = np.searchsorted(ends, sorted(rows), side="right") - 1
    found: dict[int, pa.RecordBatch] = {}
    for group in sorted(set(groups.tolist())):
        first = int(ends[group])
        pieces = decoded(
            one.file,
            parquet,
            list(columns),
            num_values=_VALUES,
            max_rows=_MAX_ROWS,
            row_groups=range(group, group + 1),
        )
        for batch in pieces:
            for row in rows:
                if first <= row < first + batch.num_rows:
                    found[row] = batch.slice(row - first, 1)
            first += batch.num_rows
    return found
