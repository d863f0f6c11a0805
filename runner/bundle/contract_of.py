"""Read the contract of a bundle without loading the model: a run with nothing to make needs nothing else of it."""

from seqembed.data.contract import ModelContract
from seqembed.data.files.secrets import without_secrets
from seqembed.runner.bundle.contract_check import check_contract
from seqembed.runner.bundle.onnx_check import CheckedModel, check_model
from seqembed.runner.bundle.seal import unseal


def contract_of(model: bytes, source: str) -> ModelContract:
    """Return the contract of a bundle, whose digest was verified.

    Args:
        model: The bytes of the bundle.
        source: Their file, for messages.

    Raises:
        BundleError: See `read_contract`.
    """
    return read_contract(model, source)[0]


def read_contract(model: bytes, source: str) -> tuple[ModelContract, CheckedModel]:
    """Return the contract of a bundle, as `contract_of`, and what the check of its file found.

    Raises:
        BundleError: The bytes are not an ONNX model, the model is not allowed, or it has no seqembed contract.
    """
    source = without_secrets(source)
    checked = check_model(model, source)
    contract = ModelContract.from_value(unseal(checked.contract, model, source), source)
    check_contract(contract, source)
    return contract, checked
