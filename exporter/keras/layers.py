"""Check from a saved model's configuration, before Keras loads it, that every layer can be exported.

A layer is supported if its result does not depend on the padding after a sequence, or if it can use the lengths.
Loading first would fail on custom layers with a message about registration instead of one about export.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seqembed.data.errors import BundleError

RECURRENT = ("LSTM", "GRU", "Bidirectional")
POOLING = ("GlobalAveragePooling1D", "GlobalMaxPooling1D")
INACTIVE = ("Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity")
STEPWISE = (
    "Activation",
    "BatchNormalization",
    "Dense",
    "ELU",
    "Embedding",
    "LayerNormalization",
    "LeakyReLU",
    "Normalization",
    "ReLU",
    "Rescaling",
)
DECODING = ("Reshape",)  # more layers of decoders: they need not return as many steps as they read
MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
SUPPORTED = ("InputLayer", "Masking", *RECURRENT, *POOLING, *INACTIVE, *STEPWISE, *MERGING)
_CONTAINERS = ("Functional", "Sequential")


def refuse_unsupported(config: Mapping[str, Any], source: str, frame: int = 1, more: Sequence[str] = ()) -> None:
    """Check every layer of a model's configuration, nested models included.

    Args:
        config: The configuration, as returned by `read_config`.
        source: File of the model, for messages.
        frame: Steps that recurrent layers read as one; if more than 1, the last frame is padded with zeros.
        more: Further classes of layers that are supported.

    Raises:
        BundleError: A layer is not supported; the message names it and lists the supported ones.
    """
    try:
        _refuse_unsupported(config, source, frame, more)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise BundleError(
            f"{source}: the configuration in this model file is malformed ({type(error).__name__}: {error}). Save the "
            "model again with model.save('name.keras')."
        ) from error


def _refuse_unsupported(config: Mapping[str, Any], source: str, frame: int, more: Sequence[str]) -> None:
    if config.get("class_name") not in _CONTAINERS:
        raise BundleError(
            f"{source}: the model is of class {config.get('class_name')!r}; only Sequential and functional models "
            "list their layers. Rebuild it as one of these."
        )
    for layer in _flat_layers(config):
        kind = layer.get("class_name")
        if kind == "ZeroPadding1D" and frame > 1 and _pads_the_end(layer):
            continue
        if kind == "Conv1D" and _has_fixed_kernels(layer):
            continue
        if layer.get("registered_name") in (None, kind) and kind in (*SUPPORTED, *more):
            continue
        if str(layer.get("module", "")).startswith("keras.src.ops."):
            continue
        raise BundleError(
            f"{source}: layer {_name(layer)!r} is of class {kind}, which cannot be exported. Supported layers: "
            f"{', '.join(sorted(SUPPORTED))}, and plain keras.ops. Rebuild the encoder from these"
            + (
                "; to export an encoder of `seqembed train`, pass its run directory."
                if kind == "ZeroPadding1D"
                else "."
            )
        )


def _pads_the_end(layer: Mapping[str, Any]) -> bool:
    """Return whether a ZeroPadding1D pads only after the last step, so that the index of each step stays the same."""
    padding = layer["config"]["padding"]
    return isinstance(padding, Sequence) and len(padding) == 2 and padding[0] == 0


def _has_fixed_kernels(layer: Mapping[str, Any]) -> bool:
    """Return whether a Conv1D is not trained and returns as many steps as it reads, as the trainer's fixed kernels."""
    config = layer["config"]
    return config["trainable"] is False and config["padding"] == "same" and set(config["strides"]) == {1}


def _flat_layers(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for layer in config["config"]["layers"]:
        if layer.get("class_name") in _CONTAINERS:
            yield from _flat_layers(layer)
        else:
            yield layer


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer.get("config", {}).get("name"))
