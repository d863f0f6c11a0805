"""Cost of writing and reading vectors in Parquet by encoding, the reason for the runner's choice.

    uv run python -m tests.benchmarks.encodings

Vectors are like random floats: an encoding must be fast, since it hardly reduces their size. Encodings take turns, on
one thread, and the minimum of the rounds counts. Takes half a minute.
"""

import argparse
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

LEAF = "embedding.list.element"
WAYS = {
    "plain (the runner's)": {},
    "plain, statistics": {"write_statistics": True},
    "plain, default pages of 1,024 numbers": {"write_batch_size": 1_024},
    "plain, lz4": {"compression": "lz4"},
    "plain, zstd 1": {"compression": "zstd", "compression_level": 1},
    "plain, zstd 3": {"compression": "zstd", "compression_level": 3},
    "dictionary tried first": {"use_dictionary": True},
    "byte stream split": {"use_byte_stream_split": [LEAF]},
    "byte stream split, zstd 1": {"use_byte_stream_split": [LEAF], "compression": "zstd", "compression_level": 1},
    "float16, plain": {},
}
DEFAULTS = {"use_dictionary": False, "compression": "none", "write_statistics": False, "write_batch_size": 1 << 16}
READERS = {
    "pyarrow": pq.read_table,
    "DuckDB": lambda path: duckdb.sql(f"select * from '{path}'").fetchall(),
    "Polars": pl.read_parquet,
    "pandas": pd.read_parquet,
}


def vectors(rows, width):
    """Return ids and tanh-like vectors, as an encoder makes them."""
    numbers = np.tanh(np.random.default_rng(0).normal(size=(rows, width))).astype("f4")
    column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), width)
    return pa.table({"id": np.arange(rows), "embedding": column})


def as_halves(table):
    """Return the table with float16 vectors."""
    width = table.schema.field("embedding").type.list_size
    return table.set_column(1, "embedding", table["embedding"].cast(pa.list_(pa.float16(), width)))


def measure(table, root, rounds):
    """Return seconds to write, seconds to read and bytes of each way."""
    found = {name: [np.inf, np.inf, 0] for name in WAYS}
    halves = as_halves(table)
    for _ in range(rounds):
        for name, options in WAYS.items():
            path = root / "vectors.parquet"
            start = time.process_time()
            pq.write_table(halves if name.startswith("float16") else table, path, **DEFAULTS | options)
            written = time.process_time()
            pq.read_table(path, use_threads=False)
            read = time.process_time()
            best = found[name]
            best[0], best[1] = min(best[0], written - start), min(best[1], read - written)
            best[2] = path.stat().st_size
    return found


def readable(table, root):
    """Return, reader by reader, what becomes of float16 vectors."""
    path, said = root / "halves.parquet", {}
    pq.write_table(as_halves(table.slice(0, 10)), path)
    for name, read in READERS.items():
        try:
            read(path)
            said[name] = "reads it"
        except Exception as error:  # whatever a reader raises is the answer
            said[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return said


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    table = vectors(given.rows, given.width)
    with tempfile.TemporaryDirectory() as name:
        found = measure(table, Path(name), given.rounds)
        said = readable(table, Path(name))
    plain = found["plain (the runner's)"]
    print("| encoding | write | read | size |\n|---|---|---|---|")
    for way, one in found.items():
        print(f"| {way} | " + " | ".join(f"{mine / best:.2f} ×" for mine, best in zip(one, plain, strict=True)) + " |")
    print(f"plain: {given.rows / plain[0]:,.0f} rows/s written, {given.rows / plain[1]:,.0f} read, {plain[2]:,} bytes")
    for reader, words in said.items():
        print(f"float16, {reader}: {words}")


if __name__ == "__main__":
    main()
