"""Write a block of sequences to Parquet and read it back, for the sample beside a trained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.sequences import SequenceBlock, concatenate


def write_sequences(path: Path, block: SequenceBlock, schema: SequenceSchema) -> None:
    """Write `block` as Parquet: the id, one list<float> column per feature and one list<int32> column per field.

    Columns are named like the features and fields and hold the inputs of the model, time features and category ids
    included. So the sample can be read without the time column and the vocabularies.
    """
    offsets = pa.array(block.offsets, pa.int64())
    columns = {schema.id: block.ids}
    for index, name in enumerate(schema.feature_names):
        columns[name] = pa.LargeListArray.from_arrays(offsets, pa.array(block.values[:, index]))
    for index, field in enumerate(schema.categorical):
        columns[field.name] = pa.LargeListArray.from_arrays(offsets, pa.array(block.categories[:, index]))
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_sequences(path: Path) -> tuple[SequenceBlock, SequenceSchema]:
    """Read what `write_sequences` wrote.

    Returns:
        The sequences with category ids, and a schema with one column per feature and field; the fields have no
        vocabulary, since the file holds their ids.

    Raises:
        InputError: The file is missing or damaged.
    """
    (file,) = resolve_inputs([str(path)])
    id_column, *columns = file.open().schema_arrow
    is_field = [pa.types.is_large_list(column.type) and column.type.value_type == pa.int32() for column in columns]
    # Category ids are read as numbers: float32 holds them exactly (`seqembed.trainer.input.learn.MAX_VOCABULARY`).
    numbers = tuple(Feature(column.name, column.name) for column in columns)
    block = concatenate(list(read_blocks(file, SequenceSchema(id_column.name, numbers, "nested"))))
    fields = np.array(is_field, dtype=bool)
    schema = SequenceSchema(
        id_column.name,
        tuple(feature for feature, is_one in zip(numbers, is_field, strict=True) if not is_one),
        "nested",
        categorical=tuple(
            CategoricalField(feature.name, feature.column)
            for feature, is_one in zip(numbers, is_field, strict=True)
            if is_one
        ),
    )
    return replace(block, values=block.values[:, ~fields], categories=block.values[:, fields].astype(np.int32)), schema
