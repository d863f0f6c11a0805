"""How often usual runs raise an alarm of drift, and how often drifted ones of ten kinds do.

Two models are trained on two samples with 200 steps and else the default options. Every run is a real one, in this
process, on rows that no model has seen: for each sample half of `--runs` usual runs, and `--runs` drifted ones of ten
kinds. It prints a table.

    uv run python tests/benchmarks/drift.py --out drift-runs
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import seqembed
from seqembed.data.drift.drift import Drift
from seqembed.data.synthetic import telemetry, transactions
from seqembed.data.synthetic.generator import CHUNK_ROWS, SampleBlock, SampleGenerator

TRAINING_ROWS, SEED = 6_000, 11
Columns = dict[str, np.ndarray]
# Columns, lengths, strength from 0 to 1, random generator → columns, lengths.
Drifted = Callable[[Columns, np.ndarray, float, np.random.Generator], tuple[Columns, np.ndarray]]


def unchanged(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    return columns, lengths


def value(name: str, change: Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]) -> Drifted:
    """Return a drift of one feature: `change` gets its values and their standard deviation."""

    def drifted(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
        return columns | {name: change(columns[name], float(columns[name].std()), strength, random)}, lengths

    return drifted


def taken(columns: Columns, order: np.ndarray) -> Columns:
    return {name: values[order] for name, values in columns.items()}


def stuck(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    is_stuck = np.repeat(random.random(len(lengths)) < strength, lengths)
    return columns | {"f4": np.where(is_stuck, columns["f4"][0], columns["f4"])}, lengths


def shorter(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    """Keep the beginning of each sequence."""
    kept = np.maximum(1, ((1 - 0.4 * strength) * lengths).astype(int))
    starts = np.cumsum(lengths) - lengths
    order = np.concatenate([np.arange(start, start + num) for start, num in zip(starts, kept, strict=True)])
    return taken(columns, order), kept


def shuffled(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    """Put the steps of sequences in any order."""
    owner, chosen = np.repeat(np.arange(len(lengths)), lengths), random.random(len(lengths)) < strength
    return taken(columns, np.lexsort((np.where(chosen[owner], random.random(len(owner)), 0), owner))), lengths


def new_category(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    is_new = random.random(len(columns["category"])) < 0.1 * strength
    return columns | {"category": np.where(is_new, "crypto", columns["category"])}, lengths


def slower(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    """Stretch the time between events."""
    starts = np.repeat(columns["time"][np.cumsum(lengths) - lengths], lengths)
    passed = (columns["time"] - starts) / np.timedelta64(1, "ms") * (1 + strength)
    return columns | {"time": starts + passed.astype(np.int64) * np.timedelta64(1, "ms")}, lengths


def resampled(columns: Columns, lengths: np.ndarray, strength: float, random: np.random.Generator):
    """Replace rows by customers of the night, a sixth of the training data."""
    starts, num = np.cumsum(lengths) - lengths, len(lengths)
    nights = np.flatnonzero(np.arange(num) % len(transactions.KINDS) == transactions.KINDS.index("night"))
    rows = np.where(random.random(num) < 0.4 * strength, random.choice(nights, num), np.arange(num))
    order = np.concatenate([np.arange(starts[row], starts[row] + lengths[row]) for row in rows])
    return taken(columns, order), lengths[rows]


# What happens at full strength.
KINDS: Mapping[str, Mapping[str, Drifted]] = {
    "telemetry": {
        "scale: one feature 1.5 times as wide": value("f1", lambda x, std, s, r: x + 0.5 * s * (x - x.mean())),
        "offset: one feature by half a standard deviation": value("f2", lambda x, std, s, r: x + 0.5 * s * std),
        "missing: 5 % of one feature": value(
            "f3", lambda x, std, s, r: np.where(r.random(len(x)) < 0.05 * s, np.nan, x)
        ),
        "stuck sensor: one feature at one value": stuck,
        "noise: one feature with as much again": value("f5", lambda x, std, s, r: x + s * std * r.normal(size=len(x))),
        "lengths: 40 % shorter": shorter,
        "order: steps shuffled": shuffled,
    },
    "transactions": {
        "new category: 10 % of the steps": new_category,
        "gaps: twice as long": slower,
        "mixture: one kind of rows half instead of a sixth": resampled,
    },
}
GENERATORS: Mapping[str, SampleGenerator] = {
    "telemetry": telemetry.GENERATOR,
    "transactions": transactions.GENERATOR,
}


def chunks(name: str, rows: int) -> Iterator[SampleBlock]:
    """Yield blocks of `rows` sequences each, without end; a block begins at a multiple of the kinds of customers."""
    step, chunk = -(-rows // 6) * 6, 0
    while True:
        block = GENERATORS[name].make(6 * chunk * CHUNK_ROWS, np.random.Generator(np.random.SFC64([SEED, chunk])))
        yield from (block.slice(start, start + rows) for start in range(0, CHUNK_ROWS - step, step))
        chunk += 1


def write(block: SampleBlock, path: Path, drifted: Drifted, strength: float, random: np.random.Generator) -> None:
    columns = {name: np.asarray(column.to_numpy(zero_copy_only=False)) for name, column in block.columns.items()}
    columns, lengths = drifted(columns, block.lengths, strength, random)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    lists = {
        name: pa.ListArray.from_arrays(offsets, pa.array(values, block.columns[name].type, from_pandas=True))
        for name, values in columns.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": np.arange(len(lengths)), **lists}), path)


def model(name: str, root: Path) -> Path:
    """Train and export, unless an earlier call has."""
    bundle = root / f"{name}.onnx"
    if not bundle.exists():
        write(next(chunks(name, TRAINING_ROWS)), root / name / "train.parquet", unchanged, 0, np.random.default_rng(0))
        time = {"time": "time"} if name == "transactions" else {}
        seqembed.train(root / name, out=root / f"{name}_run", steps=200, progress="none", overwrite=True, **time)
        seqembed.export(root / f"{name}_run", out=bundle)
    return bundle


def drifts(name: str, bundle: Path, root: Path, rows: int, runs: int, strength: float) -> Iterator[tuple[str, Drift]]:
    """Yield the kind of each run, and what it found."""
    kinds = KINDS[name]
    jobs = [("usual", unchanged)] * (runs // 2) + [each for each in kinds.items() for _ in range(runs // 10)]
    source = chunks(name, rows)
    for _ in range(-(-TRAINING_ROWS // rows) + 1):
        next(source)  # the training data
    for index, (kind, drifted) in enumerate(jobs):
        path = root / "input" / f"{name}-{rows}-{index}.parquet"
        write(next(source), path, drifted, strength, np.random.default_rng(index))
        report = seqembed.run(path, model=bundle, out=root / "out" / path.stem, progress="none")
        assert report.drift is not None
        yield kind, report.drift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=200, help="usual ones, and as many drifted ones")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1_000])
    parser.add_argument("--strength", type=float, default=1.0, help="of the drifts, from 0 to 1")
    options = parser.parse_args()
    for rows in options.rows:
        num: Counter[str] = Counter()
        alarms: Counter[str] = Counter()
        first: dict[str, Counter[str]] = {}
        root = options.out / f"rows-{rows}-{options.strength:g}"
        for name in KINDS:
            bundle = model(name, options.out)
            for kind, drift in drifts(name, bundle, root, rows, options.runs, options.strength):
                num[kind] += 1
                alarms[kind] += drift.alarmed
                if drift.alarmed or kind != "usual":
                    top = drift.measures[0]
                    first.setdefault(kind, Counter())[f"{top.name} {top.feature or ''} {top.moved:.1f}"] += 1
        print(f"| {rows} rows, strength {options.strength:g} | runs | alarms | farthest |\n|---|---|---|---|")
        for kind, total in num.items():
            seen = ", ".join(what for what, _ in first.get(kind, Counter()).most_common(3))
            print(f"| {kind} | {total} | {alarms[kind]} | {seen} |", flush=True)


if __name__ == "__main__":
    main()
