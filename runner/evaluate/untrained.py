"""Build the untrained control: the graph of a bundle with new random weights, in memory only.

Nodes before the first weights of the graph (standardisation, imputation, frames) depend only on the moments of the data
and are kept. Then recurrent weights and dense kernels are initialised as by Keras, embeddings of categories as by the
trainer, and learned scales and offsets (normalisation layers, biases) become 1 and 0. Convolutions stay: they are the
trainer's fixed kernels; so do its fixed functions of consecutive steps. So the comparison shows what training added to
them. The golden sequences of the bundle do not apply to such a graph, so it runs without that check, and is never
written to a file.
"""

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from seqembed.data.contract import CONTRACT_KEY
from seqembed.data.outputs import EMBEDDING, RECONSTRUCTION_ERROR
from seqembed.runner.bundle.prune import without_output
from seqembed.runner.bundle.seal import sealed

_RECURRENT = ("LSTM", "GRU")
_KERNELS = ("MatMul", "Gemm")
_OFFSETS = ("Add", "Sub")
_SCALES = ("Mul", "Div")
_RECURRENT_SLOTS = (1, 2, 3)  # inputs W, R and B of ONNX LSTM and GRU
_TABLE_SPREAD = 0.5  # standard deviation of the trainer's initial embeddings of categories
_FIXED = "/fixed_"  # in the names of nodes of layers that the trainer never trains
_FORGET_GATE = 2  # the gates of ONNX LSTM are i, o, f, c


class UnknownWeightsError(Exception):
    """A graph has trained weights of an unknown kind, which cannot be initialised again."""


def untrained_bundle(bundle: bytes, seed: int) -> bytes:
    """Return a bundle of the same graph and contract with untrained weights.

    Kernels are Glorot uniform over the complete kernel (all gates together), recurrent kernels orthogonal, biases 0
    with 1 for an LSTM's forget gate: Keras's defaults. Sources: Glorot & Bengio (2010); Saxe et al. (2014, arXiv
    1312.6120); Jozefowicz et al. (2015) for the forget gate. Embeddings of categories (Gather from floats) are normal
    with standard deviation 0.5.

    Args:
        bundle: Bytes of the trained bundle; its golden sequences do not apply to the result.
        seed: Seed of the weights.

    Returns:
        The bundle, without a decoder; a projected embedding is replaced by its blocks, since the projection was fitted
        to trained ones.

    Raises:
        UnknownWeightsError: The graph has trained weights of an unknown kind.
    """
    model = onnx.load_from_string(bundle)
    if any(output.name == RECONSTRUCTION_ERROR for output in model.graph.output):
        model = onnx.load_from_string(without_output(bundle, RECONSTRUCTION_ERROR))
    (contract,) = [entry.value for entry in model.metadata_props if entry.key == CONTRACT_KEY]
    document = json.loads(contract) | {"golden": []}
    if document.get("projected"):
        width = _without_projection(model.graph)
        document |= {"embedding_dim": width, "projected": False, "embeddings": None}
        document["outputs"][0]["width"] = width
        document["training"]["statistics"] = None  # they describe other vectors
    document["outputs"] = [output for output in document.get("outputs", []) if output["name"] == EMBEDDING]
    document.pop("reconstruction_errors", None)
    _Redraw(model.graph, np.random.default_rng(seed)).run()
    return sealed(model, json.dumps(document))


