"""Add kept columns that come from hive directories of the path (``day=3``) instead of the file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.decode.ids import id_text, quoted_id
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.sequences import SequenceBlock

_OPTIONAL_END = re.compile(r"(\.0+)?(Z|\+00:00)?$")


def with_partitions(block: SequenceBlock, file: InputFile, keep: Sequence[str]) -> SequenceBlock:
    """Return a block with the hive keys of its file among the kept columns, as text, in the order of `keep`.

    If the file has a column with the name of a key, as some writers store both, the column is used.

    Raises:
        InputError: The column and the key contradict each other.
    """
    keys = [name for name in keep if name in file.partitions]
    if not keys:
        return block
    for name in keys:
        if name in block.kept:
            _refuse_contradiction(file, name, block.kept[name])
    kept = {
        name: block.kept[name]
        if name in block.kept
        else pa.repeat(pa.scalar(file.partitions[name], pa.string()), block.num_sequences)
        for name in keep
    }
    return replace(block, kept=kept)


def _refuse_contradiction(file: InputFile, name: str, column: pa.Array) -> None:
    key = file.partitions[name]
    if key is None:
        if column.null_count < len(column):
            _refuse(file, name, column.drop_null()[0])
        return
    try:
        agrees = pc.fill_null(pc.equal(column, pa.scalar(key).cast(column.type)), False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # the text is not a value of the column's type
        agrees = pa.array([False] * len(column), pa.bool_())
    for index in pc.indices_nonzero(pc.invert(agrees)).to_pylist():
        if _plain(id_text(column[index])) != _plain(key):
            _refuse(file, name, column[index])


def _plain(text: str | None) -> str | None:
    """Return text without the optional end of a value: a zero fraction, and the zone UTC."""
    return None if text is None else _OPTIONAL_END.sub("", text)


def _refuse(file: InputFile, name: str, value: pa.Scalar) -> NoReturn:
    raise InputError(
        f"{file.name}: column '{name}' holds {quoted_id(id_text(value))}, but its directory is "
        f"{name}={file.partitions[name]}. "
        "Move the file to the directory that its rows belong to, or rename the column or the directory."
    )
