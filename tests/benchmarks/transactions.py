"""What vectors of raw transactions are worth, kind of customer by kind: the tables of README, from a user's commands.

    uv run python tests/benchmarks/transactions.py --out transactions

writes the sample `transactions` (3,000 customers to learn from, 3,000 to be judged on), trains with no tuning for three
seeds, exports, and judges with ``seqembed evaluate``. Then it measures `seqembed run` on one thread, from Parquet to
Parquet without the start of the process: three numbers and three categories a step against six numbers, on sequences
of one and the same length each. Takes some ten minutes on two cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from representations import seqembed, spread

KINDS = ("plain", "mix", "amounts", "order", "timing", "night")
CONTROLS = ("untrained encoder", "bag of categories", "mean and spread")
SPEED_ROWS = 40_000
VALUES = (4, 30, 200)  # distinct values of the three categories


def judge(root, seeds, options):
    """Train, export and judge; return the recalls of all draws of each kind of vectors, (draws, kinds), and seconds."""
    seqembed("sample", "transactions", "--out", root / "data", "--layout", "events", "--files", 2)
    train, test = (root / "data" / f"part-0000{place}.parquet" for place in range(2))
    found = {"trained encoder": [], **{name: [] for name in CONTROLS}}
    seconds = []
    for seed in seeds:
        run, bundle = root / f"run-{seed}", root / f"encoder-{seed}.onnx"
        common = ["--seed", seed, "--overwrite", "--progress", "none"]
        seconds.append(
            seqembed("train", train, "--time", "time", "--label", "label", "--out", run, *common, *options)[1]
        )
        seqembed("export", run, "--out", bundle)
        splits = ["--train", train, "--test", test, "--label", "label"]
        document = json.loads(seqembed("evaluate", "--model", bundle, *splits, "--json", "--progress", "none")[0])
        for row in document["rows"]:
            if row["name"] in found:
                found[row["name"]] += [[score["svm"]["recall"][kind] for kind in KINDS] for score in row["scores"]]
        print(f"seed {seed}, {seconds[-1]:.0f} s: {found['trained encoder'][-1]}", flush=True)
    return found, seconds


def speed(root):
    """Return rows a second of the runner, by what a step holds."""
    seqembed("sample", "telemetry", "--out", root / "telemetry.parquet", "--rows", SPEED_ROWS)
    table = pq.read_table(root / "telemetry.parquet")
    numbers = table.select(["id", *(f"f{place}" for place in range(6))])
    mixed = numbers.select(["id", "f0", "f1", "f2"])
    offsets = table["f0"].combine_chunks().offsets
    generator = np.random.default_rng(0)
    for place, size in enumerate(VALUES):
        codes = generator.integers(0, size, size=offsets[-1].as_py()).astype(np.int32)
        texts = pc.cast(
            pa.DictionaryArray.from_arrays(codes, [f"value-{code:03d}" for code in range(size)]), pa.string()
        )
        mixed = mixed.append_column(f"c{place}", pa.ListArray.from_arrays(offsets, texts))
    return {name: rate(root / "speed", name, one) for name, one in (("6 numbers", numbers), ("3 + 3", mixed))}


def rate(root, name, table):
    """Return the best of three runs: how the encoder was trained does not change what it costs."""
    root.mkdir(exist_ok=True)
    place = root / name.replace(" ", "")
    path, bundle = place.with_suffix(".parquet"), place.with_suffix(".onnx")
    pq.write_table(table, path, row_group_size=10_000)
    seqembed("train", path, "--out", place, "--steps", 1, "--overwrite", "--progress", "none")
    seqembed("export", place, "--out", bundle)
    seconds = []
    for _ in range(3):
        seqembed("run", path, "--model", bundle, "--out", root / "vectors", "--threads", 1, "--overwrite")
        seconds.append(json.loads((root / "vectors" / "_SUCCESS").read_text())["seconds"])
    return SPEED_ROWS / min(seconds)


def table(found):
    """Return the share of each kind that is told, mean over the draws, in Markdown."""
    names = ["trained encoder", *CONTROLS]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place, kind in enumerate(KINDS):
        lines.append(
            f"| {kind} | " + " | ".join(spread([draw[place] for draw in found[name]]) for name in names) + " |"
        )
    lines.append("| all | " + " | ".join(spread([np.mean(draw) for draw in found[name]]) for name in names) + " |")
    return "\n".join(lines)


def main():
    """Judge, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, runs and table.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="more options of seqembed train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found, seconds = judge(given.out, range(given.seeds), given.options)
    rates = speed(given.out)
    (given.out / "table.json").write_text(json.dumps({"recall": found, "seconds": seconds, "rows": rates}, indent=1))
    print(table(found))
    print(f"training took {np.mean(seconds):.0f} s")
    print(", ".join(f"{name}: {rate:,.0f} rows/s" for name, rate in rates.items()))
    print(f"three of six numbers turned into categories: {rates['3 + 3'] / rates['6 numbers']:.2f} ×")


if __name__ == "__main__":
    main()
