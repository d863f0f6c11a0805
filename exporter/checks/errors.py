"""Which reconstruction errors are usual, by which a run ranks its own."""

from dataclasses import replace

from seqembed.data.contract import ModelContract
from seqembed.data.errors import QualityGateError
from seqembed.data.outputs import RECONSTRUCTION_ERROR
from seqembed.data.scores import ErrorProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.precision import run_in_job_batches
from seqembed.runner.bundle.encoder import Encoder


def with_errors(
    contract: ModelContract, encoder: Encoder, held_out: SequenceBlock | None, real: SequenceBlock, source: str
) -> ModelContract:
    """Return a contract with the quantiles of the errors of held-out sequences, if the model has a decoder.

    Args:
        contract: Without them.
        encoder: The exported encoder.
        held_out: Sequences that were held out of the training; None where there are none.
        real: Training sequences, measured instead then.
        source: The exported model, for messages.

    Raises:
        QualityGateError: No sequence has a known value.
    """
    if not contract.has_decoder:
        return contract
    errors = run_in_job_batches(encoder, real if held_out is None else held_out)[RECONSTRUCTION_ERROR]
    known = errors[errors >= 0]
    if not len(known):
        raise QualityGateError(
            f"{source}: every value of the {len(errors)} sequences that reconstruction errors are measured on is "
            "missing, so none has an error. Nothing was written. Train on more data, or export without --with-decoder."
        )
    return replace(contract, errors=ErrorProfile.of(known, held_out=held_out is not None))
