"""Check the bytes of a model file before ONNX Runtime reads them, since it is untrusted input.

Not allowed are files too large for protobuf, tensors in other files, operators outside standard ONNX, functions, nested
graphs, training information, and operator sets older than the exporter's.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from seqembed.data.contract import CONTRACT_KEY, load_contract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.other_kinds import other_kind
from seqembed.runner.bundle.protobuf import MalformedError, fields, message, text

MAX_MODEL_BYTES: Final = (1 << 31) - 1  # the limit of protobuf
MAX_CONTRACT_BYTES: Final = 64 << 20
MIN_OPSET: Final = 13  # the oldest the exporter writes; ONNX Runtime itself refuses those that are too new for it
_ONNX_DOMAINS: Final = frozenset({"", "ai.onnx"})
# The operator of dynamic quantisation; the rest of a quantised model is standard ONNX.
_QUANTISED: Final = frozenset({("com.microsoft", "DynamicQuantizeLSTM")})

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_METADATA, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 14, 20, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODES, _GRAPH_TENSORS, _GRAPH_SPARSE_TENSORS = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTES, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_SPARSE_TENSOR_FIELDS = (1, 2)


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """Content of a model file that passed the check.

    Attributes:
        contract: The text of its contract.
        is_quantised: Whether it has nodes with int8 weights (DynamicQuantizeLSTM).
    """

    contract: str
    is_quantised: bool


def check_model(model: bytes, source: str) -> CheckedModel:
    """Check a model file.

    Args:
        model: The file's bytes.
        source: Their file, for messages.

    Raises:
        BundleError: The bytes are not an ONNX model, need other files or operators, or have no contract.
    """
    if len(model) > MAX_MODEL_BYTES:
        refuse_size(source, len(model))
    try:
        return _check_format(memoryview(model), source)
    except (MalformedError, UnicodeDecodeError) as error:
        if (kind := other_kind(model)) is not None:
            raise BundleError(f"{source}: not a model: this is {kind}.") from error
        raise BundleError(
            f"{source}: not a model: not an ONNX protobuf ({error}). Copy the file again, or export again."
        ) from error


def _check_format(model: memoryview, source: str) -> CheckedModel:
    try:
        return _check_model(model, source)
    except BundleError:
        _refuse_other_format(model, source)  # reads to the end: damaged bytes are named as such, too
        raise


def _refuse_other_format(model: memoryview, source: str) -> None:
    """Say that a bundle has another format, rather than what is unusual about its graph.

    Raises:
        BundleError: Its contract has a format that this version does not read.
        MalformedError: The bytes are not an ONNX model.
        UnicodeDecodeError: A text in them is not UTF-8.
    """
    for entry in (dict(fields(message(value))) for number, value in fields(model) if number == _MODEL_METADATA):
        if text(entry.get(_ENTRY_KEY)) == CONTRACT_KEY:
            load_contract(text(message(entry.get(_ENTRY_VALUE, memoryview(b"")))), source)


def refuse_size(source: str, size: int) -> NoReturn:
    """Raise the error for a file that is larger than any model can be.

    Raises:
        BundleError: Always.
    """
    raise BundleError(
        f"{source}: {size:,} bytes; a model has at most {MAX_MODEL_BYTES:,}. Pass a file made by `seqembed export`."
    )


def _check_model(model: memoryview, source: str) -> CheckedModel:
    contracts, opsets, num_graphs, is_quantised = [], {}, 0, False
    for number, value in fields(model):
        if number == _MODEL_GRAPH:
            is_quantised = _check_graph(message(value), source)
            num_graphs += 1
        elif number == _MODEL_OPSETS:
            domain, version = _opset(message(value))
            opsets[domain] = version
        elif number == _MODEL_METADATA:
            entry = dict(fields(message(value)))
            if text(entry.get(_ENTRY_KEY)) == CONTRACT_KEY:
                contracts.append(message(entry.get(_ENTRY_VALUE, memoryview(b""))))
        elif number == _MODEL_FUNCTIONS:
            _refuse(source, "functions of its own")
        elif number == _MODEL_TRAINING:
            _refuse(source, "training information")
    if num_graphs != 1:
        raise MalformedError(f"{num_graphs} graphs")
    _check_opset(opsets, source)
    return CheckedModel(_contract(contracts, source), is_quantised)


def _check_opset(opsets: dict[str, int], source: str) -> None:
    found = max((version for domain, version in opsets.items() if domain in _ONNX_DOMAINS), default=0)
    if found < MIN_OPSET:
        raise BundleError(
            f"{source}: operator set {found or 'missing'}; expected {MIN_OPSET} or newer. Export the model again."
        )


def _contract(found: list[memoryview], source: str) -> str:
    if not found:
        raise BundleError(
            f"{source}: an ONNX model, but without a seqembed contract in its metadata. Make it with `seqembed export`."
        )
    if len(found) > 1:
        raise BundleError(f"{source}: {len(found)} contracts in its metadata; expected one. Export the model again.")
    if len(found[0]) > MAX_CONTRACT_BYTES:
        raise BundleError(
            f"{source}: a contract of {len(found[0]):,} bytes; at most {MAX_CONTRACT_BYTES:,} are read. "
            "Export the model again."
        )
    return text(found[0])


def _check_graph(graph: memoryview, source: str) -> bool:
    """Return whether the graph has quantised nodes."""
    is_quantised = False
    for number, value in fields(graph):
        if number == _GRAPH_NODES:
            is_quantised |= _check_node(message(value), source) in _QUANTISED
        elif number == _GRAPH_TENSORS:
            _check_tensor(message(value), source)
        elif number == _GRAPH_SPARSE_TENSORS:
            _check_sparse_tensor(message(value), source)
    return is_quantised


def _check_node(node: memoryview, source: str) -> tuple[str, str]:
    """Return domain and operator."""
    operator, domain = "", ""
    for number, value in fields(node):
        if number == _NODE_TYPE:
            operator = text(value)
        elif number == _NODE_DOMAIN:
            domain = text(value)
        elif number == _NODE_ATTRIBUTES:
            _check_attribute(message(value), source)
    if domain not in _ONNX_DOMAINS and (domain, operator) not in _QUANTISED:
        _refuse(source, f"the operator {domain}.{operator}", "an encoder has standard ONNX operators only")
    return domain, operator


def _check_attribute(attribute: memoryview, source: str) -> None:
    for number, value in fields(attribute):
        if number in _ATTRIBUTE_TENSORS:
            _check_tensor(message(value), source)
        elif number in _ATTRIBUTE_SPARSE_TENSORS:
            _check_sparse_tensor(message(value), source)
        elif number in _ATTRIBUTE_GRAPHS:
            _refuse(source, "a graph within a node (Loop, Scan or If)", "an encoder has one flat graph")


def _check_sparse_tensor(tensor: memoryview, source: str) -> None:
    for number, value in fields(tensor):
        if number in _SPARSE_TENSOR_FIELDS:
            _check_tensor(message(value), source)


def _check_tensor(tensor: memoryview, source: str) -> None:
    for number, value in fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
            _refuse(source, "a tensor stored in another file", "a bundle is one file")


def _refuse(source: str, found: str, expected: str = "an encoder has none") -> NoReturn:
    raise BundleError(f"{source}: the model contains {found}; {expected}. Make it with `seqembed export`.")


def _opset(entry: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in fields(entry):
        if number == _OPSET_DOMAIN:
            domain = text(value)
        elif number == _OPSET_VERSION and isinstance(value, int):
            version = value
    return domain, version
