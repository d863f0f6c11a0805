"""The file `_EVENTS` of an output: events of every input file by bucket, so that a rerun need not count again.

It saves reading and decides nothing: an entry counts only for a file with the same fingerprint, and whether a bucket is
finished is decided by the bucket's own footer. Without it, ids and times are read once more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from seqembed.data.errors import OutputError
from seqembed.runner.group.scan import FileCounts
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.ledger import look_at_part
from seqembed.runner.output.parts import FOOTER_KEY, PartCounts, PartFooter, PartKey
from seqembed.runner.output.staging import StagedPart

NAME = "_EVENTS"
MAKER = "seqembed group"
_COUNTED = ("rows", "null_ids", "null_times", "outside")
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("fingerprint", pa.string()),
        *((name, pa.int64()) for name in _COUNTED),
        ("buckets", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of a file in a certain version.

    Attributes:
        fingerprint: Its fingerprint.
        counts: Its events.
    """

    fingerprint: str
    counts: FileCounts


def refuse_census_of_others(output: OutputDirectory) -> None:
    """Check, before any work, that the file has a place.

    Raises:
        OutputError: Something that seqembed did not write is there.
    """
    storage = output.storage
    kind = storage.type(NAME)
    if kind == fs.FileType.NotFound:
        return
    if kind != fs.FileType.File or look_at_part(output.filesystem, storage.at(NAME)) == "other":
        raise OutputError(
            f"{storage.at(NAME)}: seqembed did not write it, and would replace it. Move it away, or choose another "
            "--out."
        )


def read_census(output: OutputDirectory, options_hash: str) -> tuple[dict[str, Counted], frozenset[str]]:
    """Return the counts of files by location, and the locations of all files of the last complete grouping.

    Args:
        output: The output directory.
        options_hash: Hash of the options; counts made with others are of no use.
    """
    if not output.storage.exists(NAME):
        return {}, frozenset()
    try:
        with output.filesystem.open_input_file(output.storage.at(NAME)) as source:
            stored = pq.ParquetFile(source)
            footer = PartFooter.from_json((stored.metadata.metadata or {}).get(FOOTER_KEY, b""))
            table = stored.read()
        counted = _counted_files(table.select(_SCHEMA.names).cast(_SCHEMA).combine_chunks())
    except (pa.ArrowException, ValueError, KeyError, TypeError, FileNotFoundError):
        return {}, frozenset()  # damaged: counted again
    return (counted if footer.key.options_hash == options_hash else {}), frozenset(counted)


def _counted_files(table: pa.Table) -> dict[str, Counted]:
    offsets, buckets = np.zeros(1, np.int64), np.zeros(0, np.int64)
    if table.num_rows:
        lists = table["buckets"].chunk(0)
        offsets, buckets = lists.offsets.to_numpy(), lists.values.to_numpy()
    rows = table.drop_columns(["buckets"]).to_pylist()
    return {
        str(row["file"]): Counted(
            str(row["fingerprint"]),
            FileCounts(buckets[offsets[index] : offsets[index + 1]], **{name: int(row[name]) for name in _COUNTED}),
        )
        for index, row in enumerate(rows)
    }


def stage_census(output: OutputDirectory, files: Mapping[str, Counted], options_hash: str) -> StagedPart:
    """Stage the file; `OutputDirectory.take` and `publish` put it in place.

    Raises:
        OutputError: The disk is full or not writable.
    """
    staging = output.staging
    columns: dict[str, list[object]] = {name: [] for name in _SCHEMA.names}
    for location, counted in files.items():
        columns["file"].append(location)
        columns["fingerprint"].append(counted.fingerprint)
        columns["buckets"].append(counted.counts.buckets)
        for name in _COUNTED:
            columns[name].append(getattr(counted.counts, name))
    batch = pa.record_batch(columns, schema=_SCHEMA)
    counts = PartCounts(rows_in=len(files), rows_embedded=len(files))
    footer = PartFooter(PartKey("", MAKER, options_hash), counts, "", "", {}, tuple(_SCHEMA.names), "events")
    with staging.stage(NAME, 1, _SCHEMA) as writer:
        writer.write(batch)
        writer.finish(footer)
    return StagedPart(NAME, 1, (staging.staged_file(NAME, 1, writer),), footer)
