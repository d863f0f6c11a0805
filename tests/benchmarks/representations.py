"""Accuracy of the default configuration on four public data sets: the table of README, by a user's commands.

    uv run --with aeon python tests/benchmarks/representations.py --out representations

trains with no tuning on the train split of JapaneseVowels, BasicMotions, GunPoint and ItalyPowerDemand (they come with
the package aeon), for three seeds each, exports, and judges with ``seqembed evaluate``. The untrained control is the
mean of three draws for each of the three. Two trainings run at a time, on a core each, and then the speed is measured:
`seqembed run` on one thread, from Parquet to Parquet, in rows a second of processor time of all its threads, what
40,000 rows take longer than 4,000, least of four rounds; and `SequenceEncoder.embed` of the same rows as a table in
memory, as TS2Vec has its arrays. Takes some twenty minutes on two cores. Accuracies of others are those that they
published or that their public code gave. TS2Vec's speed is measured on the same machine, where
there is an environment for it, and else one that its public code had on one core of another:

    python3 -m venv peers
    peers/bin/pip install torch numpy pyarrow ts2vec
    uv run --with aeon python tests/benchmarks/representations.py --out representations --peer-python peers/bin/python

``--speed`` measures the speed of an earlier run's encoders once more, and nothing else.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SETS = ("JapaneseVowels", "BasicMotions", "GunPoint", "ItalyPowerDemand")
SPEED_ROWS, FEW_ROWS, ROUNDS = 40_000, 4_000, 4
PEER_ROWS = 1_000
TS2VEC_ENCODE = Path(__file__).with_name("peers") / "ts2vec_encode.py"
AT_A_TIME = 2
IN_MEMORY = """
import sys, time
import pyarrow.parquet, seqembed
encoder, table = seqembed.load(sys.argv[1], threads=1), pyarrow.parquet.read_table(sys.argv[2])
seconds = []
for _ in range(3):
    start = time.process_time()
    encoder.embed(table)
    seconds.append(time.process_time() - start)
print(len(table) / min(seconds))
"""
ONE_CORE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
# TS2Vec: its public code on one core, mean of two seeds; sequences encoded a second. T-Loss, DTW: T-Loss's own table.
TS2VEC = {"JapaneseVowels": 0.985, "BasicMotions": 0.9875, "GunPoint": 0.9835, "ItalyPowerDemand": 0.957}
TS2VEC_SPEED = {"JapaneseVowels": 880, "BasicMotions": 370, "GunPoint": 285, "ItalyPowerDemand": 930}
T_LOSS = {"JapaneseVowels": 0.989, "BasicMotions": 1.0, "GunPoint": 0.980, "ItalyPowerDemand": 0.954}


def write_split(name, split, path):
    """Write one official split as nested Parquet, at the true lengths of its sequences."""
    from aeon.datasets import load_classification

    cases, labels = load_classification(name, split=split)
    columns = {
        "id": [f"{split}-{index:05d}" for index in range(len(labels))],
        "label": [str(label) for label in labels],
    }
    for feature in range(len(cases[0])):
        rows = [np.asarray(case[feature], dtype=np.float32) for case in cases]
        columns[f"f{feature:02d}"] = pa.array([row[~np.isnan(row)] for row in rows], pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)


def seqembed(*words, **environment):
    """Run one command; return its output and how many seconds it took."""
    start = time.monotonic()
    line = [sys.executable, "-c", "from seqembed.runner.cli import main; main()", *map(str, words)]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=os.environ | environment)
    return done.stdout, time.monotonic() - start


def speeds(bundle, data, root, peer_python):
    """Return rows a second of one core: of `seqembed run`, without its start, of `embed` in memory, and of TS2Vec.

    Rows are those of the test split, repeated.

    They take turns, so that a machine that is slow for a while is slow for both; the best of each counts.
    """
    table = pq.read_table(data)
    many = pa.concat_tables([table] * -(-SPEED_ROWS // len(table))).slice(0, SPEED_ROWS)
    many = many.set_column(0, "id", pa.array(range(SPEED_ROWS)))
    pq.write_table(many, root / "many.parquet")
    seconds, in_memory, peer = {}, 0.0, 0.0
    for _ in range(ROUNDS):
        for rows in (FEW_ROWS, SPEED_ROWS):
            shutil.rmtree(root / "many", ignore_errors=True)
            before = processor_seconds()
            call = ["run", root / "many.parquet", "--model", bundle, "--out", root / "many", "--threads", 1]
            seqembed(*call, "--limit", rows)
            seconds[rows] = min(processor_seconds() - before, seconds.get(rows, np.inf))
        words = [sys.executable, "-c", IN_MEMORY, bundle, root / "many.parquet"]
        in_memory = max(in_memory, float(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
        if peer_python:
            peer = max(peer, ts2vec_speed(data, peer_python))
    return (SPEED_ROWS - FEW_ROWS) / (seconds[SPEED_ROWS] - seconds[FEW_ROWS]), in_memory, peer


def ts2vec_speed(data, python):
    """Return rows a second of one core of TS2Vec's public code, without reading."""
    words = [python, TS2VEC_ENCODE, data, str(PEER_ROWS)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ | ONE_CORE).stdout)


