"""Golden sequences as a batch, and how far what a host makes of them is from what the exporter saw.

An fp32 encoder is held to each number of each vector. An int8 one cannot be: its vectors move with their neighbours in
the batch, and where another processor rounds the last bit of a number the other way, that number may become the next
of 256 levels. Whole vectors are compared there, whose distances are steady where single numbers are not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import GoldenSequence
from seqembed.data.schema import SequenceSchema

_LEAST_LENGTH = 1e-30


def padded(
    golden: Sequence[GoldenSequence], schema: SequenceSchema
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return golden sequences as one batch: values, lengths and categories, as `Encoder.embed` takes them."""
    lengths = np.array([len(sequence.values) for sequence in golden], dtype=np.int32)
    time = int(lengths.max())
    values = np.zeros((len(golden), time, schema.num_features), dtype=np.float32)
    categories = np.zeros((len(golden), time, schema.num_fields), dtype=np.int32)
    for place, sequence in enumerate(golden):
        values[place, : lengths[place]] = sequence.values
        if sequence.categories is not None:
            categories[place, : lengths[place]] = sequence.categories
    return values, lengths, categories


def difference_of_numbers(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the worst number of each vector is off, over max(1, |expected|).

    Args:
        found: float32 (sequences, embedding_dim).
        expected: float32 (sequences, embedding_dim).

    Returns:
        float64 (sequences); NaN where `found` is no number.
    """
    wanted = expected.astype(np.float64)
    difference: NDArray[np.float64] = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    worst: NDArray[np.float64] = difference.max(axis=1)
    return worst


def distance_of_vectors(
    found: NDArray[np.float32], expected: NDArray[np.float32], length: float
) -> NDArray[np.float64]:
    """Return how far each vector is from the one expected, as a share of `length`.

    Args:
        found: float32 (sequences, embedding_dim).
        expected: float32 (sequences, embedding_dim).
        length: As by `usual_length`.

    Returns:
        float64 (sequences); NaN where `found` is no number.
    """
    distances: NDArray[np.float64] = np.linalg.norm(found.astype(np.float64) - expected, axis=1)
    return distances / length


def usual_length(golden: Sequence[GoldenSequence]) -> float:
    """Return the root mean square length of the golden embeddings; their lengths differ less than their numbers."""
    squares = [float((sequence.embedding.astype(np.float64) ** 2).sum()) for sequence in golden]
    return max(float(np.sqrt(np.mean(squares))), _LEAST_LENGTH)
