"""Spend of the next 39 weeks from the purchases of the first 39: the table of README, by a user's commands.

    uv run python -m tests.benchmarks.cdnow --out cdnow -- --steps 1500

CDNOW is a log of 69,659 purchases by 23,570 customers of a music shop, all of whom bought first in January to March
1997, until the end of June 1998 (Fader and Hardie, Interfaces 31, 2001). The package lifetimes carries it; its wheel is
downloaded and unpacked here, not installed. Purchases are written as one Parquet file per week; `seqembed group` makes
histories of those before October, `train` learns from them without any target, `run` embeds them. A ridge regression on
standardised columns, its penalty chosen within the training part, predicts the dollars that a customer spends from
October on, in five splits by customer: from the vectors of the trained encoder and of an untrained one, from recency,
frequency and monetary value with their logarithms, and from both together. How long ago the last purchase lies is not
in a sequence, so the encoder cannot know it.
"""

import argparse
import io
import json
import subprocess
import zipfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.representations import seqembed

WHEEL = "lifetimes==0.11.3"
LOG = "lifetimes/datasets/CDNOW_master.txt"
NUM_PURCHASES, NUM_CUSTOMERS = 69_659, 23_570
FIRST, CUT, END = date(1997, 1, 1), date(1997, 10, 1), date(1998, 7, 1)
SPLITS = 5
PENALTIES = np.logspace(-1, 5, 13)


def purchases(root):
    """Return customer, day, number of discs and dollars of every purchase, in the order of the log."""
    if not list(root.glob("*.whl")):
        subprocess.run(["uvx", "pip", "download", "--no-deps", "--quiet", "--dest", root, WHEEL], check=True)
    (wheel,) = root.glob("*.whl")
    lines = io.TextIOWrapper(zipfile.ZipFile(wheel).open(LOG)).read().split("\n")[1:]
    rows = [line.split() for line in lines if line.strip()]
    days = [date(int(day[:4]), int(day[4:6]), int(day[6:])) for _, day, _, _ in rows]
    found = {
        "customer": pa.array([int(customer) for customer, *_ in rows], pa.int32()),
        "time": pa.array(days, pa.date32()),
        "discs": pa.array([int(discs) for _, _, discs, _ in rows], pa.int16()),
        "dollars": pa.array([float(dollars) for *_, dollars in rows]),
    }
    table = pa.table(found)
    assert (len(table), len(set(found["customer"].to_pylist()))) == (NUM_PURCHASES, NUM_CUSTOMERS)
    return table


