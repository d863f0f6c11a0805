"""Delta tables for tests, and a log written by hand for what deltalake reads and does not write."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from seqembed.data.files.listing import find_inputs
from seqembed_testing import sequences

KINDS = {"x": pa.list_(pa.float32()), "y": pa.list_(pa.float64())}
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DELETION_VECTOR_MAGIC = 1681511377
_ROARING_COOKIE = 12346


def nested(num: int, seed: int, prefix: str = "", **more: Any) -> pa.Table:
    """Return rows of the nested layout, with distinct ids; `more` are further columns."""
    columns: dict[str, Any] = sequences(num, seed) | more
    columns["id"] = [f"{prefix}{name}" for name in columns["id"]]
    return pa.table({name: pa.array(values, KINDS.get(name)) for name, values in columns.items()})


def found_rows(given: Path | str, version: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of an input as seqembed reads them, by id."""
    rows = [row for file in find_inputs([str(given)], version).files for row in file.open().read().to_pylist()]
    return sorted(rows, key=lambda row: str(row["id"]))


def true_rows(root: Path | str, version: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table as deltalake reads them, by id."""
    return sorted(pa.table(DeltaTable(root, version).scan()).to_pylist(), key=lambda row: str(row["id"]))


def field(name: str, kind: Any, stored: str, number: int) -> dict[str, Any]:
    """Return a column of a table with column mapping."""
    metadata = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": stored}
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def write_log(
    root: Path,
    fields: Sequence[dict[str, Any]],
    files: Sequence[tuple[str, pa.Table, dict[str, str | None], Sequence[int]]],
    features: Sequence[str] = ("deletionVectors", "columnMapping"),
    partitions: Sequence[str] = (),
    mode: str = "name",
) -> Path:
    """Write a table of one version: each file with its path, stored rows, partition values and deleted rows."""
    schema = json.dumps({"type": "struct", "fields": list(fields)})
    settings = {"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "99"}
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    actions: list[dict[str, Any]] = [
        {"protocol": protocol},
        {
            "metaData": {
                "id": "29e05d65-159e-41d2-aa9a-971b63b26050",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema,
                "partitionColumns": list(partitions),
                "configuration": settings,
                "createdTime": 1,
            }
        },
    ]
    for name, table, values, deleted in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        add = {"path": name, "partitionValues": values, "size": path.stat().st_size, "modificationTime": 1}
        add |= {"dataChange": True, "stats": json.dumps({"numRecords": table.num_rows})}
        if deleted:
            add["deletionVector"] = _deletion_vector(deleted)
        actions.append({"add": add})
    (root / "_delta_log").mkdir(parents=True)
    (root / "_delta_log" / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))
    return root


def _deletion_vector(rows: Sequence[int]) -> dict[str, Any]:
    """Return an inline deletion vector: a 64-bit Roaring bitmap with one array container, in Z85."""
    bitmap = struct.pack("<IIHHI", _ROARING_COOKIE, 1, 0, len(rows) - 1, 16)
    bitmap += struct.pack(f"<{len(rows)}H", *sorted(rows))
    content = struct.pack("<IQI", _DELETION_VECTOR_MAGIC, 1, 0) + bitmap
    padded = content + bytes(-len(content) % 4)
    text = ""
    for start in range(0, len(padded), 4):
        value, letters = int.from_bytes(padded[start : start + 4], "big"), ""
        for _ in range(5):
            value, digit = divmod(value, 85)
            letters = _Z85[digit] + letters
        text += letters
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": len(rows)}
