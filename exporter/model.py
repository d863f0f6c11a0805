"""A Keras encoder, ours or someone else's, behind one way of calling it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BundleError
from exporter.layers import frame_of, read_config, refuse_unsupported
from exporter.libraries import keras


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """A loaded encoder.

    Attributes:
        keras_model: The model as Keras loaded it.
        source: Its file, for messages.
        num_features: Width of a step.
        embedding_dim: Width of the output.
        values_input: Name of the input layer that takes (batch, time, features).
        lengths_input: Name of the input layer that takes (batch), None where there is none.
        frame: Consecutive steps that the recurrent layers read as one.
        fill: float32 (features), put in the place of missing values and of padding before a model that takes no
            lengths, and so cannot tell them from data.
    """

    keras_model: Any
    source: str
    num_features: int
    embedding_dim: int
    values_input: str
    lengths_input: str | None = None
    frame: int = 1
    fill: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def handles_padding(self) -> bool:
        """Whether the model itself tells steps from padding and values from missing ones."""
        return self.lengths_input is not None

    def call(self, values: Any, lengths: Any) -> Any:
        """Call the model, symbolically or not, as at inference.

        Args:
            values: float32 (batch, time, features).
            lengths: int32 (batch); not used by a model that takes no lengths.

        Returns:
            float32 (batch, embedding_dim).
        """
        tensors = {self.values_input: keras.ops.convert_to_tensor(values)}
        if self.lengths_input is not None:
            lengths_type = next(i.dtype for i in self.keras_model.inputs if i.name == self.lengths_input)
            tensors[self.lengths_input] = keras.ops.cast(lengths, lengths_type)
        return self.keras_model(_arrange(self.keras_model, tensors), training=False)


def _arrange(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Return `tensors`, by the names of their input layers, in the structure the model was built with."""
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    layers = model.get_config()["input_layers"]
    if isinstance(layers, Mapping):
        return {key: tensors[layer[0]] for key, layer in layers.items()}
    return [tensors[layer[0]] for layer in layers]


def load_encoder(path: Path) -> EncoderModel:
    """Load an encoder from a ``.keras`` file.

    Raises:
        BundleError: The file is missing or damaged, holds an unsupported layer, or the model's inputs and outputs are
            not those of an encoder.
    """
    config = read_config(path)
    refuse_unsupported(config, str(path))
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        raise BundleError(f"{path}: Keras cannot load this model: {error}") from error
    values, lengths = _inputs(model, path)
    outputs = model.outputs
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
        raise BundleError(
            f"{path}: the model returns {_shapes(outputs)}; an encoder returns one (batch, embedding_dim) tensor. "
            "Export the encoder alone, without its decoder."
        )
    half = next((layer for layer in model.layers if getattr(layer, "compute_dtype", "float32") != "float32"), None)
    if half is not None:
        raise BundleError(
            f"{path}: layer {half.name!r} computes in {half.compute_dtype}; only float32 can be exported. Rebuild the "
            "model with dtype='float32' and set its weights."
        )
    return EncoderModel(
        keras_model=model,
        source=str(path),
        num_features=values.shape[2],
        embedding_dim=outputs[0].shape[1],
        values_input=values.name,
        lengths_input=None if lengths is None else lengths.name,
        frame=frame_of(config),
    )


def _inputs(model: Any, path: Path) -> tuple[Any, Any]:
    """Return the symbolic values and lengths inputs of a model, the latter None where there is none.

    Raises:
        BundleError: The inputs are not those of an encoder.
    """
    values = [tensor for tensor in model.inputs if len(tensor.shape) == 3]
    lengths = [tensor for tensor in model.inputs if len(tensor.shape) == 1]
    if len(values) != 1 or len(lengths) > 1 or len(values) + len(lengths) != len(model.inputs):
        raise BundleError(
            f"{path}: the model takes {_shapes(model.inputs)}; an encoder takes one (batch, time, features) tensor, "
            "and at most one of lengths, (batch)."
        )
    _, time, features = values[0].shape
    if time is not None or features is None:
        raise BundleError(
            f"{path}: the model takes {_shapes(values)}; the number of steps must be open and that of features fixed. "
            "Rebuild the model on keras.Input((None, features)) and set its weights."
        )
    return values[0], lengths[0] if lengths else None


def _shapes(tensors: list[Any]) -> str:
    return ", ".join(f"{tensor.name} {tuple(tensor.shape)}" for tensor in tensors) or "nothing"
