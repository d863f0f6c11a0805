"""Throughput of `seqembed run`, compared with its lower bound and with common alternatives.

    uv run python -m tests.benchmarks.throughput --out throughput

writes `telemetry` (8 features, lognormal lengths of 5 to 100 steps), makes an encoder for each shape, and times
complete processes, start included, from Parquet to Parquet, on all cores, in turns. How an encoder was trained does not
change what it costs, so they are trained for one step.

The lower bound is the time of the recurrent operators alone, on batches of sequences of one length (no padding), at the
best batch size, called from one thread per core; plus decoding the columns and encoding the vectors, each by pyarrow
alone, spread over the cores. It excludes start-up, communication, padding and checks.

Peers do the same work on one smaller file, and what they write is held against ours: rows, ids, vectors. Two need an
environment of their own and are left out without it:

    python3 -m venv peers
    peers/bin/pip install torch "ray[data]" onnxruntime pyarrow numpy pandas
    uv run python -m tests.benchmarks.throughput --out throughput --peer-python peers/bin/python

Takes some forty-five minutes on two cores with all peers; with `--rows 200000 --peer-rows 50000 --rounds 1
--peer-rounds 1` six.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks.bound import FEATURES, SHAPES, Shape, bound
from tests.benchmarks.processes import SEQEMBED, timed

PEERS = Path(__file__).with_name("peers")
FEW_ROWS = 50
IMPORTS = "import numpy, pyarrow.parquet, onnxruntime, click"
KERAS_BATCHES = (32, 256)  # its default, and what suits it better
ALLOWED = 1e-4  # between peers' vectors and ours


def seqembed_run(shape, path, out):
    """Time `seqembed run`; return it with what `_SUCCESS` says."""
    shutil.rmtree(out, ignore_errors=True)
    wall, processor, memory, _ = timed([*SEQEMBED, "run", path, "--model", shape.bundle, "--out", out])
    success = json.loads((out / "_SUCCESS").read_text())
    return {"seconds": wall, "processor": processor, "MiB": memory, "padding": success["padding_share"]}


def peers(shape, given):
    """Return the peers that can run here: name → interpreter, script, model, and what it takes after INPUT and OUT."""
    found = {}
    if "keras" in given.peers:
        keras = [sys.executable, PEERS / "keras_predict.py", shape.root]
        found |= {f"pandas, pad_sequences, predict, batches of {size}": [*keras, size] for size in KERAS_BATCHES}
    if "onnx" in given.peers:
        timed([sys.executable, PEERS / "default_onnx.py", "--convert", shape.root])
        found["default tf2onnx graph"] = [sys.executable, PEERS / "default_onnx.py", shape.root]
    if given.peer_python and "torch" in given.peers:
        write_weights(shape)
        found["PyTorch, packed, DataLoader"] = [
            given.peer_python,
            PEERS / "torch_packed.py",
            shape.root / "weights.npz",
        ]
    if given.peer_python and "ray" in given.peers:
        found["Ray Data, default graph"] = [given.peer_python, PEERS / "ray_data.py", shape.root]
    return found


def write_weights(shape):
    """Write an encoder's weights as arrays, for a peer without Keras."""
    script = (
        "import sys, numpy as np; from keras.models import load_model; m = load_model(sys.argv[1]);"
        "r = next(l for l in m.layers if 'LSTM' in type(l).__name__ or 'Bidirectional' in type(l).__name__);"
        "w = r.get_weights(); n = ['kernel', 'recurrent', 'bias'];"
        "k = n if len(w) == 3 else n + [x + '_reverse' for x in n];"
        "mean = -np.array(m.get_layer('standardise_mean').offset, 'f4').ravel();"
        "scale = np.array(m.get_layer('standardise_spread').scale, 'f4').ravel();"
        "np.savez(sys.argv[2], mean=mean, scale=scale, directions=len(w) // 3, **dict(zip(k, w)))"
    )
    timed([sys.executable, "-c", script, shape.root / "encoder.keras", shape.root / "weights.npz"])


