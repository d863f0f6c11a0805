"""Accuracy for raw transactions, by kind of customer: the tables of README, by a user's commands.

    uv run python tests/benchmarks/transactions.py --out transactions

writes the sample `transactions` (3,000 customers to learn from, 3,000 to be judged on), trains with no tuning for three
seeds, exports, and judges with ``seqembed evaluate``: all kinds at once, and four of them against plain alone, since
who cannot tell four kinds apart gives the votes of all of them to a fifth. Then it measures `seqembed run` on one
thread, from Parquet to Parquet, in processor time of all its threads without the start: three numbers and three
categories a step against six numbers, the same steps and the same encoder behind them. Takes some thirty minutes on two
cores.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from representations import processor_seconds, seqembed, spread

KINDS = ("plain", "mix", "amounts", "order", "timing", "night")
FIGURES = {"f1": "F1", "recall": "recall"}
PAIRED = ("mix", "amounts", "order", "timing")
CONTROLS = ("untrained encoder", "bag of categories", "mean and spread")
SPEED_ROWS, FEW_ROWS, ROUNDS = 40_000, 4_000, 6
# One and the same encoder behind either input: by itself the recipe would choose another for events.
LIKE = (
    "--objective",
    "reconstruct",
    "--normalization",
    "sequence",
    "--channels",
    "values",
    "--frame",
    "1",
    "--steps",
    "1",
)
VALUES = (4, 30, 200)  # distinct values of the three categories


def evaluate(root, seeds, options):
    """Train, export and evaluate.

    Returns:
        By figure and set of vectors, a list of kinds a draw, and the seconds of each training. The figure ``pair`` is
        the accuracy of a kind against plain alone.
    """
    seqembed("sample", "transactions", "--out", root / "data", "--layout", "events", "--files", 2)
    train, test = (root / "data" / f"part-0000{index}.parquet" for index in range(2))
    found = {figure: {name: [] for name in ("trained encoder", *CONTROLS)} for figure in (*FIGURES, "pair")}
    for kind in PAIRED:
        for index, path in enumerate((train, test)):
            rows = pq.read_table(path)
            rows = rows.filter(pc.is_in(rows["label"], pa.array(["plain", kind])))
            pq.write_table(rows, root / f"{kind}-{index}.parquet")
    seconds = []
    for seed in seeds:
        run, bundle = root / f"run-{seed}", root / f"encoder-{seed}.onnx"
        common = ["--seed", seed, "--overwrite", "--progress", "none"]
        seconds.append(
            seqembed("train", train, "--time", "time", "--label", "label", "--out", run, *common, *options)[1]
        )
        seqembed("export", run, "--out", bundle)
        for name, scores in evaluated(bundle, train, test):
            for figure in FIGURES:
                if name in found[figure]:
                    found[figure][name] += [[score["svm"][figure][kind] for kind in KINDS] for score in scores]
        pairs = {name: [] for name in found["pair"]}
        for kind in PAIRED:
            for name, scores in evaluated(bundle, root / f"{kind}-0.parquet", root / f"{kind}-1.parquet"):
                if name in pairs:
                    pairs[name].append([score["svm"]["accuracy"] for score in scores])
        for name, kinds in pairs.items():
            found["pair"][name] += zip(*kinds, strict=True)
        print(f"seed {seed}, {seconds[-1]:.0f} s: {found['f1']['trained encoder'][-1]}", flush=True)
    return found, seconds


def evaluated(bundle, train, test):
    """Return name and scores of each set of vectors."""
    splits = ["--train", train, "--test", test, "--label", "label"]
    document = json.loads(seqembed("evaluate", "--model", bundle, *splits, "--json", "--progress", "none")[0])
    return [(row["name"], row["scores"]) for row in document["rows"]]


def speed(root):
    """Return rows a second of the runner, by what a step holds."""
    seqembed("sample", "telemetry", "--out", root / "telemetry.parquet", "--rows", SPEED_ROWS)
    table = pq.read_table(root / "telemetry.parquet")
    numbers = table.select(["id", *(f"f{index}" for index in range(6))])
    mixed = numbers.select(["id", "f0", "f1", "f2"])
    offsets = table["f0"].combine_chunks().offsets
    generator = np.random.default_rng(0)
    for index, size in enumerate(VALUES):
        codes = generator.integers(0, size, size=offsets[-1].as_py()).astype(np.int32)
        texts = pc.cast(
            pa.DictionaryArray.from_arrays(codes, [f"value-{code:03d}" for code in range(size)]), pa.string()
        )
        mixed = mixed.append_column(f"c{index}", pa.ListArray.from_arrays(offsets, texts))
    steps = {"6 numbers": numbers, "3 + 3": mixed}
    for name, one in steps.items():
        prepare(root / "speed", name, one)
    seconds = {name: [] for name in steps}
    for name in list(steps) * ROUNDS:
        seconds[name].append(run_seconds(root / "speed", name))
    return {name: (SPEED_ROWS - FEW_ROWS) / min(found) for name, found in seconds.items()}


def prepare(root, name, one):
    """Write the rows, and an encoder of them: how it was trained does not change what it costs."""
    root.mkdir(exist_ok=True)
    path = root / name.replace(" ", "")
    pq.write_table(one, path.with_suffix(".parquet"), row_group_size=10_000)
    seqembed("train", path.with_suffix(".parquet"), "--out", path, *LIKE, "--overwrite", "--progress", "none")
    seqembed("export", path, "--out", path.with_suffix(".onnx"))


def run_seconds(root, name):
    """Return the processor time that all rows take longer than a few."""
    path, seconds = root / name.replace(" ", ""), {}
    for rows in (FEW_ROWS, SPEED_ROWS):
        shutil.rmtree(root / "vectors", ignore_errors=True)
        before = processor_seconds()
        bundle = path.with_suffix(".onnx")
        call = ["run", path.with_suffix(".parquet"), "--model", bundle, "--out", root / "vectors", "--threads", 1]
        seqembed(*call, "--limit", rows)
        seconds[rows] = processor_seconds() - before
    return seconds[SPEED_ROWS] - seconds[FEW_ROWS]


def table(found, kinds=KINDS):
    """Return a figure of each kind, mean over the draws, in Markdown."""
    names = ["trained encoder", *CONTROLS]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for index, kind in enumerate(kinds):
        lines.append(
            f"| {kind} | " + " | ".join(spread([draw[index] for draw in found[name]]) for name in names) + " |"
        )
    lines.append("| all | " + " | ".join(spread([np.mean(draw) for draw in found[name]]) for name in names) + " |")
    return "\n".join(lines)


def main():
    """Evaluate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, runs and table.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="more options of seqembed train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found, seconds = evaluate(given.out, range(given.seeds), given.options)
    rates = speed(given.out)
    (given.out / "table.json").write_text(json.dumps({**found, "seconds": seconds, "rows": rates}, indent=1))
    for figure, name in FIGURES.items():
        print(f"{name} of each kind\n{table(found[figure])}\n")
    print(f"accuracy of each kind against plain alone\n{table(found['pair'], PAIRED)}\n")
    print(f"training took {np.mean(seconds):.0f} s")
    print(", ".join(f"{name}: {rate:,.0f} rows/s" for name, rate in rates.items()))
    print(f"three of six numbers turned into categories: {rates['3 + 3'] / rates['6 numbers']:.2f} ×")


if __name__ == "__main__":
    main()
