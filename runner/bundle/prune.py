"""Leave an output of a model out, with all nodes that it alone needs, so that a run does not compute them.

ONNX Runtime computes every node, whichever outputs a call asks for: its option to follow only the way to those outputs
made no difference (1.32). What remains computes the same bytes.
"""

from collections.abc import Iterable

from seqembed.runner.bundle.protobuf import Field, fields, message, text

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODES, _GRAPH_TENSORS, _GRAPH_OUTPUTS = 1, 5, 12
_NODE_INPUTS, _NODE_OUTPUTS = 1, 2
_VALUE_NAME, _TENSOR_NAME = 1, 8
_LENGTH_DELIMITED = 2


def without_output(model: bytes, name: str) -> bytes:
    """Return a model without the output `name`, and without the nodes and weights that no other output needs.

    Args:
        model: Serialized ModelProto that passed `seqembed.runner.bundle.onnx_check.check_model`.
        name: Name of the output.
    """
    found = list(fields(memoryview(model)))
    return _message((number, _pruned(message(v), name) if number == _MODEL_GRAPH else v) for number, v in found)


def _pruned(graph: memoryview, name: str) -> memoryview:
    found = [
        (number, value)
        for number, value in fields(graph)
        if number != _GRAPH_OUTPUTS or _name(value, _VALUE_NAME) != name
    ]
    needed = {_name(value, _VALUE_NAME) for number, value in found if number == _GRAPH_OUTPUTS}
    kept: list[Field] = []
    for number, value in reversed(found):  # nodes stand in topological order
        if number == _GRAPH_NODES:
            if needed.isdisjoint(_names(value, _NODE_OUTPUTS)):
                continue
            needed.update(_names(value, _NODE_INPUTS))
        kept.append((number, value))
    used = [(number, v) for number, v in kept if number != _GRAPH_TENSORS or _name(v, _TENSOR_NAME) in needed]
    return memoryview(_message(reversed(used)))


def _names(node: int | memoryview, number: int) -> set[str]:
    return {text(value) for found, value in fields(message(node)) if found == number}


def _name(value: int | memoryview, number: int) -> str:
    return text(next((v for found, v in fields(message(value)) if found == number), None))


def _message(found: Iterable[Field]) -> bytes:
    """Return the bytes of a message; its fields are numbers or have a length, as all of these messages."""
    parts: list[bytes | memoryview] = []
    for number, value in found:
        if isinstance(value, int):
            parts += [_varint(number << 3), _varint(value)]
        else:
            parts += [_varint(number << 3 | _LENGTH_DELIMITED), _varint(len(value)), value]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