def processor_seconds():
    """Return the processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def evaluate(root, seed, options):
    """Train, export and evaluate on one data set; return the scores by name, and the training seconds."""
    paths = {split: root / f"{split}.parquet" for split in ("train", "test")}
    run, bundle = root / f"run-{seed}", root / f"encoder-{seed}.onnx"
    common = ["--seed", seed, "--overwrite", "--progress", "none"]
    words = ["train", paths["train"], "--label", "label", "--out", run, *common, *options]
    seconds = seqembed(*words, **ONE_CORE)[1]
    seqembed("export", run, "--out", bundle, **ONE_CORE)
    splits = ["--train", paths["train"], "--test", paths["test"], "--label", "label"]
    document = json.loads(seqembed("evaluate", "--model", bundle, *splits, "--json", "--progress", "none")[0])
    rows = {row["name"]: row for row in document["rows"]}
    print(f"{root.name} seed {seed}, {seconds:.0f} s: {rows['trained encoder']['mean']}", flush=True)
    return rows, seconds


def evaluate_all(sets, seeds, out, options):
    """Evaluate every data set for every seed; return the scores of each."""
    for name in sets:
        (out / name).mkdir(parents=True, exist_ok=True)
        for split in ("train", "test"):
            write_split(name, split, out / name / f"{split}.parquet")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        submitted = {name: [pool.submit(evaluate, out / name, seed, options) for seed in seeds] for name in sets}
        found = {name: [future.result() for future in futures] for name, futures in submitted.items()}
    return {name: summary(*zip(*one, strict=True)) for name, one in found.items()}


def summary(draws, seconds):
    """Return the scores of one data set over its seeds."""
    untrained = [score["svm"]["accuracy"] for rows in draws for score in rows["untrained encoder"]["scores"]]
    return {
        "trained": [
            {key: rows["trained encoder"]["mean"][key] for key in ("svm", "logistic", "nearest")} for rows in draws
        ],
        "untrained": untrained,
        "raw values": draws[-1]["raw values"]["mean"]["svm"],
        "mean and spread": draws[-1]["mean and spread"]["mean"]["svm"],
        "MiniRocket": draws[-1]["MiniRocket"]["mean"]["svm"],
        "train_seconds": seconds,
    }


def spread(values):
    """Return mean and standard error as text."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} ± {error:.3f}"


def table(found):
    """Return the table of README, in Markdown."""
    heads = ["set", "trained, SVM", "logistic", "1-NN", "untrained", "raw values", "mean, spread"]
    heads += ["MiniRocket", "TS2Vec", "T-Loss"]
    heads += ["rows/s, 1 core", "in memory", "TS2Vec's", "×", "× in memory"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, one in found.items():
        cells = [name, *(spread([score[key] for score in one["trained"]]) for key in ("svm", "logistic", "nearest"))]
        cells += [spread(one["untrained"])]
        cells += [
            "–" if one[key] is None else f"{one[key]:.3f}" for key in ("raw values", "mean and spread", "MiniRocket")
        ]
        cells += [f"{TS2VEC[name]:.3f}", f"{T_LOSS[name]:.3f}", f"{one['rows_per_second']:,.0f}"]
        cells += [f"{one['in_memory']:,.0f}", f"{one['ts2vec']:,.0f}"]
        cells += [f"{one[speed] / one['ts2vec']:.0f}" for speed in ("rows_per_second", "in_memory")]
        lines.append("| " + " | ".join(cells) + " |")
    means = [np.mean([score["svm"] for score in one["trained"]]) for one in found.values()]
    control = [np.mean(one["untrained"]) for one in found.values()]
    lines.append(f"mean of the sets: trained {np.mean(means):.3f}, untrained {np.mean(control):.3f}")
    return "\n".join(lines)


def main():
    """Evaluate every data set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, runs and table.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--peer-python", type=Path, help="interpreter with torch and ts2vec")
    parser.add_argument("--speed", action="store_true", help="measure the speed of what an earlier run made")
    parser.add_argument("options", nargs="*", help="more options of seqembed train, after --")
    given = parser.parse_args()
    kept = given.out / "table.json"
    if given.speed:
        found = json.loads(kept.read_text())
    else:
        found = evaluate_all(given.sets, range(given.seeds), given.out, given.options)
    for name, one in found.items():
        root = given.out / name
        measured = speeds(root / "encoder-0.onnx", root / "test.parquet", root, given.peer_python)
        one["rows_per_second"], one["in_memory"], one["ts2vec"] = *measured[:2], measured[2] or TS2VEC_SPEED[name]
        own = f"{one['rows_per_second']:,.0f} rows/s, in memory {one['in_memory']:,.0f}"
        print(f"{name}: {own}, TS2Vec {one['ts2vec']:,.0f}", flush=True)
    kept.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
