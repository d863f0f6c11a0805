"""The graph of a Keras model's layers, without the plain operations between them (masks, sums, …)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seqembed.trainer.model.backend import keras

INPUT = "InputLayer"


@dataclass(frozen=True, slots=True)
class LayerBox:
    """A layer as a box of the drawing.

    Attributes:
        name: The layer's own name.
        kind: Its class; wrappers name what they wrap, e.g. ``Bidirectional LSTM``.
        units: Units, e.g. ``64 units`` or ``2 × 48 units`` in both directions; empty for layers without.
        shape: The first output that is used, e.g. ``batch × time × 64 features``.
        num_parameters: Weights, trained or not.
        is_output: Whether it computes an output of the model.
    """

    name: str
    kind: str
    units: str
    shape: str
    num_parameters: int
    is_output: bool


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """A model's layers, and its edges as pairs (from, to) of layer names, both in the order of the model."""

    boxes: tuple[LayerBox, ...]
    edges: tuple[tuple[str, str], ...]


def model_graph(model: Any) -> ModelGraph:
    """Read the graph of a functional Keras model.

    Layers that are connected only through operations (such as a mask computed from the inputs) get an edge, unless a
    longer path through other layers exists; else nearly every layer would be connected to the inputs.
    """
    nodes = {node for depth in model._nodes_by_depth.values() for node in depth}
    used = {id(tensor) for node in nodes for tensor in node.input_tensors} | {id(tensor) for tensor in model.outputs}
    direct: set[tuple[str, str]] = set()
    folded: set[tuple[str, str]] = set()
    shapes: dict[str, tuple[int | None, ...]] = {}
    for layer in model.layers:
        for node in (node for node in layer._inbound_nodes if node in nodes):
            outputs = [tensor for tensor in node.output_tensors if id(tensor) in used] or node.output_tensors
            shapes.setdefault(layer.name, tuple(outputs[0].shape))
            for source, is_direct in _sources(node):
                (direct if is_direct else folded).add((source, layer.name))
    ends = {name for tensor in model.outputs for name, _ in _origin(tensor, is_direct=True)}
    ends -= {layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
    boxes = tuple(
        LayerBox(
            layer.name,
            _kind(layer),
            _units(layer),
            _shape_text(shapes[layer.name]),
            int(layer.count_params()),
            layer.name in ends,
        )
        for layer in model.layers
    )
    edges = direct | {edge for edge in folded - direct if not _has_longer_way(edge, direct | folded)}
    order = {box.name: index for index, box in enumerate(boxes)}
    return ModelGraph(boxes, tuple(sorted(edges, key=lambda edge: (order[edge[0]], order[edge[1]]))))


def _sources(node: Any) -> Iterator[tuple[str, bool]]:
    """Yield the layers that feed `node`, each with whether it feeds it directly, without operations in between."""
    for tensor in node.input_tensors:
        yield from _origin(tensor, is_direct=True)


def _origin(tensor: Any, is_direct: bool) -> Iterator[tuple[str, bool]]:
    """Yield the layers that `tensor` comes from, back through operations that are not layers."""
    pending, seen = [(tensor, is_direct)], set()
    while pending:
        current, straight = pending.pop()
        history = current._keras_history
        if isinstance(history.operation, keras.layers.Layer):
            yield history.operation.name, straight
        elif id(current) not in seen:
            seen.add(id(current))
            node = history.operation._inbound_nodes[history.node_index]
            pending.extend((source, False) for source in node.input_tensors)


def _has_longer_way(edge: tuple[str, str], edges: set[tuple[str, str]]) -> bool:
    start, end = edge
    pending = [target for source, target in edges if source == start and target != end]
    seen: set[str] = set()
    while pending:
        current = pending.pop()
        if current == end:
            return True
        if current not in seen:
            seen.add(current)
            pending.extend(target for source, target in edges if source == current)
    return False


def _kind(layer: Any) -> str:
    kind = type(layer).__name__
    if isinstance(layer, keras.layers.Bidirectional):
        return f"{kind} {type(layer.forward_layer).__name__}"
    if isinstance(layer, keras.layers.Wrapper):
        return f"{kind} {type(layer.layer).__name__}"
    return {"Functional": "Model", "Sequential": "Model"}.get(kind, kind)


def _units(layer: Any) -> str:
    both = isinstance(layer, keras.layers.Bidirectional)
    units = getattr(layer.forward_layer if both else getattr(layer, "layer", layer), "units", None)
    return "" if units is None else f"{'2 × ' if both else ''}{units:,} unit{'s' if units > 1 or both else ''}"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    """Return ``batch × time × 8 features``; time is the second free size, at whichever axis."""
    free = iter(("batch", "time"))
    sizes = [next(free, "?") if size is None else f"{size:,}" for size in shape]
    if known := [index for index, size in enumerate(shape) if size is not None]:
        sizes[known[-1]] += " feature" if shape[known[-1]] == 1 else " features"
    return " × ".join(sizes)