def check_same(ours, other):
    """Compare a peer's file with that of seqembed; return the maximum difference of a vector."""
    ours, other = (pq.read_table(path, columns=["id", "embedding"]).sort_by("id") for path in (ours, other))
    if not ours["id"].equals(other["id"].cast(ours["id"].type)):
        raise SystemExit("a peer wrote other rows")
    flat = [table["embedding"].combine_chunks().flatten().to_numpy() for table in (ours, other)]
    if flat[0].shape != flat[1].shape or np.abs(flat[0] - flat[1]).max() > ALLOWED:
        raise SystemExit("a peer wrote other vectors")
    return float(np.abs(flat[0] - flat[1]).max())


def compare(shape, path, few, given):
    """Time ours and every peer in turns on one file; return the best of each."""
    ours, out = given.out / "vectors", given.out / "other.parquet"
    commands, found = peers(shape, given), {}
    for _ in range(given.peer_rounds):
        one = seqembed_run(shape, path, ours)
        keep(found, "seqembed run", one | {"start": seqembed_run(shape, few, given.out / "few")["seconds"]})
        for name, (python, script, model, *more) in commands.items():
            remove(out)
            start = timed([python, script, few, model, out, *more], cwd=PEERS)[0]
            remove(out)
            wall, processor, memory, printed = timed([python, script, path, model, out, *more], cwd=PEERS)
            difference = check_same(ours, out)
            one = {"seconds": wall, "processor": processor, "MiB": memory, "start": start, "difference": difference}
            if printed.strip().isdigit():
                one["padding"] = 1 - given.peer_steps / int(printed)
            keep(found, name, one)
            print(f"{shape.name}, {name}: {wall:.1f} s", flush=True)
    return found


def keep(found, name, one):
    """Keep the faster of two rounds."""
    if name not in found or one["seconds"] < found[name]["seconds"]:
        found[name] = one


