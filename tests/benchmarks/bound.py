"""Lower bound of the time to embed given rows: the recurrent operator, decoding and encoding, measured separately."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.processes import SEQEMBED, timed

FEATURES = [f"f{place}" for place in range(8)]
SHAPES = {
    "LSTM-64": ("--units", 64, "--forward-only"),
    "LSTM-128 both ways": ("--units", 128, "--bidirectional"),
}
COMMON = (
    "--objective",
    "reconstruct",
    "--frame",
    1,
    "--channels",
    "values",
    "--normalization",
    "dataset",
    "--pooling",
    "last",
)
UNITS = {"LSTM-64": (64, 1), "LSTM-128 both ways": (128, 2)}  # and directions
BATCH_SIZES = (16, 24, 32, 48, 64, 96, 192)
KERNEL_BATCHES = 400


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
        """Return the floating-point operations of the recurrent layers' matrix products for that many steps."""
        return steps * self.directions * 2 * 4 * self.units * (self.units + len(FEATURES))

    def kernel(self):
        """Return the bytes of a model with only the recurrent operator."""
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
        """Return the wall time of the operator for all rows on all cores at its best batch size, and that size.

        The size is found by short calls; then as many rows are timed as in a run, so that short-term effects count for
        neither.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False
        session = onnxruntime.InferenceSession(self.kernel(), options)

        def seconds(size, num_batches):
            quantiles = (np.arange(num_batches) + 0.5) / num_batches
            times = np.quantile(lengths, quantiles, method="nearest")
            np.random.default_rng(0).shuffle(times)
            values = np.random.default_rng(0).normal(size=(int(times.max()), size, len(FEATURES))).astype("f4")

            def call(time):
                session.run(["Y_h"], {"X": values[:time]})

            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(call, times[:50]))
                start = time.perf_counter()
                list(pool.map(call, times))
                return (time.perf_counter() - start) / (times.sum() * size) * lengths.sum()

        best = min(BATCH_SIZES, key=lambda size: seconds(size, KERNEL_BATCHES))
        return seconds(best, max(KERNEL_BATCHES, len(lengths) // best)), best


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
