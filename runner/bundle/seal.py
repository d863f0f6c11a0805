"""The seal of a bundle: a digest over its contract and its graph, so that an edited file is refused before it is used.

Golden sequences notice a changed weight, and nothing of a contract in which two features are swapped or a tolerance is
raised. The digest notices both. It protects against accidents and well-meant edits, not against someone who computes it
anew.

It is a sha256, in hexadecimal digits, over

* the contract as JSON without the field ``digest``: keys sorted, no spaces, everything beyond ASCII escaped;
* then, of the ModelProto, each graph and behind them each operator set: the field number as one byte, the length of the
  serialized field as eight bytes, little-endian, and the field.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from seqembed.data.contract import CONTRACT_KEY, FORMAT_VERSION, load_contract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.protobuf import fields, message

DIGEST = "digest"
_SEALED = (7, 8)  # graphs and operator sets, by their field numbers in onnx.proto


def seal(contract: str, model: bytes) -> str:
    """Return a contract with the digest over itself and a model.

    Args:
        contract: JSON, as by `ModelContract.to_json`; a digest that it has is replaced.
        model: Serialized ModelProto; its metadata does not count.
    """
    value = json.loads(contract)
    value.pop(DIGEST, None)
    return json.dumps({**value, DIGEST: _digest(value, model)}, indent=1, allow_nan=False)


def sealed(model: Any, contract: str) -> bytes:
    """Return the bytes of a bundle: an ONNX model that carries a contract under a fresh seal.

    Args:
        model: ONNX ModelProto; its metadata entry for the contract is set.
        contract: JSON; a digest that it has is replaced.
    """
    other = {entry.key: entry.value for entry in model.metadata_props if entry.key != CONTRACT_KEY}
    del model.metadata_props[:]
    for key, value in {**other, CONTRACT_KEY: seal(contract, model.SerializeToString())}.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def unseal(contract: str, model: bytes, source: str) -> dict[str, Any]:
    """Return the fields of a bundle's contract, without the digest, once that is what it should be.

    Args:
        contract: JSON.
        model: Serialized ModelProto that passed `check_model`.
        source: Where they came from, for messages.

    Raises:
        BundleError: The text is no contract, or there is no digest, or the contract or the graph was changed.
    """
    value = load_contract(contract, source)
    digest = value.pop(DIGEST, None)
    if digest is None or value["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"{source}: the contract has format {value['format_version']} and {'no' if digest is None else 'a'} digest;"
            f" expected format {FORMAT_VERSION} with one, which shows that neither the contract nor the graph was "
            "changed. Export the model again."
        )
    found = _digest(value, model)
    if digest != found:
        raise BundleError(
            f"{source}: the contract or the graph was changed after the export: they have the digest {found[:16]}…, "
            f"and the contract says {str(digest)[:16]}…. Copy the file again, or export the model again; what a "
            "contract says is changed by training or exporting with other options."
        )
    return value


def _digest(contract: Mapping[str, Any], model: bytes) -> str:
    plain = json.dumps(contract, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    found = hashlib.sha256(plain.encode("ascii"))
    parts = [(number, message(value)) for number, value in fields(memoryview(model)) if number in _SEALED]
    for number, part in sorted(parts, key=lambda each: each[0]):
        found.update(bytes([number]) + len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
