"""What a night costs: `seqembed run` beside its bound, and beside what one would write by hand.

    uv run python -m tests.benchmarks.throughput --out throughput

writes `telemetry` (8 features, lognormal lengths of 5 to 100 steps), makes an encoder for each shape, and times whole
processes, start included, from Parquet to Parquet, on all cores, in turns. How an encoder was trained does not change
what it costs, so they are trained for one step.

The bound is what the machine cannot do without: the recurrent operators alone, on sequences of one length a batch (no
padding), at the best batch size, called from a thread a core; plus decoding the columns and encoding the vectors, each
by pyarrow alone, spread over the cores. No start, no hand-over, no padding, no check.

Peers do the same work on one smaller file, and what they write is held against ours: rows, ids, vectors. Two need an
environment of their own and are left out without it:

    python3 -m venv peers
    peers/bin/pip install torch "ray[data]" onnxruntime pyarrow numpy pandas
    uv run python -m tests.benchmarks.throughput --out throughput --peer-python peers/bin/python

Takes some forty minutes on two cores with all peers; `--rows 200000 --peer-rows 50000 --rounds 1` six.
"""

import argparse
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

PEERS = Path(__file__).with_name("peers")
FEATURES = [f"f{place}" for place in range(8)]
SHAPES = {
    "LSTM-64": ("--units", 64, "--forward-only"),
    "LSTM-128 both ways": ("--units", 128, "--bidirectional"),
}
COMMON = ("--objective", "reconstruct", "--frame", 1, "--reads", "values", "--scaling", "data", "--pooling", "last")
UNITS = {"LSTM-64": (64, 1), "LSTM-128 both ways": (128, 2)}  # and directions
BATCH_SIZES = (16, 24, 32, 48, 64, 96, 192)
KERNEL_BATCHES = 400
FEW_ROWS = 50
SEQEMBED = (sys.executable, "-c", "from runner.cli import main; main()")
IMPORTS = "import numpy, pyarrow.parquet, onnxruntime, click"
ALLOWED = 1e-4  # between peers' vectors and ours


# A process starts with its parent's peak of memory, so a small one starts each, and tells: seconds, MiB, exit code.
LAUNCHER = """
import json, os, sys, time
report, words = int(sys.argv[1]), sys.argv[2:]
start = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(words[0], words, os.environ), 0)
told = [time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status]
os.write(report, json.dumps(told).encode())
"""


