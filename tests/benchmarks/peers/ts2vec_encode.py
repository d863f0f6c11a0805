"""TS2Vec encodes the sequences of a file, repeated, on one thread; prints sequences a second. Arguments: INPUT, ROWS.

Weights do not change what it costs, so it is not trained. Reading, and padding with NaN as its data loaders do, are not
timed; the best of several batch sizes counts.
"""

import sys
import time

import numpy as np
import pyarrow.parquet as pq
import torch
from ts2vec import TS2Vec

BATCHES = (16, 64, 256)
ROUNDS = 2


def padded(path):
    """Return float32 (sequences, time, features), NaN past each length."""
    table = pq.read_table(path)
    columns = [table[name].to_pylist() for name in table.column_names if name not in ("id", "label")]
    longest = max(map(len, columns[0]))
    values = np.full((len(table), longest, len(columns)), np.nan, np.float32)
    for feature, rows in enumerate(columns):
        for row, steps in enumerate(rows):
            values[row, : len(steps), feature] = steps
    return values


def main():
    """Encode in turns and print the best rate."""
    torch.set_num_threads(1)
    values = padded(sys.argv[1])
    values = np.concatenate([values] * -(-int(sys.argv[2]) // len(values)))[: int(sys.argv[2])]
    model = TS2Vec(input_dims=values.shape[2], device="cpu")  # its own widths: 64 hidden, 320 out, depth 10
    best = 0.0
    for size in BATCHES * ROUNDS:
        start = time.process_time()
        model.encode(values, encoding_window="full_series", batch_size=size)
        best = max(best, len(values) / (time.process_time() - start))
    print(best)


if __name__ == "__main__":
    main()
