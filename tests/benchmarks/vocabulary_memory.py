"""Memory of a vocabulary: many events of many different values, from a file on disk.

Run by hand: ``python tests/benchmarks/vocabulary_memory.py [--events 10000000] [--distinct 10000000]``; with
``--events 100000000`` it needs 2 GB of disk and some minutes. A tenth of the events are of 1,000 values, each of which
is more frequent than one in 80,000: all of them must come out.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.schema.detect import detect_schema
from seqembed.trainer.input.learn import learn_vocabularies

_CHUNK = 500_000
_NUM_FREQUENT = 1_000


def write(path: Path, num_events: int, num_distinct: int) -> None:
    """Write events of 20 a sequence."""
    rng = np.random.default_rng(0)
    schema = pa.schema({"id": pa.int64(), "merchant": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, num_events, _CHUNK):
            positions = np.arange(start, min(start + _CHUNK, num_events))
            rare = pc.binary_join_element_wise("rare", pa.array(positions % num_distinct).cast(pa.string()), "-")
            often = pa.array(rng.integers(0, _NUM_FREQUENT, len(positions))).cast(pa.string())
            often = pc.binary_join_element_wise("often", often, "-")
            values = pc.if_else(pa.array(rng.random(len(positions)) < 0.1), often, rare)
            writer.write_table(pa.table({"id": positions // 20, "merchant": values}, schema=schema))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--distinct", type=int, default=10_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.parquet"
        write(path, options.events, options.distinct)
        files = resolve_inputs([str(path)])
        found = detect_schema(files, layout="events")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        schema, _ = learn_vocabularies(files, found, named=("merchant",))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vocabulary = schema.categorical[0].vocabulary
    assert vocabulary is not None
    held = sum(str(value).startswith("often") for value in vocabulary.values)
    print(f"{options.events:,} events, {options.distinct:,} different values: {seconds:.1f} s")
    print(f"peak {peak / 1024:,.0f} MiB ({before / 1024:,.0f} MiB before learning)")
    print(f"{held:,} of {_NUM_FREQUENT:,} frequent values found, vocabulary of {len(vocabulary.values):,}")


if __name__ == "__main__":
    main()
