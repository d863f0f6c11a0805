"""Compute the controls of selected sequences, in one more pass over both splits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.errors import ChangedInputError
from seqembed.data.files.fingerprints import fingerprint
from seqembed.data.parquet.reader import read_blocks
from seqembed.runner.evaluate.controls import Control, Vectors
from seqembed.runner.evaluate.split import Split

Pieces = list[list[NDArray[np.floating]]]  # one list per control


def gather(
    controls: Sequence[Control], contract: ModelContract, splits: Sequence[Split], rows: Sequence[NDArray[np.int64]]
) -> list[Vectors]:
    """Return the vectors of each control for selected rows of the training and the test split.

    Args:
        controls: The controls; one that becomes `absent` returns empty vectors.
        contract: Contract of the model, with the schema and the length policy for reading.
        splits: Training and test.
        rows: For each split int64 (n), ascending indices among all its rows; each has steps.

    Raises:
        ChangedInputError: A file was changed after it was embedded.
    """
    train, test = (_pieces(controls, contract, split, chosen) for split, chosen in zip(splits, rows, strict=True))
    gathered: list[Vectors] = []
    for index, control in enumerate(controls):
        if control.absent is not None:
            gathered.append((np.zeros((0, 0)), np.zeros((0, 0))))
            continue
        gathered.append(control.finish(np.concatenate(train[index]), np.concatenate(test[index])))
    return gathered


def _pieces(controls: Sequence[Control], contract: ModelContract, split: Split, rows: NDArray[np.int64]) -> Pieces:
    found: Pieces = [[] for _ in controls]
    start = 0
    for _, part, counts in split.parts:
        stop = start
        for block in read_blocks(part.file, contract.schema, contract.length_policy):
            first, stop = stop, stop + block.num_sequences
            here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, stop)] - first
            if len(here):
                chosen = block.take(here)
                for control, pieces in zip(controls, found, strict=True):
                    pieces.append(control.vectors(chosen))
        if stop - start != counts.rows_in or fingerprint(part.file) != part.fingerprint:
            raise ChangedInputError(
                f"{part.file.name}: the file changed during the evaluation. Run again once it is complete."
            )
        start = stop
    return found
