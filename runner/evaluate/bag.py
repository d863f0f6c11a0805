"""The control for events with categories: what a sequence holds, in no order and at no time."""

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.schema.vocabulary import FIRST_ID
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.evaluate.controls import Standardisation, Vectors, moments, standardised

BAG = "bag of categories"
MOST_IDS = FIRST_ID + 1_000  # of a field; rarer ones count as one, or ten thousand shares would drown the SVM


class BagOfCategories:
    """Share of each category among the steps, mean and spread of each number, and the logarithm of the length.

    Times are left out, and so is the order: what an encoder of events knows beyond this, it read from them.
    """

    name = BAG
    absent: str | None = None

    def __init__(self, contract: ModelContract) -> None:
        """Count by the vocabularies of a model with categories, in units of the moments it was trained on."""
        self._sizes = [min(field.num_ids, MOST_IDS + 1) for field in contract.schema.categorical]
        self._numbers = [index for index, one in enumerate(contract.schema.features) if one.kind == "numeric"]
        self._scale = Standardisation(contract)

    def vectors(self, block: SequenceBlock) -> NDArray[np.floating]:
        """Return float64 (sequences, ids of all fields + 2 * numeric features + 1)."""
        numbers = self._scale(block.values)[:, self._numbers].astype(np.float64)
        means, spreads, _ = moments(numbers, block)
        shares = [_shares(block, index, size) for index, size in enumerate(self._sizes)]
        return np.concatenate([*shares, means, spreads, np.log(block.lengths)[:, None]], axis=1)

    def finish(self, train: NDArray[np.floating], test: NDArray[np.floating]) -> Vectors:
        """Return both standardised: shares, moments and lengths have units of their own."""
        return standardised(train, test)


def _shares(block: SequenceBlock, index: int, size: int) -> NDArray[np.float64]:
    """Return the share of each id of one field among the steps, float64 (sequences, size); the last holds the rest."""
    ids = np.minimum(block.categories[:, index].astype(np.int64), size - 1)
    rows = np.repeat(np.arange(block.num_sequences), block.lengths)
    counts = np.bincount(rows * size + ids, minlength=block.num_sequences * size)
    shares: NDArray[np.float64] = counts.reshape(block.num_sequences, size) / block.lengths[:, None]
    return shares
