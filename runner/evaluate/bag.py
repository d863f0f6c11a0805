"""Control for events with categories: a bag of categories, without order and time."""

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.schema.vocabulary import FIRST_ID
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.evaluate.controls import Standardisation, Vectors, moments, standardised

BAG = "bag of categories"
MAX_IDS = FIRST_ID + 1_000  # per field; rarer ids share one column, since ten thousand shares would dominate the SVM


class BagOfCategories:
    """Share of each category among the steps, mean and deviation of each number, and the logarithm of the length.

    Times and order are left out, so an encoder that does better uses them.
    """

    name = BAG
    absent: str | None = None

    def __init__(self, contract: ModelContract) -> None:
        """Use the vocabularies of the model, and standardise numbers by the moments of its training data."""
        self._sizes = [min(field.num_ids, MAX_IDS + 1) for field in contract.schema.categorical]
        self._numbers = [index for index, one in enumerate(contract.schema.features) if one.kind == "numeric"]
        self._scale = Standardisation(contract)

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float64 (sequences, ids of all fields + 2 * numeric features + 1)."""
        numbers = self._scale(block.values)[:, self._numbers].astype(np.float64)
        means, spreads, _ = moments(numbers, block)
        shares = [_shares(block, index, size) for index, size in enumerate(self._sizes)]
        return np.concatenate([*shares, means, spreads, np.log(block.lengths)[:, None]], axis=1)

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both standardised, since shares, moments and lengths have different units."""
        return standardised(train, test)


def _shares(block: SequenceBlock, index: int, size: int) -> NDArray[np.float64]:
    """Return the share of each id of one field among the steps, float64 (sequences, size); the last is the rest."""
    ids = np.minimum(block.categories[:, index].astype(np.int64), size - 1)
    rows = np.repeat(np.arange(block.num_sequences), block.lengths)
    counts = np.bincount(rows * size + ids, minlength=block.num_sequences * size)
    shares: NDArray[np.float64] = counts.reshape(block.num_sequences, size) / block.lengths[:, None]
    return shares
