"""Speed and accuracy of int8: LSTM encoders exported in both precisions, timed in turns on one thread.

    uv run python -m tests.benchmarks.precision --out precision

writes `telemetry` (8 features), trains an encoder of each shape for a few steps, and exports it in fp32 and in int8.
The figures of quality are those of the export's own gate, on the run's sample of 1,000 rows. Speed is that of the
runner's encoder on a batch of as many sequences as the bundle says, of 30 to 36 steps: the median over rounds in which
both precisions take turns.

Takes some three minutes on two cores.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.cli import main as seqembed

COMMON = (
    "--frame",
    "1",
    "--channels",
    "values",
    "--normalization",
    "dataset",
    "--pooling",
    "last",
    "--progress",
    "none",
)
SHAPES = [(units, way) for units in (64, 128, 256) for way in ("--forward-only", "--bidirectional")]
STEPS, FEATURES = 36, 8
PRECISIONS = ("fp32", "int8")


def call(*words):
    """Run a command in this process, so that TensorFlow is imported once."""
    seqembed([str(word) for word in words], standalone_mode=False)


def encoders(root, data, units, way, steps):
    """Train an encoder of one shape, export it in both precisions, and open what was written."""
    run = root / f"lstm-{units}{way}"
    call("train", data, "--out", run, "--units", units, way, *COMMON, "--steps", steps, "--seed", 0, "--overwrite")
    opened = {}
    for precision in PRECISIONS:
        out = run / f"{precision}.onnx"
        call("export", run, "--out", out, "--precision", precision)
        opened[precision] = Encoder.open(out)
    return opened


def seconds_a_batch(opened, rounds):
    """Return the median seconds of one batch by precision; the precisions take turns."""
    random, size = np.random.default_rng(0), opened["fp32"].contract.batch_size
    values = random.normal(size=(size, STEPS, FEATURES)).astype(np.float32)
    lengths = random.integers(30, STEPS + 1, size).astype(np.int32)
    taken = {precision: [] for precision in opened}
    for _ in range(rounds + 1):
        for precision, encoder in opened.items():
            start = time.perf_counter()
            encoder.embed(values, lengths)
            taken[precision].append(time.perf_counter() - start)
    return {precision: statistics.median(seconds[1:]) for precision, seconds in taken.items()}


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for data and models")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=30, help="batches each encoder is trained for")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    data = options.out / "telemetry"
    if not data.exists():
        call("sample", "telemetry", "--out", data, "--rows", options.rows)
    lines = ["| encoder | fp32 rows/s | int8 rows/s | int8 is | mean cosine | least | neighbours kept | alone, least |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for units, way in SHAPES:
        opened = encoders(options.out, data, units, way, options.steps)
        seconds = seconds_a_batch(opened, options.rounds)
        size = opened["fp32"].contract.batch_size
        fp32, int8 = (size / seconds[precision] for precision in PRECISIONS)
        found = opened["int8"].contract.quantisation
        lines.append(
            f"| LSTM-{units} {way[2:]} | {fp32:,.0f} | {int8:,.0f} | {int8 / fp32:.2f} × | {found.mean_cosine:.5f} | "
            f"{found.min_cosine:.5f} | {found.neighbour_agreement:.1%} | {found.min_cosine_alone:.5f} |"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
