"""Choose the unit in which times of Parquet's INT96 type are read.

INT96, which Spark, Impala, Hive and awswrangler write, holds nanoseconds of any year. Arrow has no such type:
nanoseconds in int64 end in 2262, and pyarrow, which reads INT96 as those, overflows silently: 9999-12-31, a common
placeholder for "no end", becomes 1816-03-29. In microseconds every year fits.
"""

import base64
from collections.abc import Iterator
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

_ARROW_SCHEMA = b"ARROW:schema"


def int96_unit(parquet: pq.ParquetFile) -> Literal["us", "ns"]:
    """Return the unit in which to read the INT96 columns of a file.

    Nanoseconds only if the file's metadata says that it was written from Arrow's nanoseconds, which fit by
    construction. Else microseconds: Spark's times have no finer resolution, and those of other writers are truncated.
    Times that become equal keep the order of the file.
    """
    columns = (parquet.schema.column(index) for index in range(len(parquet.schema)))
    text = (parquet.metadata.metadata or {}).get(_ARROW_SCHEMA)
    if text is None or not any(column.physical_type == "INT96" for column in columns):
        return "us"
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return "ns" if {unit for field in written for unit in _units(field.type)} == {"ns"} else "us"


def _units(kind: pa.DataType) -> Iterator[str]:
    """Yield the units of the timestamps in a type."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from _units(kind.storage_type)
    elif pa.types.is_dictionary(kind):
        yield from _units(kind.value_type)
    elif pa.types.is_timestamp(kind):
        yield kind.unit
    else:
        for index in range(kind.num_fields):
            yield from _units(kind.field(index).type)
