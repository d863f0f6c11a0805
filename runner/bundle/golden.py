"""Golden sequences as a batch, and how far what a host makes of them is from what the exporter saw.

An fp32 encoder is held to each number of each vector. An int8 one cannot be: its vectors move with their neighbours in
the batch, and where another processor rounds the last bit of a number the other way, that number may become the next
of 256 levels. Whole vectors are compared there, whose distances are steady where single numbers are not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import GoldenSequence
from seqembed.data.schema.schema import SequenceSchema

_LEAST_LENGTH = 1e-30


def padded(
    golden: Sequence[GoldenSequence], schema: SequenceSchema
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return golden sequences as one batch: values, lengths and categories, as `Encoder.embed` takes them."""
    lengths = np.array([len(sequence.values) for sequence in golden], dtype=np.int32)
    time = int(lengths.max())
    values = np.zeros((len(golden), time, schema.num_features), dtype=np.float32)
    categories = np.zeros((len(golden), time, schema.num_fields), dtype=np.int32)
    for index, sequence in enumerate(golden):
        values[index, : lengths[index]] = sequence.values
        if sequence.categories is not None:
            categories[index, : lengths[index]] = sequence.categories
    return values, lengths, categories


def expected_outputs(golden: Sequence[GoldenSequence]) -> dict[str, NDArray[np.float32]]:
    """Return what the exporter saw, by output: float32 (sequences, width), or (sequences) for single numbers."""
    return {name: np.stack([sequence.outputs[name] for sequence in golden]) for name in golden[0].outputs}


def difference_of_numbers(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the worst number of each vector is off, over max(1, |expected|).

    Args:
        found: float32 (sequences, width), or (sequences).
        expected: The same.

    Returns:
        float64 (sequences); NaN where `found` is no number.
    """
    wanted = expected.astype(np.float64)
    difference: NDArray[np.float64] = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    worst: NDArray[np.float64] = difference.reshape(len(difference), -1).max(axis=1)
    return worst


def distance_of_vectors(
    found: NDArray[np.float32], expected: NDArray[np.float32], length: float
) -> NDArray[np.float64]:
    """Return how far each vector is from the one expected, as a share of `length`.

    Args:
        found: float32 (sequences, width), or (sequences).
        expected: The same.
        length: As by `usual_length`.

    Returns:
        float64 (sequences); NaN where `found` is no number.
    """
    distances: NDArray[np.float64] = _lengths(found.astype(np.float64) - expected)
    return distances / length


def usual_length(expected: NDArray[np.float32]) -> float:
    """Return the root mean square length of golden vectors; their lengths differ less than their numbers.

    Args:
        expected: float32 (sequences, width), or (sequences).
    """
    return max(float(np.sqrt(np.mean(_lengths(expected.astype(np.float64)) ** 2))), _LEAST_LENGTH)


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)
    return lengths
