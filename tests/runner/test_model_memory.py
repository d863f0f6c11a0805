"""A model that allocates gigabytes regardless of its input is refused when loaded, whatever the operator."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from seqembed.data.errors import BundleError
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.memory import memory_limited
from seqembed_testing import Tiny, resealed, seqembed

GIB = 1 << 30
make = helper.make_node


def chain(num: int) -> list[Any]:
    """Double the width of a tensor `num` times."""
    return [make("Concat", [f"c{index}" if index else "first"] * 2, [f"c{index + 1}"], axis=1) for index in range(num)]


WAYS: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "a constant": ([make("ConstantOfShape", ["s"], ["o"])], {"s": [GIB]}, "o"),
    "a computed shape": (
        [
            make("Shape", ["lengths"], ["batch"]),
            make("Mul", ["batch", "s"], ["large"]),
            make("ConstantOfShape", ["large"], ["o"]),
        ],
        {"s": [GIB]},
        "o",
    ),
    "a shape of values": (
        [
            make("Cast", ["lengths"], ["l"], to=onnx.TensorProto.INT64),
            make("ReduceMax", ["l"], ["longest"], keepdims=0),
            make("Mul", ["longest", "s"], ["large"]),
            make("ConstantOfShape", ["large"], ["o"]),
        ],
        {"s": [GIB // 16]},
        "o",
    ),
    "expand": ([make("Expand", ["x", "s"], ["o"])], {"s": [GIB], "x": np.ones(1, np.float32)}, "o"),
    "range": ([make("Range", ["a", "b", "c"], ["o"])], {"a": 0, "b": GIB, "c": 1}, "o"),
    "tile": ([make("Tile", ["first", "s"], ["o"])], {"s": [1, GIB]}, "o"),
    "pad": ([make("Pad", ["first", "s"], ["o"])], {"s": [0, 0, 0, GIB]}, "o"),
    "resize": (
        [
            make("Unsqueeze", ["first", "axes"], ["image"]),
            make("Resize", ["image", "", "scales"], ["o"], mode="nearest"),
        ],
        {"axes": [0, 1], "scales": np.array([1, 1, 40_000, 40_000], np.float32)},
        "o",
    ),
    "one hot": (
        [make("OneHot", ["i", "s", "v"], ["o"])],
        {"i": [0, 0], "s": GIB, "v": np.array([0, 1], np.float32)},
        "o",
    ),
    "random numbers": ([make("RandomNormal", [], ["o"], shape=[GIB])], {}, "o"),
    "an outer product": (
        [make("MatMul", ["l", "r"], ["o"])],
        {"l": np.ones((1 << 16, 1), np.float32), "r": np.ones((1, 1 << 16), np.float32)},
        "o",
    ),
    "a broadcast": (
        [make("Add", ["l", "r"], ["o"])],
        {"l": np.ones((1 << 16, 1), np.float32), "r": np.ones((1, 1 << 16), np.float32)},
        "o",
    ),
    "doubled thirty times": (chain(30), {}, "c30"),
}


def oversized(bundle: Path, way: str) -> bytes:
    """Return a bundle with the same vectors that also allocates a large tensor, with a new digest."""
    nodes, constants, result = WAYS[way]
    model = onnx.load(bundle)
    (last,) = [node for node in model.graph.node if "embedding" in node.output]
    last.output[list(last.output).index("embedding")] = "first"
    held = {
        name: value if isinstance(value, np.ndarray) else np.array(value, np.int64) for name, value in constants.items()
    }
    held["nothing"] = np.array(0, np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in held.items())
    model.graph.node.extend(
        [
            *nodes,
            make("ReduceMax", [result], ["one"], keepdims=0),
            make("Cast", ["one"], ["number"], to=onnx.TensorProto.FLOAT),
            make("Mul", ["number", "nothing"], ["zero"]),
            make("Add", ["first", "zero"], ["embedding"]),
        ]
    )
    return resealed(model)


@pytest.mark.parametrize("way", WAYS)
def test_graphs_that_allocate_gigabytes_are_refused(tiny: Tiny, way: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="needs more memory than its weights and these steps explain"):
        Encoder.from_bytes(oversized(tiny.bundle, way), source="memory")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < GIB
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_the_command_refuses_it(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(oversized(tiny.bundle, "expand"))
    result = seqembed("run", tiny.data, "--model", tmp_path / "m.onnx", "--out", tmp_path / "out")
    assert result.exit_code == 4, result.output
    assert not (tmp_path / "out").exists()


def test_memory_for_a_sequence_is_allowed(tiny: Tiny) -> None:
    """The same operators, in proportion to the input."""
    model = onnx.load(tiny.bundle)
    (last,) = [node for node in model.graph.node if "embedding" in node.output]
    last.output[list(last.output).index("embedding")] = "first"
    model.graph.initializer.append(numpy_helper.from_array(np.array([3, 1]), "repeats"))
    model.graph.node.append(make("Tile", ["first", "repeats"], ["more"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "start"))
    model.graph.node.append(make("Shape", ["lengths"], ["batch"]))
    model.graph.node.append(make("Slice", ["more", "start", "batch"], ["embedding"]))
    assert Encoder.from_bytes(resealed(model), source="memory").replay_golden() <= 1e-5


def test_a_lower_limit_is_kept() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 45, hard))
        with memory_limited(1 << 50):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 45
        with pytest.raises(MemoryError), memory_limited(1 << 28):
            bytearray(1 << 30)
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 45
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
