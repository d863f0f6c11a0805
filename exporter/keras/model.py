"""Load a Keras encoder, trained by seqembed or elsewhere, behind one interface."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError
from seqembed.data.outputs import EMBEDDING, RECONSTRUCTION_ERROR, ModelOutput
from seqembed.exporter.keras.archive import read_config
from seqembed.exporter.keras.layers import refuse_unsupported
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.load import load_keras, refuse_other_precision
from seqembed.exporter.keras.reconstruction import Reconstruction

_CATEGORIES = "categories"


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """A loaded encoder.

    Attributes:
        keras_model: The model as Keras loaded it.
        source: Its file, for messages.
        num_features: Numbers per step; 0 if the model only takes categories.
        embedding_dim: Width of the output.
        values_input: Name of the input layer for (batch, time, features), or None.
        lengths_input: Name of the input layer for (batch), or None.
        categories_input: Name of the input layer for (batch, time, fields), or None.
        num_fields: Categories per step.
        frame: Consecutive steps that the recurrent layers read as one.
        fill: float32 (features), replaces missing values and padding for a model without a lengths input, which cannot
            distinguish them from data.
        reconstruction: Its decoder, for the output ``reconstruction_error``; None exports the encoder alone.
    """

    keras_model: Any
    source: str
    num_features: int
    embedding_dim: int
    values_input: str | None
    lengths_input: str | None = None
    categories_input: str | None = None
    num_fields: int = 0
    frame: int = 1
    fill: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    reconstruction: Reconstruction | None = None

    @property
    def handles_padding(self) -> bool:
        """Whether the model itself distinguishes steps from padding and values from missing ones."""
        return self.lengths_input is not None

    @property
    def interface(self) -> dict[str, tuple[str, tuple[int | str, ...]]]:
        """Type and shape of each input of the exported graph, by name, in order; named axes are dynamic."""
        inputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}
        if self.num_features:
            inputs["values"] = ("float32", ("batch", "time", self.num_features))
        if self.num_fields:
            inputs["categories"] = ("int32", ("batch", "time", self.num_fields))
        return {**inputs, "lengths": ("int32", ("batch",))}

    @property
    def signature(self) -> list[Any]:
        """`interface` as TensorFlow tensor specs."""
        return [
            tf.TensorSpec([None if isinstance(axis, str) else axis for axis in shape], kind, name=name)
            for name, (kind, shape) in self.interface.items()
        ]

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """Outputs of the exported graph, in order."""
        others = () if self.reconstruction is None else (ModelOutput(RECONSTRUCTION_ERROR),)
        return (ModelOutput(EMBEDDING, width=self.embedding_dim), *others)

    @property
    def weights(self) -> list[Any]:
        """The Keras variables of float32, those of the decoder included."""
        models = [self.keras_model, *([] if self.reconstruction is None else [self.reconstruction.model])]
        return [variable for model in models for variable in model.weights if variable.dtype == "float32"]

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Call the model in inference mode, on symbolic or eager tensors.

        Args:
            inputs: The inputs of `interface`; lengths are ignored by a model without a lengths input.

        Returns:
            A float32 tensor for each of `outputs`, by name.
        """
        outputs = {EMBEDDING: tf.identity(self.embed(inputs))}
        if self.reconstruction is not None:
            outputs[RECONSTRUCTION_ERROR] = self.reconstruction.error(inputs, outputs[EMBEDDING])
        return outputs

    def embed(self, inputs: Mapping[str, Any]) -> Any:
        """Call the encoder alone, as `call` does: float32 (batch, embedding_dim)."""
        own = {"values": self.values_input, "categories": self.categories_input, "lengths": self.lengths_input}
        kinds = {tensor.name: tensor.dtype for tensor in self.keras_model.inputs}
        own_inputs = {}
        for name, tensor in inputs.items():
            layer = own[name]
            if layer is not None:
                own_inputs[layer] = keras.ops.cast(tensor, kinds[layer])
        outputs = self.keras_model(_arrange(self.keras_model, own_inputs), training=False)
        (embedding,) = keras.tree.flatten(outputs)  # may be a dict or list with one tensor
        return embedding


def _arrange(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Return `tensors`, keyed by input layer, in the nested structure of the model's inputs."""
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    return keras.tree.map_structure(lambda tensor: tensors[tensor.name], model.input)


def load_encoder(path: Path, frame: int = 1) -> EncoderModel:
    """Load an encoder from a ``.keras`` file.

    Args:
        path: The file.
        frame: Consecutive steps that its recurrent layers read as one, from the contract of its training.

    Raises:
        BundleError: The file is missing or damaged, has an unsupported layer, or the model's inputs and outputs are
            not those of an encoder.
    """
    refuse_unsupported(read_config(path), str(path), frame)
    return as_encoder(load_keras(path), str(path), frame)


def as_encoder(model: Any, source: str, frame: int = 1) -> EncoderModel:
    """Return a Keras model behind the interface of an encoder.

    Args:
        model: The Keras model.
        source: Its file, for messages.
        frame: Consecutive steps that its recurrent layers read as one.

    Raises:
        BundleError: The model's inputs and outputs are not those of an encoder.
    """
    outputs = list(model.outputs)
    values, categories, lengths = _inputs(model, source)
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
        raise BundleError(
            f"{source}: the model returns {_shapes(outputs)}; an encoder returns one (batch, embedding_dim) tensor. "
            "Export the encoder alone, without its decoder."
        )
    refuse_other_precision(model, source)
    return EncoderModel(
        keras_model=model,
        source=source,
        num_features=0 if values is None else values.shape[2],
        embedding_dim=outputs[0].shape[1],
        values_input=None if values is None else values.name,
        lengths_input=None if lengths is None else lengths.name,
        categories_input=None if categories is None else categories.name,
        num_fields=0 if categories is None else categories.shape[2],
        frame=frame,
    )


def _inputs(model: Any, source: str) -> tuple[Any, Any, Any]:
    """Return the symbolic values, categories and lengths inputs of a model, each None if there is none.

    Raises:
        BundleError: The inputs are not those of an encoder.
    """
    steps = [tensor for tensor in model.inputs if len(tensor.shape) == 3]
    categories = [tensor for tensor in steps if tensor.name == _CATEGORIES and "int" in tensor.dtype]
    values = [tensor for tensor in steps if all(tensor is not other for other in categories)]
    lengths = [tensor for tensor in model.inputs if len(tensor.shape) == 1]
    if not steps or max(len(values), len(lengths)) > 1 or len(steps) + len(lengths) != len(model.inputs):
        raise BundleError(
            f"{source}: the model takes {_shapes(model.inputs)}; an encoder takes one (batch, time, features) tensor, "
            f"at most one of integers named {_CATEGORIES!r}, (batch, time, fields), and at most one of lengths, "
            "(batch)."
        )
    for tensor in steps:
        _, time, width = tensor.shape
        if time is not None or width is None:
            raise BundleError(
                f"{source}: the model takes {_shapes([tensor])}; the number of steps must be None and that of features "
                "fixed. Rebuild the model on keras.Input((None, features)) and set its weights."
            )
    return next(iter(values), None), next(iter(categories), None), next(iter(lengths), None)


def _shapes(tensors: list[Any]) -> str:
    return ", ".join(f"{tensor.name} {tuple(tensor.shape)}" for tensor in tensors) or "nothing"
