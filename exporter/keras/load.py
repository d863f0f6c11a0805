"""Load a Keras model within bounded memory, and prepare it to be traced."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.runner.bundle.memory import memory_limited


def load_keras(path: Path) -> Any:
    """Return a Keras model from a file whose configuration was checked.

    Raises:
        BundleError: Keras cannot load it.
    """
    tf.zeros(()).numpy()  # starts TensorFlow's threads first, so that their stacks do not count towards the model
    # Enough for Keras itself and several times the weights: a small file cannot contain a layer of a billion units.
    allowed = (2 << 30) + (32 << 20) * (os.cpu_count() or 1) + 8 * path.stat().st_size
    try:
        with memory_limited(allowed):
            model = keras.models.load_model(path, compile=False)
            list(model.outputs)
    except Exception as error:  # Keras may raise anything for a malformed configuration
        raise BundleError(
            f"{path}: Keras cannot load this model ({type(error).__name__}: {_first_lines(error)}). If it was never "
            "called, build it on keras.Input((None, features)); then save it again with model.save('name.keras')."
        ) from error
    _constants_to_arrays(model)
    return model


def refuse_other_precision(model: Any, source: str) -> None:
    """Check that every layer of a model computes in float32.

    Raises:
        BundleError: One does not.
    """
    for layer in _flat_layers(model):
        if isinstance(layer, keras.Model):
            continue  # its layers are checked individually
        kinds = {getattr(layer, "compute_dtype", "float32"), getattr(layer, "variable_dtype", "float32")}
        kinds |= {getattr(tensor, "dtype", "float32") for tensor in keras.tree.flatten(getattr(layer, "output", None))}
        other = sorted(kind for kind in kinds if "float" in str(kind) and kind != "float32")
        if other:
            raise BundleError(
                f"{source}: layer {layer.name!r} computes in {other[0]}; only float32 can be exported. Rebuild the "
                "model after keras.config.set_dtype_policy('float32'), with inputs and casts of dtype 'float32', and "
                "cast its weights: new.set_weights([weight.astype('float32') for weight in old.get_weights()])."
            )


def _flat_layers(model: Any) -> Iterator[Any]:
    """Yield layers and operations, including those of nested models."""
    for operation in getattr(model, "operations", None) or model.layers:
        yield operation
        if isinstance(operation, keras.Model):
            yield from _flat_layers(operation)


def _constants_to_arrays(model: Any) -> None:
    """Convert eager tensors among the arguments of a functional model's operations to numpy arrays.

    A traced function captures eager tensors, which become required inputs of the ONNX graph; an array becomes a
    constant.
    """

    def as_array(value: Any) -> Any:
        return value.numpy() if isinstance(value, tf.Tensor) else value

    for operation in _flat_layers(model):
        for node in operation._inbound_nodes:
            arguments = node.arguments
            arguments.args = keras.tree.map_structure(as_array, arguments.args)
            arguments.kwargs = keras.tree.map_structure(as_array, arguments.kwargs)


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
