"""Accuracy of a configuration on data that may be used to choose it: generated sets, and train splits of public ones.

    uv run --with aeon python tests/benchmarks/screening.py --out screening
    uv run --with aeon python tests/benchmarks/screening.py --out screening --name longer -- --steps 2000

trains with the options after ``--`` (none is the default recipe) on a hundred rows of each set of `own_sets` and on the
train splits of open sets, for three seeds each. Accuracy is that of an RBF SVM on the vectors, by the protocol of
``seqembed evaluate``: fitted on the hundred rows and asked a thousand others, or, in a train split, six times five-fold
cross-validated. No test split is read. All runs of one --out stand in one table, with their differences from the
default run of the same seed. Takes some fifteen minutes on two cores.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from own_sets import OWN_SETS, write_own_set
from representations import seqembed, spread, write_split
from sklearn.model_selection import StratifiedKFold

from seqembed.runner.evaluate.protocols import Task, quiet, svm_accuracy

OPEN_SETS = ("GunPoint", "ItalyPowerDemand")  # JapaneseVowels and BasicMotions are too easy: 0.98 to 1
REPETITIONS, FOLDS = 6, 5
DEFAULT = "default"


def vectors(bundle, path, root):
    """Return the vectors of a file, float64 (rows, embedding_dim), and its classes."""
    seqembed("run", path, "--model", bundle, "--out", root, "--keep", "label", "--progress", "none", "--overwrite")
    rows = pq.read_table(root)
    embedding = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    return embedding.astype(np.float64), np.unique(rows["label"].to_pylist(), return_inverse=True)[1]


def accuracy(train, test, classes, asked):
    """Return the SVM's accuracy on the rows asked."""
    with quiet():
        return svm_accuracy(train, test, Task(classes, asked, seed=0, threads=1)).accuracy


def cross_validated(embedding, classes):
    """Return the mean accuracy over folds that are dealt several times."""
    found = []
    for repetition in range(REPETITIONS):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=repetition).split(embedding, classes)
        found += [accuracy(embedding[fit], embedding[held], classes[fit], classes[held]) for fit, held in folds]
    return float(np.mean(found))


def train_and_score(name, seed, options):
    """Train on one set and return the accuracy."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        if name in OWN_SETS:
            train, held_out = write_own_set(name, root)
        else:
            train, held_out = root / "train.parquet", None
            write_split(name, "train", train)
        run, bundle = root / "run", root / "encoder.onnx"
        seqembed("train", train, "--label", "label", "--out", run, "--seed", seed, "--progress", "none", *options)
        seqembed("export", run, "--out", bundle)
        embedding, classes = vectors(bundle, train, root / "vectors")
        if held_out is None:
            return cross_validated(embedding, classes)
        others, asked = vectors(bundle, held_out, root / "others")
        return accuracy(embedding, others, classes, asked)


def table(runs):
    """Return all runs, in Markdown."""
    sets = [*OWN_SETS, *OPEN_SETS]
    lines = ["| | " + " | ".join([*sets, "minus the default"]) + " |", "|---" * (len(sets) + 2) + "|"]
    for name, found in runs.items():
        cells = [spread(list(found[one].values())) if found.get(one) else "–" for one in sets]
        differences = [
            value - runs[DEFAULT][one][seed]
            for one in found
            for seed, value in found[one].items()
            if seed in runs.get(DEFAULT, {}).get(one, {})
        ]
        cells.append(spread(differences) if differences and name != DEFAULT else "–")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    """Evaluate a configuration and print it next to earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for screening.json")
    parser.add_argument("--name", default=DEFAULT, help="of this recipe in the table")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=(*OWN_SETS, *OPEN_SETS), default=[*OWN_SETS, *OPEN_SETS])
    parser.add_argument("options", nargs="*", help="options of seqembed train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "screening.json"
    runs = json.loads(kept.read_text()) if kept.exists() else {}
    found = runs.setdefault(given.name, {})
    for name in given.sets:
        for seed in map(str, range(given.seeds)):
            found.setdefault(name, {})[seed] = train_and_score(name, seed, given.options)
            print(f"{given.name}, {name}, seed {seed}: {found[name][seed]:.3f}", flush=True)
            kept.write_text(json.dumps(runs, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