def _without_projection(graph: Any) -> int:
    """Let a graph return the blocks of the embedding instead of their projection; return how many numbers they are."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    (output,) = [output for output in graph.output if output.name == EMBEDDING]
    node = producers[EMBEDDING]
    while node.op_type in ("Add", "Identity"):
        node = next(producers[name] for name in node.input if name in producers)
    if node.op_type not in _KERNELS or node.input[1] not in weights:
        raise UnknownWeightsError(f"{node.op_type} node {node.name!r} is not a projection")
    width = int(weights[node.input[1]].dims[0])
    producers[EMBEDDING].output[0] = "projected"
    graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], [EMBEDDING]))
    output.type.tensor_type.shape.dim[1].dim_value = width
    return width


class _Redraw:
    """Replaces the weights of a graph in one pass; its nodes are in topological order."""

    def __init__(self, graph: Any, random: np.random.Generator) -> None:
        self._graph = graph
        self._random = random
        self._constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self._learned: set[str] = set()  # tensors that depend on a weight
        self._new: list[Any] = []

    def run(self) -> None:
        for node in self._graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        for index, node in enumerate(self._graph.node):
            self._visit(node, index)
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend([*kept, *self._new])

    def _visit(self, node: Any, index: int) -> None:
        constants = [slot for slot, name in enumerate(node.input) if name in self._constants]
        weights = [slot for slot in constants if _is_weight(self._array(node, slot)) and _FIXED not in node.name]
        learned = any(name in self._learned for name in node.input)
        if node.op_type in _RECURRENT:
            self._recurrent(node, index, weights)
            learned = True
        elif node.op_type in _KERNELS and weights:
            for slot in weights:
                array = self._array(node, slot)
                self._replace(node, index, slot, self._glorot(array) if array.ndim > 1 else np.zeros_like(array))
            learned = True
        elif node.op_type == "Gather" and 0 in weights and self._array(node, 0).ndim == 2:
            self._replace(node, index, 0, self._random.normal(0, _TABLE_SPREAD, size=self._array(node, 0).shape))
            learned = True
        elif learned:
            self._scales_and_offsets(node, index, weights)
        if learned:
            self._learned.update(name for name in node.output if name)

    def _recurrent(self, node: Any, index: int, weights: list[int]) -> None:
        strange = [slot for slot in weights if slot not in _RECURRENT_SLOTS and slot != 0]
        if strange or not {1, 2} <= set(weights):
            raise UnknownWeightsError(f"{node.op_type} node {node.name!r} has weights of an unknown kind")
        kernel, recurrent = self._array(node, 1), self._array(node, 2)
        # Keras's Glorot initialiser treats the kernel of a direction as one matrix, (features, gates * units).
        self._replace(node, index, 1, np.stack([self._glorot(direction) for direction in kernel]))
        self._replace(node, index, 2, np.stack([self._orthogonal(direction) for direction in recurrent]))
        if 3 in weights:
            self._replace(node, index, 3, _initial_bias(self._array(node, 3), node.op_type, recurrent.shape[2]))

    def _scales_and_offsets(self, node: Any, index: int, weights: list[int]) -> None:
        for slot in weights:
            array = self._array(node, slot)
            if node.op_type in _OFFSETS:
                self._replace(node, index, slot, np.zeros_like(array))
            elif node.op_type in _SCALES:
                self._replace(node, index, slot, np.ones_like(array))
            elif array.size > 1:
                raise UnknownWeightsError(f"{node.op_type} node {node.name!r} holds {array.size:,} trained numbers")

    def _array(self, node: Any, slot: int) -> NDArray[Any]:
        array: NDArray[Any] = self._constants[node.input[slot]]
        return array

    def _replace(self, node: Any, index: int, slot: int, array: NDArray[Any]) -> None:
        """Replace one constant input of a node by a new constant, since nodes may share equal ones."""
        before = self._array(node, slot)
        name = f"untrained/{index}/{slot}"
        self._new.append(onnx.numpy_helper.from_array(array.astype(before.dtype), name))
        node.input[slot] = name

    def _glorot(self, like: NDArray[Any]) -> NDArray[np.float64]:
        limit = np.sqrt(6 / (like.shape[-2] + like.shape[-1]))
        return self._random.uniform(-limit, limit, size=like.shape)

    def _orthogonal(self, like: NDArray[Any]) -> NDArray[np.float64]:
        """Return a random matrix (gates * units, units) with orthonormal columns, uniformly distributed."""
        q, r = np.linalg.qr(self._random.standard_normal(like.shape))
        uniform: NDArray[np.float64] = q * np.sign(np.diag(r))
        return uniform


def _is_weight(array: NDArray[Any]) -> bool:
    """Return whether a constant may be trained; a scalar is a setting, such as an epsilon."""
    return array.ndim > 0 and array.dtype.kind == "f"


def _initial_bias(trained: NDArray[Any], operator: str, units: int) -> NDArray[Any]:
    """Return Keras's initial bias (directions, 2 * gates * units); a trained bias of zeros means no bias."""
    bias = np.zeros_like(trained)
    if operator == "LSTM" and trained.any():
        bias[:, _FORGET_GATE * units : (_FORGET_GATE + 1) * units] = 1
    return bias
