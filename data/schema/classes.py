"""The classes that a decoder predicts for a categorical field: one per frequent id, and one for all rarer ids."""

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.schema import CategoricalField
from seqembed.data.schema.vocabulary import FIRST_ID, UNKNOWN_ID, Vocabulary

# A decoder of ten thousand classes would cost a hundred times the encoder; the rarest classes say little.
MAX_CLASSES = 1_000
_MIN_ENTROPY = 0.05  # nats: the error of a field that hardly changes is not scaled up


def num_classes(field: CategoricalField) -> int:
    """Return the number of output classes for `field`: ids up to a limit, and one class for rarer values."""
    return min(field.num_ids, FIRST_ID + MAX_CLASSES + 1)


def frequencies(field: CategoricalField) -> NDArray[np.float64]:
    """Return the count of each class in the training data, float64 (classes), without missing steps; sums to 1 or more.

    Raises:
        ValueError: The vocabulary is not learned yet.
    """
    vocabulary = field.vocabulary
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"the vocabulary of {field.name!r} is not learned yet")
    counts = np.zeros(field.num_ids)
    counts[UNKNOWN_ID] = vocabulary.num_unknown
    counts[FIRST_ID:] = vocabulary.counts
    last = num_classes(field) - 1
    cut = np.append(counts[:last], counts[last:].sum())
    if not cut.sum():
        cut[UNKNOWN_ID] = 1.0
    return cut


def entropy(field: CategoricalField) -> float:
    """Return the entropy of the class frequencies in nats: the loss of always predicting the frequencies."""
    shares = frequencies(field)
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


def unit_of_surprise(field: CategoricalField) -> float:
    """Return the cross-entropy in nats that counts as an error of 1: `entropy`, but at least a twentieth of a nat."""
    return max(entropy(field), _MIN_ENTROPY)