def remove(path):
    """Remove a file or a directory, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def against_bound(shape, path, lengths, given):
    """Time a run and its bound in turns; return the best run, the ratio in each turn, and their median."""
    found, turns = {}, []
    for _ in range(given.rounds):
        parts = bound(shape, path, lengths, given.cores, given.out)
        one = seqembed_run(shape, path, given.out / "vectors")
        seconds = sum(parts[key] for key in ("kernel", "decode", "encode"))
        turns.append(parts | {"bound": seconds, "run": one["seconds"], "share": seconds / one["seconds"]})
        keep(found, "run", one)
        print(f"{shape.name}, {len(lengths):,} rows: {turns[-1]}", flush=True)
    shares = [turn["share"] for turn in turns]
    return {**found["run"], "turns": turns, "share": float(np.median(shares)), "shares": shares}


def telemetry(root, rows):
    """Return the path of that many rows of sample data."""
    path = root / f"telemetry-{rows}.parquet"
    if not path.exists():
        timed([*SEQEMBED, "sample", "telemetry", "--rows", rows, "--out", path])
    return path


def sequence_lengths(path):
    """Return the steps of every sequence, int64."""
    return np.diff(pq.read_table(path, columns=[FEATURES[0]])[FEATURES[0]].combine_chunks().offsets.to_numpy())


def scale(shape, given):
    """Return seconds and memory from 10^4 to 10^7 rows, and of 10^6 rows in one row group; 10^7 are ten equal files."""
    found = {}
    for rows in (10_000, 100_000, 1_000_000):
        path = telemetry(given.out, rows)
        found[f"{rows:,}"] = seqembed_run(shape, path, given.out / "vectors") | {"rows": rows}
    many = given.out / "ten-files"
    many.mkdir(exist_ok=True)
    for index in range(10):
        (many / f"{index}.parquet").unlink(missing_ok=True)
        os.link(path, many / f"{index}.parquet")
    found["10,000,000 in ten files"] = seqembed_run(shape, many, given.out / "vectors") | {"rows": 10 * rows}
    giant = given.out / "one-row-group.parquet"
    if not giant.exists():
        pq.write_table(pq.read_table(path), giant, row_group_size=rows)
    found[f"{rows:,} in one row group"] = seqembed_run(shape, giant, given.out / "vectors") | {"rows": rows}
    return found


def start_up(given, shape, few):
    """Return seconds of `--help` and of a small job beside the bare imports, best of each."""
    best = {}
    for _ in range(max(3, given.rounds)):
        calls = {
            "imports": [sys.executable, "-c", IMPORTS],
            "--help": [*SEQEMBED, "--help"],
            f"{FEW_ROWS} rows": [*SEQEMBED, "run", few, "--model", shape.bundle, "--out", given.out / "few"],
        }
        for name, words in calls.items():
            shutil.rmtree(given.out / "few", ignore_errors=True)
            best[name] = min(timed(words)[0], best.get(name, np.inf))
    return best


def machine():
    """Return a description of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    names = ("seqembed", "onnxruntime", "pyarrow", "numpy", "tensorflow", "tf2onnx")
    versions = {name: metadata.version(name) for name in names}
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def print_tables(found):
    """Print what README shows, in Markdown."""
    print(
        "\n| encoder | rows | rows/s | GFLOP/s | share of the bound (least, most) | padding | peak MiB |\n"
        + "|---" * 7
        + "|"
    )
    for name, one in found["runs"].items():
        rate = one["rows"] / one["seconds"]
        print(
            f"| {name} | {one['rows']:,} | {rate:,.0f} | {one['gflops']:.0f} | {one['share']:.2f} "
            f"({min(one['shares']):.2f}, {max(one['shares']):.2f}) | "
            f"{one['padding']:.2%} | {one['MiB']:.0f} |"
        )
    if "scale" in found:
        print("\n| rows | seconds | rows/s | peak MiB |\n" + "|---" * 4 + "|")
    for name, one in found.get("scale", {}).items():
        print(f"| {name} | {one['seconds']:.1f} | {one['rows'] / one['seconds']:,.0f} | {one['MiB']:.0f} |")
    for name, programs in found["peers"].items():
        print(f"\n| {name} | rows/s | GFLOP/s | ours / other | start, s | padding | peak MiB |\n" + "|---" * 7 + "|")
        ours = programs["seqembed run"]["seconds"]
        for program, one in programs.items():
            padding = f"{one['padding']:.1%}" if "padding" in one else "–"
            print(
                f"| {program} | {found['peer rows'] / one['seconds']:,.0f} | {one['gflops']:.1f} | "
                f"{one['seconds'] / ours:.1f} × | {one['start']:.1f} | {padding} | {one['MiB']:.0f} |"
            )
    imports = found["start"]["imports"]
    print("\nstart: " + ", ".join(f"{k} {v:.2f} s ({v / imports:.2f} ×)" for k, v in found["start"].items()))
    print(found["machine"])


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for data, encoders and throughput.json")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the run compared with its bound")
    parser.add_argument("--peer-rows", type=int, default=200_000, help="of the file all peers embed")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of run and bound; the median ratio is reported")
    parser.add_argument(
        "--peer-rounds", type=int, default=2, help="rounds of seqembed and all peers; the best of each is reported"
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--peers", nargs="*", choices=("keras", "onnx", "torch", "ray"), default=["keras", "onnx", "torch", "ray"]
    )
    parser.add_argument("--scale", action="store_true", help="also run from 10^4 to 10^7 rows, with the first shape")
    parser.add_argument("--peer-python", type=lambda path: Path(path).absolute(), help="interpreter with torch and ray")
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    given.cores = len(os.sched_getaffinity(0))
    paths = {}
    for name, rows in (("main", given.rows), ("peers", given.peer_rows), ("few", FEW_ROWS), ("sample", 4_000)):
        paths[name] = telemetry(given.out, rows)
    lengths = {name: sequence_lengths(paths[name]) for name in ("main", "peers")}
    given.peer_steps = int(lengths["peers"].sum())
    found = {"machine": machine(), "peer rows": given.peer_rows, "runs": {}, "peers": {}}
    for name in given.shapes:
        shape = Shape(name, given.out, paths["sample"])
        if given.rows:
            one = against_bound(shape, paths["main"], lengths["main"], given)
            useful = shape.flops(int(lengths["main"].sum())) / 1e9
            found["runs"][name] = one | {"rows": given.rows, "gflops": useful / one["seconds"]}
        if given.peer_rounds:
            programs = compare(shape, paths["peers"], paths["few"], given)
            useful = shape.flops(given.peer_steps) / 1e9
            found["peers"][name] = {key: one | {"gflops": useful / one["seconds"]} for key, one in programs.items()}
        found.setdefault("start", start_up(given, shape, paths["few"]))
        if given.scale and "scale" not in found:
            found["scale"] = scale(shape, given)
    (given.out / "throughput.json").write_text(json.dumps(found, indent=1))
    print_tables(found)


if __name__ == "__main__":
    main()
