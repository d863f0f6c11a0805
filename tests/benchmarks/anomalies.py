"""Which anomaly score finds which anomaly: five kinds, planted in sequences that no model was trained on.

    uv run python tests/benchmarks/anomalies.py --out anomalies

For each seed models are trained on 1,000 clean sequences: the default one, and one per decoder. 500 other clean
sequences are mixed with 200 anomalous ones of each kind. The table shows the area under the ROC curve of each score,
the mean and standard error over the seeds: 0.5 is chance. A seed takes some minutes on two cores.

Sets: `telemetry`, the noisy sample of sensors; `shapes` of `own_sets`, one smooth hill per sequence.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from own_sets import shapes
from representations import seqembed as command
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import seqembed

NUM_TRAINING, NUM_CLEAN, NUM_ANOMALOUS = 1_000, 500, 200
DECODERS = ("positional", "repeat", "autoregressive")
UNITS, STEPS = 24, 400  # of each decoder; the default model trains for as many batches
NEIGHBOURS, REFERENCES = 5, 256


def spike(values, random, std):
    """Move one value by six standard deviations."""
    step, feature = random.integers(len(values)), random.integers(values.shape[1])
    values[step, feature] += random.choice([-6, 6]) * std[feature]
    return values


def shift(values, random, std):
    """Move a feature by one and a half standard deviations, from some step in the first half on."""
    feature = random.integers(values.shape[1])
    values[random.integers(1 + len(values) // 2) :, feature] += random.choice([-1.5, 1.5]) * std[feature]
    return values


def frequency(values, random, std):
    """Play the sequence twice as fast: its even steps, then again from the start."""
    return np.concatenate([values[::2], values[::2]])[: len(values)]


def missing_burst(values, random, std):
    """Lose half of the steps, in one piece, of half of the features."""
    start, length = random.integers(1 + len(values) // 2), max(1, len(values) // 2)
    lost = random.permutation(values.shape[1])[: max(1, values.shape[1] // 2)]
    values[start : start + length, lost] = np.nan
    return values


def wrong_order(values, random, std):
    """Swap the first and the last third."""
    third = max(1, len(values) // 3)
    return np.concatenate([values[-third:], values[third:-third], values[:third]])


KINDS = {
    "spike": spike,
    "shift": shift,
    "frequency": frequency,
    "missing burst": missing_burst,
    "wrong order": wrong_order,
}


def sequences_of(name, number, seed, root):
    """Return clean sequences, float32 (time, features) each, at least 12 steps long."""
    if name == "shapes":
        random = np.random.default_rng(seed)
        return [shapes(random, random.integers(4)).astype(np.float32) for _ in range(number)]
    path = root / "sample.parquet"
    command("sample", name, "--out", path, "--rows", 2 * number, "--seed", seed)
    table = pq.read_table(path)
    columns = [table[column].to_pylist() for column in table.column_names if column.startswith("f")]
    rows = [np.array(row, np.float32).T for row in zip(*columns, strict=True)]
    return [row for row in rows if len(row) >= 12][:number]


def table_of(rows):
    """Return sequences as a table of the nested layout; NaN is missing."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    values = np.concatenate(rows)
    columns = {"id": [f"s{index}" for index in range(len(rows))]}
    columns |= {f"f{index}": pa.ListArray.from_arrays(offsets, pa.array(one)) for index, one in enumerate(values.T)}
    return pa.table(columns)


def moments_of(rows, std):
    """Return mean, deviation and missing share of each feature, and the length, float64 (sequences, numbers)."""
    found = []
    for row in rows:
        known = np.where(np.isnan(row).all(axis=0), 0, row / std)
        moments = np.nanmean(known, axis=0), np.nanstd(known, axis=0), np.isnan(row).mean(axis=0)
        found.append(np.concatenate([*moments, [len(row)]]))
    return np.array(found)


def forest(train, seed):
    """Return a function from vectors to the score of an isolation forest."""
    fitted = IsolationForest(n_estimators=300, random_state=seed).fit(train)
    return lambda vectors: -fitted.score_samples(vectors)


def distance(train, seed, number=None):
    """Return a function from vectors to the mean distance to the nearest training vectors, of all or of `number`."""
    random = np.random.default_rng(seed)
    kept = train if number is None else train[random.permutation(len(train))[:number]]
    fitted = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(kept)
    return lambda vectors: fitted.kneighbors(vectors)[0].mean(axis=1)