def timed(words, **options):
    """Run one process; return wall seconds, processor seconds, most memory of it or a child (MiB) and its output."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a night starts from compiled modules, ours and everybody's
    reader, writer = os.pipe()
    launcher = [sys.executable, "-S", "-c", LAUNCHER, str(writer), *map(str, words)]
    done = subprocess.run(launcher, capture_output=True, text=True, env=environment, pass_fds=[writer], **options)
    os.close(writer)
    with open(reader) as report:
        *told, status = json.loads(report.read())
    if status:
        raise SystemExit(f"{words} failed:\n{done.stderr}")
    return *told, done.stdout


class Shape:
    """An encoder of one shape: its files, and its bound on given rows."""

    def __init__(self, name, root, sample):
        """Train for a step and export."""
        self.name, self.units, self.directions = name, *UNITS[name]
        self.root = root / name.replace(" ", "-")
        self.bundle = self.root / "encoder.onnx"
        run = ("train", sample, "--out", self.root, *COMMON, *SHAPES[name], "--steps", 1, "--overwrite")
        timed([*SEQEMBED, *run, "--progress", "none"])
        timed([*SEQEMBED, "export", self.root, "--out", self.bundle])

    def flops(self, steps):
        """Return the useful work of that many steps: products and sums of the recurrent layers' matrices."""
        return steps * self.directions * 2 * 4 * self.units * (self.units + len(FEATURES))

    def kernel(self):
        """Return the bytes of a model that is the recurrent operator and nothing else."""
        rng, width = np.random.default_rng(0), 4 * self.units
        weights = {
            "W": (self.directions, width, len(FEATURES)),
            "R": (self.directions, width, self.units),
            "B": (self.directions, 2 * width),
        }
        held = [onnx.numpy_helper.from_array(rng.normal(0, 0.1, s).astype("f4"), k) for k, s in weights.items()]
        direction = ("forward", "bidirectional")[self.directions - 1]
        node = onnx.helper.make_node(
            "LSTM", ["X", "W", "R", "B"], ["", "Y_h"], hidden_size=self.units, direction=direction
        )
        floats = onnx.TensorProto.FLOAT
        takes = onnx.helper.make_tensor_value_info("X", floats, ["time", "batch", len(FEATURES)])
        gives = onnx.helper.make_tensor_value_info("Y_h", floats, [self.directions, "batch", self.units])
        graph = onnx.helper.make_graph([node], "kernel", [takes], [gives], held)
        opset = onnx.helper.make_opsetid("", 17)
        return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()

    def kernel_seconds(self, lengths, cores):
        """Return the least wall time, over the batch sizes, that the operator takes for all rows on all cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False
        session = onnxruntime.InferenceSession(self.kernel(), options)
        quantiles = (np.arange(KERNEL_BATCHES) + 0.5) / KERNEL_BATCHES
        times = np.quantile(lengths, quantiles, method="nearest")
        np.random.default_rng(0).shuffle(times)
        seconds = {}
        for size in BATCH_SIZES:
            values = np.random.default_rng(0).normal(size=(int(times.max()), size, len(FEATURES))).astype("f4")

            def call(time, values=values):
                session.run(["Y_h"], {"X": values[:time]})

            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(call, times[:50]))
                start = time.perf_counter()
                list(pool.map(call, times))
                seconds[size] = (time.perf_counter() - start) / (times.sum() * size) * lengths.sum()
        best = min(seconds, key=seconds.get)
        return seconds[best], best


def decode_seconds(path):
    """Return the processor time of decoding the columns, row group by row group."""
    file = pq.ParquetFile(path)
    start = time.process_time()
    for group in range(file.num_row_groups):
        file.read_row_group(group, columns=["id", *FEATURES], use_threads=False)
    return time.process_time() - start


def encode_seconds(rows, width, path):
    """Return the processor time of writing as many ids and vectors."""
    some = min(rows, 100_000)
    numbers = pa.array(np.random.default_rng(0).normal(size=some * width).astype("f4"))
    table = pa.table({"id": np.arange(some), "embedding": pa.FixedSizeListArray.from_arrays(numbers, width)})
    start = time.process_time()
    leaf = "embedding.list.element"
    pq.write_table(
        table,
        path,
        use_dictionary=False,
        compression={leaf: "none", "id": "zstd"},
        write_statistics=False,
        write_batch_size=1 << 16,
    )
    return (time.process_time() - start) * rows / some


def bound(shape, path, lengths, cores, scratch):
    """Return the parts of the bound in wall seconds."""
    kernel, batch_size = shape.kernel_seconds(lengths, cores)
    decode = decode_seconds(path) / cores
    encode = encode_seconds(len(lengths), shape.units * shape.directions, scratch / "encoded.parquet") / cores
    gc.collect()
    return {"kernel": kernel, "decode": decode, "encode": encode, "batch size": batch_size}


def seqembed_run(shape, path, out):
    """Time `seqembed run`; return it with what `_SUCCESS` says."""
    shutil.rmtree(out, ignore_errors=True)
    wall, processor, memory, _ = timed([*SEQEMBED, "run", path, "--model", shape.bundle, "--out", out])
    told = json.loads((out / "_SUCCESS").read_text())
    return {"seconds": wall, "processor": processor, "MiB": memory, "padding": told["padding_share"]}


def peers(shape, given):
    """Return the command lines of the peers that can run here: name → words before OUT."""
    found = {}
    if "keras" in given.peers:
        found["pandas, pad_sequences, predict"] = [sys.executable, PEERS / "keras_predict.py", shape.root]
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


def check_same(ours, theirs):
    """Hold a peer's file against ours; return the largest difference of a vector."""
    ours, theirs = (pq.read_table(path, columns=["id", "embedding"]).sort_by("id") for path in (ours, theirs))
    if not ours["id"].equals(theirs["id"].cast(ours["id"].type)):
        raise SystemExit("a peer wrote other rows")
    flat = [table["embedding"].combine_chunks().flatten().to_numpy() for table in (ours, theirs)]
    if flat[0].shape != flat[1].shape or np.abs(flat[0] - flat[1]).max() > ALLOWED:
        raise SystemExit("a peer wrote other vectors")
    return float(np.abs(flat[0] - flat[1]).max())


