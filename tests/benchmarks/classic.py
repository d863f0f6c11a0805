"""Reconstruction by the autoencoder at its default settings: four decoders, two cells, two activations.

    uv run python tests/benchmarks/classic.py --out DIR [--seeds 3] [--only ramps,moving-ones]

Trains on generated samples by the command line, one process each, and prints a table: the held-out loss as a share of
what always answering with the mean scores, the accuracy of ones and zeros, and seconds of processor time.
"""

import argparse
import json
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path

LAST_STATE = ("--forward-only", "--pooling", "last", "--progress", "none", "--overwrite")
RECONSTRUCT = (*LAST_STATE, "--objective", "reconstruct")
DECODERS = ("repeat", "reshape", "dense", "autoregressive")
BINARY = ("--loss", "binary_crossentropy", "--units", "20")
SAMPLES = {"ramps": 60, "moving-ones": 1_000, "japanese-vowels": None, "telemetry": 2_000}


def trainings() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return, by sample, the name and options of every training."""
    ramps = ("--units", "2", "--decoder-units", "100", "--epochs", "150")
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {"ramps": [], "moving-ones": []}
    for cell, activation, decoder in product(("lstm", "gru"), ("relu", "tanh"), DECODERS):
        options = ("--cell", cell, "--activation", activation, "--decoder", decoder)
        found["ramps"].append((f"{decoder}, {cell}, {activation}", (*RECONSTRUCT, *ramps, *options)))
    for decoder in DECODERS:
        found["moving-ones"].append((decoder, (*RECONSTRUCT, *BINARY, "--decoder", decoder)))
    found["moving-ones"].append(("next step", (*LAST_STATE, *BINARY, "--task", "predict")))
    for sample, units in (("japanese-vowels", "20"), ("telemetry", "32")):
        found[sample] = [(decoder, (*RECONSTRUCT, "--units", units, "--decoder", decoder)) for decoder in DECODERS]
    return found


def seqembed(*words: str) -> float:
    """Run a command; return its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "seqembed", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Train all, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(SAMPLES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print("| data | training | loss over the mean's, by seed | accuracy | restarts | processor seconds |")
    print("|---|---|---|---|---|---|")
    for sample in given.only.split(","):
        data, rows = given.out / f"{sample}.parquet", SAMPLES[sample]
        if not data.exists():
            seqembed("sample", sample, "--out", str(data), *(() if rows is None else ("--rows", str(rows))))
        for name, options in trainings()[sample]:
            report(sample, name, [train(data, given.out, options, seed) for seed in range(given.seeds)])


def train(data: Path, out: Path, options: tuple[str, ...], seed: int) -> tuple[dict, float]:
    """Return the history of a training, and its seconds of processor time."""
    run = out / "run"
    seconds = seqembed("train", str(data), "--out", str(run), "--seed", str(seed), *options)
    return json.loads((run / "history.json").read_text()), seconds


def report(sample: str, name: str, runs: list[tuple[dict, float]]) -> None:
    """Print a line of the table."""
    shares = ", ".join(f"{history['health']['loss_over_mean']:.4f}" for history, _ in runs)
    right = [history["best"].get("val_binary_accuracy") for history, _ in runs]
    accuracies = "" if right[0] is None else ", ".join(f"{value:.4f}" for value in right)
    restarts = sum(history["num_restarts"] for history, _ in runs)
    seconds = ", ".join(f"{seconds:.0f}" for _, seconds in runs)
    print(f"| {sample} | {name} | {shares} | {accuracies} | {restarts} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
