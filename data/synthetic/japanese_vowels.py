"""The shipped recordings, as one file or as the official train and test split."""

import json
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.synthetic.writer import SAMPLE_KEY, WrittenSample, parquet_options, refuse_other_files, replacing

NAME = "japanese-vowels"
SPLITS = ("train", "test")


def shipped(split: str) -> pa.Table:
    """Return the shipped utterances of `split`, ``train`` (270) or ``test`` (370), in the official order."""
    resource = resources.files("seqembed.data") / "samples" / f"japanese_vowels_{split}.parquet"
    with resource.open("rb") as source:
        return pq.read_table(source)


def write(out: Path, rows: int | None) -> WrittenSample:
    """Write one file with a `split` column where `out` ends in ``.parquet``, else a directory with a file each.

    Args:
        out: File or directory.
        rows: Most rows of each file; None writes all.

    Raises:
        OutputError: `out` cannot be written, or holds something else.
    """
    tables = {split: shipped(split) for split in SPLITS}
    if out.suffix == ".parquet":
        marked = [table.append_column("split", pa.array([split] * len(table))) for split, table in tables.items()]
        files = {out: pa.concat_tables(marked)}
    else:
        refuse_other_files(out, [f"{split}.parquet" for split in SPLITS])
        files = {out / f"{split}.parquet": table for split, table in tables.items()}
    if rows is not None:
        files = {path: table.slice(0, rows) for path, table in files.items()}
    marker = json.dumps({"name": NAME, "rows": rows})
    with replacing(list(files)) as temporary:
        for path, table in zip(temporary, files.values(), strict=True):
            marked_table = table.replace_schema_metadata({SAMPLE_KEY: marker})
            pq.write_table(marked_table, path, **parquet_options(table.schema))
    return WrittenSample(
        path=out,
        num_files=len(files),
        num_sequences=sum(table.num_rows for table in files.values()),
        num_steps=sum(len(table["c01"].combine_chunks().flatten()) for table in files.values()),
        num_bytes=sum(path.stat().st_size for path in files),
    )
