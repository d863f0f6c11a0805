"""Find reasons why training would refuse data with valid columns, from a limited number of rows."""

from collections.abc import Sequence
from itertools import islice

from seqembed.data.decode.arrow import as_lists, locate
from seqembed.data.decode.ids import id_text
from seqembed.data.decode.nested import plain_row, ragged_rows
from seqembed.data.errors import InputError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.peek import peek
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import BadRow
from seqembed.data.survey import refuse_bad_row

_MAX_ROWS = 5_000_000  # only the ids of these are read


def obstacle(files: Sequence[InputFile], example: InputFile, schema: SequenceSchema, num_slices: int) -> str | None:
    """Return the error that `seqembed train` would report for the data, or None.

    Args:
        files: All input files.
        example: The file whose start is checked for columns of different lengths.
        schema: Which columns make a sequence, without vocabularies.
        num_slices: Number of slices to check.
    """
    try:
        refuse_ids_in_several_files(files, schema, max_rows=_MAX_ROWS)
        if schema.layout == "nested":
            _refuse_ragged(example, schema, num_slices)
    except InputError as error:
        return str(error)
    return None


def _refuse_ragged(file: InputFile, schema: SequenceSchema, num_slices: int) -> None:
    names = list(schema.feature_columns)
    if schema.time is not None:
        names.append(locate(file.footer()[0], schema.time)[0])
    names = list(dict.fromkeys(names))
    first_row = 0
    for batch in islice(peek(file, [schema.id, *names]), num_slices):
        ragged = ragged_rows({name: as_lists(batch.column(name)) for name in names})
        if ragged:
            row = min(ragged)
            name = id_text(batch.column(schema.id)[row])
            refuse_bad_row(BadRow(first_row + row, name, ragged[row], plain_row(batch, row)), file, schema)
        first_row += batch.num_rows