def compare(shape, path, few, given):
    """Time ours and every peer in turns on one file; return the best of each."""
    ours, out = given.out / "vectors", given.out / "theirs.parquet"
    commands, found = peers(shape, given), {}
    for _ in range(given.rounds):
        one = seqembed_run(shape, path, ours)
        keep(found, "seqembed run", one | {"start": seqembed_run(shape, few, given.out / "few")["seconds"]})
        for name, (python, script, model) in commands.items():
            remove(out)
            start = timed([python, script, few, model, out], cwd=PEERS)[0]
            remove(out)
            wall, processor, memory, told = timed([python, script, path, model, out], cwd=PEERS)
            difference = check_same(ours, out)
            one = {"seconds": wall, "processor": processor, "MiB": memory, "start": start, "difference": difference}
            if told.strip().isdigit():
                one["padding"] = 1 - given.peer_steps / int(told)
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
    """Time a whole night and its bound in turns; return the best of each."""
    found, parts = {}, {}
    for _ in range(given.rounds):
        for key, value in bound(shape, path, lengths, given.cores, given.out).items():
            parts[key] = min(value, parts.get(key, value))
        keep(found, "run", seqembed_run(shape, path, given.out / "vectors"))
        print(f"{shape.name}, {len(lengths):,} rows: {found['run']['seconds']:.1f} s, {parts}", flush=True)
    seconds = sum(parts[key] for key in ("kernel", "decode", "encode"))
    return {**found["run"], "bound": parts, "bound seconds": seconds, "share": seconds / found["run"]["seconds"]}


def sequence_lengths(path):
    """Return the steps of every sequence, int64."""
    return np.diff(pq.read_table(path, columns=[FEATURES[0]])[FEATURES[0]].combine_chunks().offsets.to_numpy())


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
    """Return what the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    names = ("seqembed", "onnxruntime", "pyarrow", "numpy", "tensorflow", "tf2onnx")
    versions = {name: metadata.version(name) for name in names}
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def print_tables(found):
    """Print what README shows, in Markdown."""
    print("\n| encoder | rows | rows/s | GFLOP/s | share of the bound | padding | peak MiB |\n" + "|---" * 7 + "|")
    for name, one in found["nights"].items():
        rate = one["rows"] / one["seconds"]
        print(
            f"| {name} | {one['rows']:,} | {rate:,.0f} | {one['gflops']:.0f} | {one['share']:.2f} | "
            f"{one['padding']:.2%} | {one['MiB']:.0f} |"
        )
    for name, programs in found["peers"].items():
        print(f"\n| {name} | rows/s | GFLOP/s | ours / theirs | start, s | padding | peak MiB |\n" + "|---" * 7 + "|")
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
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a night held against its bound")
    parser.add_argument("--peer-rows", type=int, default=200_000, help="of the file all peers embed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--peers", nargs="*", choices=("keras", "onnx", "torch", "ray"), default=["keras", "onnx", "torch", "ray"]
    )
    parser.add_argument("--peer-python", type=lambda path: Path(path).absolute(), help="interpreter with torch and ray")
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    given.cores = len(os.sched_getaffinity(0))
    paths = {}
    for name, rows in (("night", given.rows), ("peers", given.peer_rows), ("few", FEW_ROWS), ("sample", 4_000)):
        paths[name] = given.out / f"{name}-{rows}.parquet"
        if not paths[name].exists():
            timed([*SEQEMBED, "sample", "telemetry", "--rows", rows, "--out", paths[name]])
    lengths = {name: sequence_lengths(paths[name]) for name in ("night", "peers")}
    given.peer_steps = int(lengths["peers"].sum())
    found = {"machine": machine(), "peer rows": given.peer_rows, "nights": {}, "peers": {}}
    for name in given.shapes:
        shape = Shape(name, given.out, paths["sample"])
        if given.rows:
            one = against_bound(shape, paths["night"], lengths["night"], given)
            useful = shape.flops(int(lengths["night"].sum())) / 1e9
            found["nights"][name] = one | {"rows": given.rows, "gflops": useful / one["seconds"]}
        programs = compare(shape, paths["peers"], paths["few"], given)
        useful = shape.flops(given.peer_steps) / 1e9
        found["peers"][name] = {key: one | {"gflops": useful / one["seconds"]} for key, one in programs.items()}
        found.setdefault("start", start_up(given, shape, paths["few"]))
    (given.out / "throughput.json").write_text(json.dumps(found, indent=1))
    print_tables(found)


if __name__ == "__main__":
    main()
