"""Irregular events whose order matters: how well frozen vectors tell the damping of a pendulum.

    uv run python tests/benchmarks/pendulum.py --out pendulum

makes the set Pendulum as EBES describes it (Osin et al. 2024, arXiv 2410.03399, after arXiv 2401.15935): a pendulum of
0.5 to 10 m starts at a random angle and speed, and is seen for 3 to 5 seconds at the times of a self-exciting (Hawkes)
process, about thirty of them; a tenth of its coordinates is missing. Its damping is one of ten values from 1 to 3, and
is to be recognised. This trains with no tuning for three seeds, exports, and gives gradient boosting the labels of all
training vectors; the same with untrained encoders. EBES publishes an accuracy of 0.740 for CoLES and 0.683 for a
supervised GRU, which learn from 80,000 labels; so does boosting here with ``--rows 80000 --test-rows 20000``. A quarter
of that is the default, which takes some fifteen minutes on two cores. ``--svm`` also judges with ``seqembed
evaluate``, on at most 10,000 labelled vectors, which takes another quarter of an hour for each seed.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from representations import seqembed, spread
from scipy.integrate import solve_ivp
from sklearn.ensemble import HistGradientBoostingClassifier

GRAVITY, MEAN_POINTS, EXCITATION, MIN_POINTS, MISSING = 9.81, 30, 0.5, 5, 0.1
DAMPINGS = np.linspace(1, 3, 10)
ROWS = ("trained encoder", "untrained encoder", "mean and spread", "MiniRocket")
BOOSTED = ("trained encoder, boosting", "untrained encoder, boosting")


def event_times(random, end):
    """Return the times of a Hawkes process from 0 to `end`, by thinning; evenly spaced ones if it has too few."""
    base = MEAN_POINTS * (1 - EXCITATION) / (end - 1)
    time, excited, points = 0.0, 0.0, []  # `excited` is the part of the intensity that earlier events add
    while True:
        bound = base + excited
        gap = random.exponential(1 / bound)
        time, excited = time + gap, excited * np.exp(-gap)
        if time >= end:
            return np.array(points) if len(points) >= MIN_POINTS else np.linspace(0, end, MIN_POINTS)
        if random.random() * bound <= base + excited:
            points.append(time)
            excited += EXCITATION


def pendulum(random):
    """Return times, float64 (events), coordinates, float32 (events, 2) with NaN where missing, and the damping."""
    length, kind, end = random.uniform(0.5, 10), random.integers(len(DAMPINGS)), random.uniform(3, 5)
    start = [random.uniform(0, 2 * np.pi), random.uniform(-np.pi, np.pi)]
    times = event_times(random, end)
    found = solve_ivp(
        lambda _, state: [state[1], -DAMPINGS[kind] * state[1] - GRAVITY / length * np.sin(state[0])],
        (0, end + 0.1),
        start,
        t_eval=times,
    )
    where = np.stack([np.sin(found.y[0]), -np.cos(found.y[0])], axis=1).astype(np.float32)
    for axis in range(2):
        where[random.choice(len(where), int(len(where) * MISSING), replace=False), axis] = np.nan
    return times, where, kind


def write(path, rows, seed):
    """Write pendulums as nested Parquet, a row each."""
    random = np.random.default_rng(seed)
    times, places, kinds = zip(*(pendulum(random) for _ in range(rows)), strict=True)
    stamps = [(1e6 * one).astype("datetime64[us]") for one in times]
    columns = {
        "id": pa.array(range(rows)),
        "damping": pa.array(kinds),
        "time": pa.array(stamps, pa.list_(pa.timestamp("us"))),
    }
    for axis, name in enumerate("xy"):
        columns[name] = pa.array([one[:, axis] for one in places], pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)


def evaluated(bundle, train, test):
    """Return the mean SVM accuracy by name of the vectors."""
    words = ["evaluate", "--model", bundle, "--train", train, "--test", test, "--label", "damping"]
    document = json.loads(seqembed(*words, "--json", "--progress", "none")[0])
    return {row["name"]: row["mean"]["svm"] for row in document["rows"] if row["scores"]}


def boosted(bundle, paths, out):
    """Return the accuracy of gradient boosting on the vectors of all training rows."""
    splits = []
    for path in paths:
        seqembed("run", path, "--model", bundle, "--out", out, "--keep", "damping", "--overwrite", "--progress", "none")
        rows = pq.read_table(out)
        vectors = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        splits.append((vectors, rows["damping"].to_numpy()))
    model = HistGradientBoostingClassifier(max_iter=300, learning_rate=0.1, early_stopping=True, random_state=0)
    return model.fit(*splits[0]).score(*splits[1])


def main():
    """Write the set, train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--test-rows", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--svm", action="store_true", help="judge with seqembed evaluate, too")
    parser.add_argument("options", nargs="*", help="more options of seqembed train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    paths = [
        given.out / f"{split}-{rows}.parquet" for split, rows in (("train", given.rows), ("test", given.test_rows))
    ]
    for seed, (path, rows) in enumerate(zip(paths, (given.rows, given.test_rows), strict=True)):
        if not path.exists():
            write(path, rows, seed)
    found = {name: [] for name in (*BOOSTED, *(ROWS if given.svm else ()))}
    for seed in range(given.seeds):
        common = ("--time", "time", "--features", "x,y", "--seed", seed, "--overwrite", "--progress", "none")
        for name, options in zip(BOOSTED, (given.options, [*given.options, "--epochs", 0]), strict=True):
            run, bundle = (given.out / f"{name.split()[0]}-{seed}{suffix}" for suffix in ("", ".onnx"))
            took = seqembed("train", paths[0], "--out", run, *common, *options)[1]
            seqembed("export", run, "--out", bundle)
            found[name].append(boosted(bundle, paths, given.out / f"vectors-{bundle.stem}"))
            print(f"seed {seed}, {name}: {found[name][-1]:.3f}, trained in {took:.0f} s", flush=True)
        if given.svm:
            scores = evaluated(given.out / f"trained-{seed}.onnx", *paths)
            for name in ROWS:
                found[name].append(scores[name])
    print("| vectors | accuracy |\n|---|---|")
    for name, draws in found.items():
        print(f"| {name} | {spread(draws)} |")


if __name__ == "__main__":
    main()
