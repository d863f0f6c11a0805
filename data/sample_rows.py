"""Write a block of sequences to Parquet and read it back: the sample that lies beside a trained model."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.inputs import resolve_inputs
from data.reader import read_blocks
from data.schema import Feature, SequenceSchema
from data.sequences import SequenceBlock, concatenate


def write_sequences(path: Path, block: SequenceBlock, schema: SequenceSchema) -> None:
    """Write `block` as Parquet: the id column and one list<float> column a feature, named like the feature."""
    offsets = pa.array(block.offsets, pa.int64())
    columns = {schema.id: block.ids}
    for place, name in enumerate(schema.feature_names):
        values = pa.array(block.values[:, place])
        columns[name] = pa.LargeListArray.from_arrays(offsets, values)
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_sequences(path: Path) -> tuple[SequenceBlock, SequenceSchema]:
    """Read what `write_sequences` wrote.

    Returns:
        The sequences, and a schema in which each feature is a column of its own.

    Raises:
        InputError: The file is missing or damaged.
    """
    (file,) = resolve_inputs([str(path)])
    id_column, *features = file.open().schema_arrow.names
    schema = SequenceSchema(id_column, tuple(Feature(name, name) for name in features), "nested")
    return concatenate(list(read_blocks(file, schema))), schema
