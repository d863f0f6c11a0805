"""Put a contract into an ONNX model under a fresh seal. Needs no TensorFlow, as whoever redraws a bundle's weights."""

from typing import Any

import onnx

from seqembed.data.contract import CONTRACT_KEY
from seqembed.runner.seal import seal


def sealed(model: Any, contract: str) -> bytes:
    """Return the bytes of a bundle.

    Args:
        model: ONNX ModelProto; its metadata entry for the contract is set.
        contract: JSON; a digest that it has is replaced.
    """
    props = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**props, CONTRACT_KEY: seal(contract, model.SerializeToString())})
    return bytes(model.SerializeToString())
