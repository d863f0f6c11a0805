"""What one would count by hand in raw transactions: pairs of following categories, and gaps, alone and in pairs.

    uv run python tests/benchmarks/event_controls.py --out event-controls

writes the sample `transactions` and judges each control as `transactions.py` judges the encoders: an RBF SVM on
standardised columns, all kinds at once (F1 of each), and four kinds against plain alone (accuracy). Categories in
pairs are counted on the training rows; only the most frequent pairs get a column. Takes some minutes on two cores.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from representations import seqembed
from transactions import KINDS, PAIRED

from seqembed.runner.evaluate.protocols import Task, quiet, svm_accuracy

MOST_PAIRS = 1_000
GAP_EDGES = np.log(3600 * 2.0 ** np.arange(-5, 9))  # from two minutes to ten days, in steps of two


def histories(path):
    """Return the label of each customer, and categories, types, logarithms of gaps and of amounts in time order."""
    rows = pq.read_table(path).to_pandas()
    found = []
    for _, one in rows.groupby("id", sort=False):
        gaps = np.log(np.maximum(one["time"].diff().dt.total_seconds().to_numpy()[1:], 1.0))
        found.append(
            (one["label"].iloc[0], one["category"].tolist(), one["type"].tolist(), gaps, np.log(one["amount"]))
        )
    return found


def shares(texts, names):
    """Return the share of each name among texts."""
    counts = Counter(texts)
    return [counts[name] / max(1, len(texts)) for name in names]


def pairs_of(values):
    return list(zip(values, values[1:], strict=False))


def columns(train):
    """Return functions from a history to numbers, by control."""
    single = sorted({name for _, names, *_ in train for name in names})
    kinds = sorted({name for _, _, names, *_ in train for name in names})
    counted = Counter(pair for _, names, *_ in train for pair in pairs_of(names))
    frequent = [pair for pair, _ in counted.most_common(MOST_PAIRS)]
    bins = range(len(GAP_EDGES) + 1)

    def bag(one):
        _, names, types, _, amounts = one
        return [*shares(names, single), *shares(types, kinds), amounts.mean(), amounts.std(), np.log(len(names))]

    def pairs(one):
        of_types = [(a, b) for a in kinds for b in kinds]
        return [*shares(pairs_of(one[1]), frequent), *shares(pairs_of(one[2]), of_types)]

    def gaps(one):
        found = np.digitize(one[3], GAP_EDGES).tolist()
        both = [(a, b) for a in bins for b in bins]
        return [*shares(found, bins), *shares(pairs_of(found), both), one[3].mean(), one[3].std()]

    return {
        "bag": (bag,),
        "bag and pairs of categories": (bag, pairs),
        "gaps and pairs of gaps": (gaps,),
        "all of these": (bag, pairs, gaps),
    }


def vectors(control, train, test):
    """Return float64 (rows, columns) of both, standardised by the training rows."""
    found = [np.array([[number for part in control for number in part(one)] for one in rows]) for rows in (train, test)]
    mean, std = found[0].mean(axis=0), found[0].std(axis=0)
    used = std > 0
    return [((rows - mean)[:, used] / std[used]) for rows in found]


def judged(fitted, asked, classes, true):
    """Return the scores of the SVM."""
    with quiet():
        return svm_accuracy(fitted, asked, Task(classes, true, seed=0, threads=2))


def main():
    """Count, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the data")
    given = parser.parse_args()
    seqembed("sample", "transactions", "--out", given.out / "data", "--layout", "events", "--files", 2)
    train, test = (histories(given.out / "data" / f"part-0000{index}.parquet") for index in range(2))
    classes, true = (np.array([KINDS.index(one[0]) for one in rows]) for rows in (train, test))
    print("| F1, then accuracy against plain | " + " | ".join((*KINDS, *PAIRED)) + " |")
    for name, control in columns(train).items():
        fitted, asked = vectors(control, train, test)
        found = judged(fitted, asked, classes, true)
        both = found.recalls + found.precisions
        cells = list(2 * found.recalls * found.precisions / np.maximum(both, 1e-9))
        for kind in PAIRED:
            either = [0, KINDS.index(kind)]
            ours, theirs = np.isin(classes, either), np.isin(true, either)
            cells.append(judged(fitted[ours], asked[theirs], classes[ours], true[theirs]).accuracy)
        print(
            f"| {name}, {fitted.shape[1]} columns | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |", flush=True
        )


if __name__ == "__main__":
    main()
