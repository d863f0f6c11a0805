"""The graph of a Keras model's layers and landmarks, without the other operations between them (masks, sums, …)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.encoder import Landmark

INPUT = "InputLayer"


@dataclass(frozen=True, slots=True)
class LayerBox:
    """A layer or landmark as a box of the drawing.

    Attributes:
        name: The layer's own name, or the landmark's.
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


def model_graph(model: Any, landmarks: Sequence[Landmark] = ()) -> ModelGraph:
    """Read the graph of a functional Keras model.

    Layers that are connected only through operations (such as a mask computed from the inputs) get an edge, unless a
    longer path through other layers exists; else nearly every layer would be connected to the inputs.

    Args:
        model: The model.
        landmarks: Operations that get a box; those of other models are ignored.
    """
    nodes = {node for depth in model._nodes_by_depth.values() for node in depth}
    own = {id(tensor) for node in nodes for tensor in node.output_tensors}
    marks = {id(mark.tensor): mark for mark in landmarks if id(mark.tensor) in own}
    used = {id(tensor) for node in nodes for tensor in node.input_tensors} | {id(tensor) for tensor in model.outputs}
    edges: dict[tuple[str, str], bool] = {}  # whether one of the ways between two boxes passes no operation
    boxes: dict[str, LayerBox] = {}
    ends = {name for tensor in model.outputs for name, _ in _origin(tensor, marks)}
    ends -= {layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
    for operation in model.operations:
        for node in (node for node in operation._inbound_nodes if node in nodes):
            outputs = [tensor for tensor in node.output_tensors if id(tensor) in used] or node.output_tensors
            box = _box(operation, outputs[0], marks, ends)
            if box is not None:
                boxes.setdefault(box.name, box)
                for tensor in node.input_tensors:
                    for source, is_direct in _origin(tensor, marks):
                        edges[source, box.name] = edges.get((source, box.name), False) or is_direct
    kept = [edge for edge, direct in edges.items() if direct or not _has_longer_way(edge, set(edges))]
    order = {name: index for index, name in enumerate(boxes)}
    by_order = sorted(kept, key=lambda edge: (order[edge[0]], order[edge[1]]))
    return ModelGraph(tuple(boxes.values()), tuple(by_order))


def _box(operation: Any, output: Any, marks: Mapping[int, Landmark], ends: set[str]) -> LayerBox | None:
    """Return the box of a layer or landmark; None for other operations."""
    shape = _shape_text(tuple(output.shape))
    if isinstance(operation, keras.layers.Layer):
        name, kind = operation.name, _kind(operation)
        return LayerBox(name, kind, _units(operation), shape, int(operation.count_params()), name in ends)
    mark = marks.get(id(output))
    return None if mark is None else LayerBox(mark.name, mark.kind, "", shape, 0, mark.name in ends)


def _origin(tensor: Any, marks: Mapping[int, Landmark]) -> Iterator[tuple[str, bool]]:
    """Yield the boxes that `tensor` comes from, each with whether no operation without a box lies in between."""
    pending, seen = [(tensor, True)], set()
    while pending:
        current, is_direct = pending.pop()
        history = current._keras_history
        if id(current) in marks:
            yield marks[id(current)].name, is_direct
        elif isinstance(history.operation, keras.layers.Layer):
            yield history.operation.name, is_direct
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
