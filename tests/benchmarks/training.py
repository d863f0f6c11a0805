"""Speed of `seqembed train`, compared with `model.fit` on padded arrays and a PyTorch loop on packed sequences.

    uv run python -m tests.benchmarks.training --out training

trains one and the same autoencoder on `telemetry` (8 features, lognormal lengths of 5 to 100 steps) for as many epochs
each: an LSTM-64, its last state repeated, an LSTM-64 and a dense layer; squared errors of real steps, Adam 2e-3 (which
ours lowers in the second half), gradients clipped to 1, batches of 64, the same rows held out and scored after every
epoch. Rows a second are of the whole loop: compilation and validation are in it, reading the data and starting the
process are not. Rounds take turns with their own seeds; the fastest of each counts, and losses are reported as the
mean.

PyTorch needs an environment of its own, and is left out without it:

    python3 -m venv peers
    peers/bin/pip install torch numpy
    uv run python -m tests.benchmarks.training --out training --peer-python peers/bin/python

Takes some fifteen minutes on two cores.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from seqembed.data.decode.hashing import hash_ids
from tests.benchmarks.bound import FEATURES
from tests.benchmarks.processes import SEQEMBED, timed
from tests.benchmarks.throughput import PEERS, machine, telemetry

BATCH_SIZE, FRACTION = 64, 0.1
MODEL = ("--units", 64, "--forward-only", "--pooling", "last", "--decoder", "repeat", "--objective", "reconstruct")
CHANNELS = ("--channels", "values", "--normalization", "dataset", "--frame", 1)


def seqembed_train(path, run, epochs, seed):
    """Train with seqembed; return its figures and where it wrote them."""
    options = ("--epochs", epochs, "--patience", 10**9, "--batch-size", BATCH_SIZE, "--validation-fraction", FRACTION)
    options = (*options, "--learning-rate", 2e-3)
    words = [*SEQEMBED, "train", path, "--out", run, *MODEL, *CHANNELS, *options, "--seed", seed, "--overwrite"]
    wall, _, memory, _ = timed([*words, "--progress", "none"])
    history = json.loads((run / "history.json").read_text())
    rows = epochs * history["num_training"]
    return {
        "rows/s": rows / history["seconds"],
        "loss": history["epochs"][-1]["val_loss"],
        "seconds": wall,
        "MiB": memory,
    }


def write_arrays(path, run, out):
    """Write the steps that seqembed learned from, in its units, and which sequences it held out."""
    table = pq.read_table(path)
    profile = json.loads((run / "contract.json").read_text())["training"]["profile"]
    columns = [table[name].combine_chunks() for name in FEATURES]
    steps = np.stack([column.flatten().to_numpy() for column in columns], axis=-1).astype(np.float64)
    scaled = np.clip((steps - profile["mean"]) / profile["std"], -10, 10).astype(np.float32)
    held_out = hash_ids(table["id"].combine_chunks()) < np.uint64(int(FRACTION * 2.0**64))
    np.savez(out, steps=scaled, offsets=columns[0].offsets.to_numpy(), held_out=held_out)


def peer_train(python, script, arrays, epochs, seed):
    """Train with a peer; return its figures."""
    wall, _, memory, printed = timed([python, script, arrays, epochs, BATCH_SIZE, seed], cwd=PEERS)
    one = json.loads(printed.splitlines()[-1])
    return {"rows/s": one["rows"] / one["seconds"], "loss": one["loss"], "seconds": wall, "MiB": memory}


def table(found):
    """Return the table of README, in Markdown."""
    lines = ["| | rows/s | ours is faster | validation loss | seconds in all | peak MiB |", "|---" * 6 + "|"]
    ours = max(one["rows/s"] for one in found["seqembed train"])
    for name, rounds in found.items():
        best = max(rounds, key=lambda one: one["rows/s"])
        losses = [one["loss"] for one in rounds]
        error = np.std(losses, ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0.0
        lines.append(
            f"| {name} | {best['rows/s']:,.0f} | {ours / best['rows/s']:.1f} × | "
            f"{np.mean(losses):.3f} ± {error:.3f} | {best['seconds']:.0f} | {best['MiB']:.0f} |"
        )
    return "\n".join(lines)


def main():
    """Train in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, runs and training.json")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", type=lambda path: Path(path).absolute(), help="interpreter with torch")
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    path, arrays, run = telemetry(given.out, given.rows), given.out / "arrays.npz", given.out / "run"
    peers = {"plain model.fit, padded to the longest": (sys.executable, PEERS / "keras_fit.py")}
    if given.peer_python:
        peers["PyTorch, packed sequences"] = (given.peer_python, PEERS / "torch_train.py")
    found = {"seqembed train": [], **{name: [] for name in peers}}
    for seed in range(given.rounds):
        found["seqembed train"].append(seqembed_train(path, run, given.epochs, seed))
        print(f"seqembed train: {found['seqembed train'][-1]}", flush=True)
        if not seed:
            write_arrays(path, run, arrays)
        for name, (python, script) in peers.items():
            found[name].append(peer_train(python, script, arrays, given.epochs, seed))
            print(f"{name}: {found[name][-1]}", flush=True)
    (given.out / "training.json").write_text(json.dumps({"machine": machine(), **found}, indent=1))
    print(f"\n{given.rows:,} rows, {given.epochs} epochs, {given.rounds} rounds\n\n{table(found)}")
    print(machine())


if __name__ == "__main__":
    main()
