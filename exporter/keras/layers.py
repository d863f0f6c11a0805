"""Which Keras layers can be exported, decided from a saved model's configuration before anything is loaded.

A layer belongs here when what it makes of a sequence does not depend on the padding behind it, or can be given the
lengths. Loading first would fail on custom layers with a message about registration instead of one about export.
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
MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
SUPPORTED = ("InputLayer", "Masking", *RECURRENT, *POOLING, *INACTIVE, *STEPWISE, *MERGING)
_CONTAINERS = ("Functional", "Sequential")


def refuse_unsupported(config: Mapping[str, Any], source: str, frame: int = 1) -> None:
    """Check every layer of a model's configuration, nested models included.

    Args:
        config: What `read_config` returned.
        source: Where it came from, for the message.
        frame: Steps that recurrent layers read as one; where they do, the last frame is filled up with zeros.

    Raises:
        BundleError: A layer is not of the supported kinds; the message names it and lists those that are.
    """
    try:
        _refuse_unsupported(config, source, frame)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise BundleError(
            f"{source}: the configuration in this model file is malformed ({type(error).__name__}: {error}). Save the "
            "model again with model.save('name.keras')."
        ) from error


def _refuse_unsupported(config: Mapping[str, Any], source: str, frame: int) -> None:
    if config.get("class_name") not in _CONTAINERS:
        raise BundleError(
            f"{source}: the model is of class {config.get('class_name')!r}; only Sequential and functional models say "
            "what they are made of. Rebuild it as one of these."
        )
    for layer in _flat_layers(config):
        kind = layer.get("class_name")
        if kind == "ZeroPadding1D" and frame > 1 and _pads_the_end(layer):
            continue
        if layer.get("registered_name") in (None, kind) and kind in SUPPORTED:
            continue
        if str(layer.get("module", "")).startswith("keras.src.ops."):
            continue
        raise BundleError(
            f"{source}: layer {_name(layer)!r} is of class {kind}, which cannot be exported. Supported layers: "
            f"{', '.join(sorted(SUPPORTED))}, and plain keras.ops. Rebuild the encoder from these"
            + ("; one of `seqembed train` is exported by its run directory." if kind == "ZeroPadding1D" else ".")
        )


def _pads_the_end(layer: Mapping[str, Any]) -> bool:
    """Whether a ZeroPadding1D puts nothing before the first step, so that each step stays where it is."""
    padding = layer["config"]["padding"]
    return isinstance(padding, Sequence) and len(padding) == 2 and padding[0] == 0


def _flat_layers(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for layer in config["config"]["layers"]:
        if layer.get("class_name") in _CONTAINERS:
            yield from _flat_layers(layer)
        else:
            yield layer


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer.get("config", {}).get("name"))