def mahalanobis(train, seed):
    """Return a function from vectors to the distance to their mean, in directions of equal variance."""
    mean, covariance = train.mean(axis=0), np.cov(train.T)
    inverse = np.linalg.inv(covariance + 1e-3 * np.trace(covariance) / len(mean) * np.eye(len(mean)))
    return lambda vectors: np.sqrt(np.einsum("ij,jk,ik->i", vectors - mean, inverse, vectors - mean))


def models(data, root, seed):
    """Train and export all models; return them by name."""
    options = {"progress": "none", "seed": seed}
    trainings = {"default": {"steps": STEPS}}
    trainings |= {one: {"objective": "reconstruct", "decoder": one, "units": UNITS, "steps": STEPS} for one in DECODERS}
    found = {}
    for name, more in trainings.items():
        seqembed.train(data, out=root / name, **options, **more)
        seqembed.export(root / name, out=root / f"{name}.onnx", with_decoder=True, card=False)
        found[name] = seqembed.load(root / f"{name}.onnx")
    return found


def scores_of(found, train, std, seed):
    """Return the functions from sequences to scores, by name."""
    scores = {}
    for model in found.values():
        kind = f"{model.contract.architecture['decoder']}, {model.contract.architecture['objective']}"

        def error(rows, model=model):
            return model.embed_table(table_of(rows), score=True)["score"].to_numpy()

        scores[f"reconstruction error ({kind})"] = error
    vectors = found["default"].embed(table_of(train))

    def on_vectors(score, model=found["default"]):
        return lambda rows: score(model.embed(table_of(rows)))

    rank = forest(moments_of(train, std), seed)
    scores["isolation forest, mean and spread"] = lambda rows: rank(moments_of(rows, std))
    scores["share of missing values"] = lambda rows: np.array([np.isnan(row).mean() for row in rows])
    scores["isolation forest, embeddings"] = on_vectors(forest(vectors, seed))
    scores["nearest training vectors, all"] = on_vectors(distance(vectors, seed))
    scores[f"nearest training vectors, {REFERENCES} of them"] = on_vectors(distance(vectors, seed, REFERENCES))
    scores["Mahalanobis distance of embeddings"] = on_vectors(mahalanobis(vectors, seed))
    return scores


def measure(name, seed):
    """Return the area under the curve by score and kind."""
    with tempfile.TemporaryDirectory() as directory:
        root, random = Path(directory), np.random.default_rng(seed)
        rows = sequences_of(name, NUM_TRAINING + NUM_CLEAN + NUM_ANOMALOUS, seed, root)
        train, clean, base = rows[:NUM_TRAINING], rows[NUM_TRAINING:][:NUM_CLEAN], rows[NUM_TRAINING + NUM_CLEAN :]
        std = np.concatenate(train).std(axis=0)
        pq.write_table(table_of(train), root / "train.parquet")
        scores = scores_of(models(root / "train.parquet", root, seed), train, std, seed)
        planted = {kind: [plant(row.copy(), random, std) for row in base] for kind, plant in KINDS.items()}
        truth = np.repeat([0, 1], [len(clean), len(base)])
        return {
            score: {
                kind: float(roc_auc_score(truth, np.concatenate([of_clean, rank(anomalous)])))
                for kind, anomalous in planted.items()
            }
            for score, rank in scores.items()
            for of_clean in [rank(clean)]
        }


def table(name, seeds):
    """Return the results of a set, in Markdown."""
    lines = [f"| {name} | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for score in seeds[0]:
        found = np.array([[one[score][kind] for kind in KINDS] for one in seeds])
        errors = found.std(axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.zeros(len(KINDS))
        cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(found.mean(axis=0), errors, strict=True)]
        lines.append(f"| {score} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    """Measure all sets and seeds, and print one table per set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for anomalies.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["telemetry", "shapes"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in given.sets:
        for seed in range(given.seeds):
            found.setdefault(name, []).append(measure(name, seed))
            (given.out / "anomalies.json").write_text(json.dumps(found, indent=1))
        print(table(name, found[name]), flush=True)


if __name__ == "__main__":
    main()
