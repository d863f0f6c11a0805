"""Compute and verify the digest over contract and graph of a bundle, so that an edited file is refused.

Golden sequences detect a changed weight, but not swapped features or a raised tolerance in the contract. The digest
detects both. It protects against accidents and well-meant edits, not against someone who recomputes it.

It is the hexadecimal sha256 of

* the contract as JSON without the field ``digest``: sorted keys, no spaces, non-ASCII characters escaped;
* then each graph and each operator set of the ModelProto: the field number as one byte, the length of the serialized
  field as eight bytes, little-endian, and the field.
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
        contract: JSON of `ModelContract.to_json`; an existing digest is replaced.
        model: Serialized ModelProto; its metadata is not included.
    """
    value = json.loads(contract)
    value.pop(DIGEST, None)
    return json.dumps({**value, DIGEST: _digest(value, model)}, indent=1, allow_nan=False)


def sealed(model: Any, contract: str) -> bytes:
    """Return the bytes of a bundle: an ONNX model with a contract and its digest in the metadata.

    Args:
        model: ONNX ModelProto; its metadata entry for the contract is set.
        contract: JSON; an existing digest is replaced.
    """
    other = {entry.key: entry.value for entry in model.metadata_props if entry.key != CONTRACT_KEY}
    del model.metadata_props[:]
    for key, value in {**other, CONTRACT_KEY: seal(contract, model.SerializeToString())}.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def unseal(contract: str, model: bytes, source: str) -> dict[str, Any]:
    """Verify the digest of a bundle, and return the fields of its contract without it.

    Args:
        contract: JSON.
        model: Serialized ModelProto that passed `check_model`.
        source: Their file, for messages.

    Raises:
        BundleError: The text is not a contract, it has no digest, or contract or graph were changed.
    """
    value = load_contract(contract, source)
    digest = value.pop(DIGEST, None)
    if digest is None or value["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"{source}: the contract has format {value['format_version']} and {'no' if digest is None else 'a'} digest;"
            f" expected format {FORMAT_VERSION} with a digest, which verifies the contract and the graph. Export the "
            "model again."
        )
    found = _digest(value, model)
    if digest != found:
        raise BundleError(
            f"{source}: the contract or the graph was changed after the export: their digest is {found[:16]}…, "
            f"expected {str(digest)[:16]}…. Copy the file again, or export the model again; to change the contract, "
            "train or export with other options."
        )
    return value


def _digest(contract: Mapping[str, Any], model: bytes) -> str:
    plain = json.dumps(contract, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    found = hashlib.sha256(plain.encode("ascii"))
    sealed_fields = [(number, message(value)) for number, value in fields(memoryview(model)) if number in _SEALED]
    for number, content in sorted(sealed_fields, key=lambda each: each[0]):
        found.update(bytes([number]) + len(content).to_bytes(8, "little"))
        found.update(content)
    return found.hexdigest()
