"""The anomaly score of a run: the reconstruction error of each sequence, and how few known sequences exceed it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.outputs import RECONSTRUCTION_ERROR, ModelOutput, outputs_without_decoder
from seqembed.data.scores import SCORE, SCORE_QUANTILE, ErrorProfile


def outputs_of_run(contract: ModelContract, *, score: bool) -> tuple[ModelOutput, ...]:
    """Return the outputs that a run computes: without scores not the reconstruction error, which needs the decoder."""
    return contract.outputs if score else outputs_without_decoder(contract.outputs)


def column_names(outputs: Sequence[ModelOutput], *, score: bool) -> list[str]:
    """Return the names of the columns for `outputs`, in order; a reconstruction error becomes two as a `score`."""
    named = [[SCORE, SCORE_QUANTILE] if score and o.name == RECONSTRUCTION_ERROR else [o.name] for o in outputs]
    return [name for names in named for name in names]


def is_unknown(errors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which sequences had no known value to compare, bool (sequences), from errors float32 (sequences)."""
    return errors < 0


def score_columns(
    errors: NDArray[np.float32], missing: NDArray[np.bool_], profile: ErrorProfile
) -> tuple[pa.Array, pa.Array]:
    """Return the columns of the score and of its quantile.

    Args:
        errors: float32 (sequences).
        missing: bool (sequences), those without a score.
        profile: Errors of known sequences.
    """
    return pa.array(errors, mask=missing), pa.array(profile.share_below(errors), mask=missing)


def profile_of(contract: ModelContract, source: str) -> ErrorProfile:
    """Return the errors of known sequences, by which a score is ranked.

    Args:
        contract: Contract of the model.
        source: Its file, for messages.

    Raises:
        BundleError: The model has no decoder.
    """
    if contract.has_decoder and contract.errors is not None:
        return contract.errors
    raise BundleError(
        f"{source}: the model has no output '{RECONSTRUCTION_ERROR}', from which --score is computed. Export its run "
        f"again with the decoder: seqembed export RUN_DIR --out {source} --with-decoder"
    )
