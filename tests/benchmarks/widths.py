"""What the width of the vectors costs in accuracy: one training, projected to several widths.

    uv run --with aeon python tests/benchmarks/widths.py --out widths

trains with the default options on 1,000 rows of the samples tanks, telemetry and transactions, and on the train split
of JapaneseVowels, three seeds each, and fits the projection to 32, 64, 128 (default), 256, 512 and 1,024 numbers, and
leaves it out. Accuracy is that of an RBF SVM and of the nearest neighbour, by the protocol of ``seqembed evaluate``:
fitted on the training rows, and asked 1,000 others, or the official test split. A set gets no more numbers than its
blocks have, or than it has training sequences less one. Takes some twenty minutes on two cores.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import pyarrow.parquet as pq
from representations import seqembed, spread, write_split
from screening import accuracy
from sklearn.neighbors import KNeighborsClassifier

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.sequences import concatenate
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.checkpoint import Checkpoints
from seqembed.trainer.fit.fit import Fit
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.input.columns import find_columns
from seqembed.trainer.model.network import embed, with_output_map
from seqembed.trainer.prepare import prepare

LABELS = {"tanks": "open_pipe", "telemetry": "device", "transactions": "label", "JapaneseVowels": "label"}
WIDTHS = (32, 64, 128, 256, 512, 1024, 0)
ROWS = 1_000


def write(name, root):
    """Return the files to train on and to ask about."""
    if name == "JapaneseVowels":
        paths = [root / f"{split}.parquet" for split in ("train", "test")]
        for path in paths:
            write_split(name, path.stem, path)
        return paths
    seqembed("sample", name, "--out", root, "--rows", 2 * ROWS, "--files", 2)
    return sorted(root.glob("*.parquet"))


def train(path, label, seed):
    """Return a trained network, before its blocks are scaled, and what it was prepared with."""
    with tempfile.TemporaryDirectory() as directory:
        job = TrainJob.from_options({"inputs": (str(path),), "label": label, "seed": seed})
        prepared = prepare(job, find_columns(job), Progress())
        fit = Fit(prepared, Checkpoints(Path(directory)), Progress(), 1e9)
        fit.run()
    return fit.network, prepared


def scores(name, seed, root):
    """Return accuracy by width; None stands for the vectors as they are."""
    paths, label = write(name, root), LABELS[name]
    network, prepared = train(paths[0], label, seed)
    blocks = [concatenate(list(read_blocks(resolve_inputs([str(path)])[0], prepared.schema))) for path in paths]
    classes = [np.unique(pq.read_table(path)[label].to_pylist(), return_inverse=True)[1] for path in paths]
    sample = embed(network, prepared.sample)
    found = {}
    for width in WIDTHS:
        if width > min(sample.shape[1], blocks[0].num_sequences - 1):
            continue
        projected = with_output_map(network, prepared.build, prepared.embedding_blocks, sample, width)
        known, asked = (embed(projected, block).astype(np.float64) for block in blocks)
        nearest = KNeighborsClassifier(1, algorithm="brute").fit(known, classes[0]).score(asked, classes[1])
        found[str(width or f"all {sample.shape[1]}")] = accuracy(known, asked, *classes), float(nearest)
    return found


def table(runs):
    """Return all runs, in Markdown."""
    lines = ["| set | numbers | SVM | 1-NN |", "|---|---|---|---|"]
    for name, seeds in runs.items():
        for width in next(iter(seeds.values())):
            svm, nearest = zip(*(seed[width] for seed in seeds.values()), strict=True)
            lines.append(f"| {name} | {width} | {spread(svm)} | {spread(nearest)} |")
    return "\n".join(lines)


def main():
    """Train, project and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for widths.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=tuple(LABELS), default=list(LABELS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "widths.json"
    runs = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in map(str, range(given.seeds)):
        for name in given.sets:
            found = runs.setdefault(name, {})
            if seed not in found:
                with tempfile.TemporaryDirectory() as root:
                    found[seed] = scores(name, int(seed), Path(root))
                keras.backend.clear_session()
                print(f"{name}, seed {seed}: {found[seed]}", flush=True)
                kept.write_text(json.dumps(runs, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
