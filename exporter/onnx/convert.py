"""Convert a Keras model to an ONNX graph; the only module that imports tf2onnx."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError, UsageError
from seqembed.exporter.keras.libraries import importing, onnx, tf
from seqembed.exporter.keras.model import EncoderModel
from seqembed.exporter.keras.steps_read import refuse_fewer_steps
from seqembed.exporter.keras.substitute import OPAQUE_NAME, substituted
from seqembed.exporter.onnx.lower import OPAQUE_DOMAIN, OPAQUE_TYPE, Lowering
from seqembed.exporter.onnx.simplify import simplify

with importing():
    import tf2onnx

# Opset 13 is the first with axes as inputs, which this package uses; 18 is the last that tf2onnx 1.17 supports.
OPSETS = range(13, 19)
# Raised by tf2onnx and TensorFlow's graph optimizer for graphs they do not support.
_UNCONVERTED = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError, tf.errors.OpError)
_REMEDY = "Rebuild it from the layers that `seqembed export` lists as supported."


def check_opset(opset: int) -> None:
    """Check that the conversion supports an opset.

    Raises:
        UsageError: It is outside `OPSETS`.
    """
    if opset not in OPSETS:
        raise UsageError(f"--opset must be in {OPSETS.start}…{OPSETS.stop - 1}, was {opset}. The default is 17.")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted encoder.

    Attributes:
        graph: The ONNX model, with the inputs of `EncoderModel.interface` and its `outputs`.
        num_recurrent: Expected number of recurrent nodes.
        num_masked: How many of them skip masked steps.
        num_decoding: How many of them, the last ones, are of the decoder.
        masked_steps: Raw steps that the model's Masking layers skip, each float32 (features).
    """

    graph: Any
    num_recurrent: int
    num_masked: int
    masked_steps: tuple[NDArray[np.float32], ...]
    num_decoding: int = 0


def convert(model: EncoderModel, opset: int) -> Conversion:
    """Convert an encoder.

    Args:
        model: The encoder; not changed.
        opset: ONNX operator set, one of `OPSETS`.

    Raises:
        BundleError: A layer cannot be converted.
        UsageError: The opset is not supported.
    """
    check_opset(opset)
    signature = model.signature
    decoder = None if model.reconstruction is None else model.reconstruction.model
    with substituted(model.keras_model, model.source, decoder) as tracing:

        def encode(*tensors: Any) -> dict[str, Any]:
            inputs = dict(zip(model.interface, tensors, strict=True))
            tracing.start(inputs["lengths"], model.frame)
            if not model.handles_padding:
                values = inputs["values"]
                known = tf.logical_and(tracing.valid_steps(values), tf.logical_not(tf.math.is_nan(values)))
                inputs["values"] = tf.where(known, values, model.fill)
            return {name: tf.identity(tensor) for name, tensor in model.call(inputs).items()}

        with _collected_errors() as errors:
            try:
                proto, _ = tf2onnx.convert.from_function(
                    tf.function(encode, input_signature=signature, autograph=False),
                    input_signature=signature,
                    opset=opset,
                    custom_op_handlers={
                        "PyFunc": (_keep_opaque, []),
                        "SelectV2": (_as_where, []),
                        "Erfc": (_as_one_minus_erf, []),
                    },
                    extra_opset=[onnx.helper.make_opsetid(OPAQUE_DOMAIN, 1)],
                )
            except (BundleError, *_UNCONVERTED) as error:
                if tracing.error is not None:
                    raise tracing.error from None
                if isinstance(error, BundleError):
                    raise
                errors.append(f"{type(error).__name__}: {error}")
    if errors:
        raise BundleError(f"{model.source}: tf2onnx could not convert the model: {'; '.join(errors)}. {_REMEDY}")
    captured = [tensor.name for tensor in proto.graph.input if tensor.name not in model.interface]
    if captured:
        raise BundleError(
            f"{model.source}: {captured[0]!r} reads a tensor from outside the model. Pass the operation a numpy "
            "array, or make the tensor a weight of a layer."
        )
    refuse_fewer_steps(model)
    Lowering(proto, tracing.specs).run()
    simplify(proto)
    _name_dimensions(proto, model)
    return Conversion(proto, len(tracing.specs), tracing.num_masked, tuple(tracing.masked_steps), tracing.num_decoding)


def _keep_opaque(context: Any, node: Any, name: str, _: Any) -> None:
    """Convert an opaque op to a node of a custom domain, which `lower.py` replaces."""
    inputs, outputs, shapes, dtypes = node.input[:], node.output[:], node.output_shapes, node.output_dtypes
    spec = int(name.rsplit(OPAQUE_NAME, 1)[1])
    context.remove_node(name)
    context.make_node(
        OPAQUE_TYPE,
        inputs,
        outputs=outputs,
        name=name,
        domain=OPAQUE_DOMAIN,
        attr={"spec": spec},
        shapes=shapes,
        dtypes=dtypes,
    )


def _as_where(context: Any, node: Any, name: str, _: Any) -> None:
    """Convert SelectV2 to Where; tf2onnx's own rule multiplies by the mask, and NaN * 0 is NaN."""
    node.type = "Where"


def _as_one_minus_erf(context: Any, node: Any, name: str, _: Any) -> None:
    """Convert Erfc (used by gelu) to 1 - Erf, since ONNX has no Erfc; they differ by a rounding error of 1."""
    inputs, outputs, shapes, dtypes = node.input[:], node.output[:], node.output_shapes, node.output_dtypes
    context.remove_node(name)
    erf = context.make_node("Erf", inputs, name=f"{name}/erf", shapes=shapes, dtypes=dtypes)
    one = context.make_const(f"{name}/one", np.ones((), np.float32))
    context.make_node("Sub", [one.output[0], erf.output[0]], outputs=outputs, name=name, shapes=shapes, dtypes=dtypes)


def _name_dimensions(proto: Any, model: EncoderModel) -> None:
    shapes = {name: shape for name, (_, shape) in model.interface.items()}
    shapes |= {output.name: ("batch", *output.shape(0)[1:]) for output in model.outputs}
    for tensor in [*proto.graph.input, *proto.graph.output]:
        for dimension, size in zip(tensor.type.tensor_type.shape.dim, shapes[tensor.name], strict=True):
            if isinstance(size, int):
                dimension.dim_value = size
            else:
                dimension.dim_param = size


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _collected_errors() -> Iterator[list[str]]:
    """Collect the errors tf2onnx logs, off the terminal: it logs what it cannot convert and continues."""
    logger, collector = logging.getLogger("tf2onnx"), _Collector()
    propagate, level = logger.propagate, logger.level
    logger.addHandler(collector)
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
        logger.setLevel(level)