def write_weeks(table, root):
    """Write one file of purchases per week."""
    root.mkdir(exist_ok=True)
    weeks = np.array([(day - FIRST).days // 7 for day in table["time"].to_pylist()])
    for week in range((END - FIRST).days // 7 + 1):
        rows = np.flatnonzero(weeks == week)
        if len(rows):
            start = FIRST + timedelta(weeks=week)
            pq.write_table(table.take(rows), root / f"week-{start}.parquet")


def columns_of(table):
    """Return, for customers 1 to n, the dollars after the cut, and recency, frequency and monetary value before it."""
    customer = table["customer"].to_numpy() - 1
    day = np.array([(one - FIRST).days for one in table["time"].to_pylist()])
    discs, dollars = table["discs"].to_numpy(), table["dollars"].to_numpy()
    before = day < (CUT - FIRST).days

    def total(values, rows):
        return np.bincount(customer[rows], values[rows], NUM_CUSTOMERS)

    last, first = np.zeros(NUM_CUSTOMERS), np.full(NUM_CUSTOMERS, 1e9)
    np.maximum.at(last, customer[before], day[before])
    np.minimum.at(first, customer[before], day[before])
    count, spent, bought = (total(values, before) for values in (np.ones(len(day)), dollars, discs))
    cut = (CUT - FIRST).days
    found = [cut - last, cut - first, count, spent, spent / count, bought]
    return total(dollars, ~before), np.stack([*found, *map(np.log1p, found)], axis=1)


def vectors(bundle, histories, out):
    """Return the vectors of customers 1 to n, float64 (customers, width)."""
    seqembed("run", histories, "--model", bundle, "--out", out, "--overwrite", "--progress", "none")
    parts = pa.concat_tables(pq.read_table(path) for path in sorted(out.glob("*.parquet"))).sort_by("customer")
    assert parts["customer"].to_pylist() == list(range(1, NUM_CUSTOMERS + 1))
    embedding = parts["embedding"].combine_chunks()
    return embedding.flatten().to_numpy().reshape(NUM_CUSTOMERS, -1).astype(np.float64)


def errors(columns, target):
    """Return RMSE and MAE in dollars and R², float64 (splits, 3)."""
    found = []
    for train, test in KFold(SPLITS, shuffle=True, random_state=0).split(columns):
        scaler = StandardScaler().fit(columns[train])
        model = RidgeCV(PENALTIES).fit(scaler.transform(columns[train]), target[train])
        missed = model.predict(scaler.transform(columns[test])) - target[test]
        explained = 1 - (missed**2).sum() / ((target[test] - target[test].mean()) ** 2).sum()
        found.append((np.sqrt((missed**2).mean()), np.abs(missed).mean(), explained))
    return np.array(found)


def evaluate(root, seeds, options):
    """Return the errors by set of columns, each (draws, splits, 3), and the seconds of each training."""
    table = purchases(root)
    write_weeks(table, root / "weeks")
    histories = root / "histories"
    seqembed("group", root / "weeks", "--id", "customer", "--time", "time", "--until", CUT, "--out", histories)
    target, plain = columns_of(table)
    found = {"mean spend": [errors(np.zeros((NUM_CUSTOMERS, 1)), target)], "recency, frequency, monetary value": []}
    found["recency, frequency, monetary value"].append(errors(plain, target))
    names = ("trained encoder", "the same untrained", "trained encoder and RFM", "the same untrained and RFM")
    found |= {name: [] for name in names}
    seconds = []
    for seed in seeds:
        words = ["--id", "customer", "--time", "time", "--seed", seed, "--overwrite", "--progress", "none"]
        for index, more in enumerate((options, [*without_length(options), "--epochs", 0])):
            run = root / f"{('trained', 'untrained')[index]}-{seed}"
            took = seqembed("train", histories, *words, "--out", run, *more)[1]
            seconds += [took] if index == 0 else []
            seqembed("export", run, "--out", run.with_suffix(".onnx"))
            embedded = vectors(run.with_suffix(".onnx"), histories, root / f"vectors-{run.name}")
            found[names[index]].append(errors(embedded, target))
            found[names[index + 2]].append(errors(np.concatenate([embedded, plain], axis=1), target))
        print(f"seed {seed}, {seconds[-1]:.0f} s: {found[names[0]][-1].mean(axis=0)}", flush=True)
    return found, seconds


def without_length(options):
    """Return options of a training without its length."""
    names = ("--steps", "--epochs")
    return [word for index, word in enumerate(options) if word not in names and options[index - 1] not in names]


def table_of(found):
    """Return the mean over draws and splits, with the standard error over splits, in Markdown."""
    lines = ["| ridge regression on | RMSE, $ | MAE, $ | R² |", "|---|---|---|---|"]
    for name, draws in found.items():
        by_split = np.mean(draws, axis=0)
        means, spread = by_split.mean(axis=0), by_split.std(axis=0, ddof=1) / np.sqrt(SPLITS)
        cells = [
            f"{mean:.{digits}f} ± {error:.{digits}f}"
            for mean, error, digits in zip(means, spread, (1, 1, 3), strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, runs and table.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="more options of seqembed train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found, seconds = evaluate(given.out, range(given.seeds), given.options)
    document = {name: [draw.tolist() for draw in draws] for name, draws in found.items()}
    (given.out / "table.json").write_text(json.dumps(document | {"seconds": seconds}, indent=1))
    print(table_of(found))
    print(f"training took {np.mean(seconds):.0f} s")


if __name__ == "__main__":
    main()
