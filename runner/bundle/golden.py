"""Compare the vectors of golden sequences on this host with those of the exporter.

For fp32 every number of each vector is compared. Numbers of int8 vectors are not stable: they depend on the other
sequences of the batch, and where another processor rounds the last bit differently, a number may become the next of
256 levels. There the distance of complete vectors is compared, which is stable.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import GoldenSequence
from seqembed.data.schema.schema import SequenceSchema

_MIN_NORM = 1e-30


def padded(
    golden: Sequence[GoldenSequence], schema: SequenceSchema
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return golden sequences as one padded batch: values, lengths and categories, the arguments of `Encoder.embed`."""
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
    """Return the exporter's results by output: float32 (sequences, width), or (sequences) for single numbers."""
    return {name: np.stack([sequence.outputs[name] for sequence in golden]) for name in golden[0].outputs}


def difference_of_numbers(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the maximum difference of the numbers of each vector, over max(1, |expected|).

    Args:
        found: float32 (sequences, width), or (sequences).
        expected: The same shape.

    Returns:
            float64 (sequences); NaN where `found` has NaN.
    """
    wanted = expected.astype(np.float64)
    difference: NDArray[np.float64] = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    worst: NDArray[np.float64] = difference.reshape(len(difference), -1).max(axis=1)
    return worst


def distance_of_vectors(
    found: NDArray[np.float32], expected: NDArray[np.float32], length: float
) -> NDArray[np.float64]:
    """Return the distance of each vector from the expected one, divided by `length`.

    Args:
        found: float32 (sequences, width), or (sequences).
        expected: The same.
        length: Result of `usual_norm`.

    Returns:
        float64 (sequences); NaN where `found` is no number.
    """
    distances: NDArray[np.float64] = _lengths(found.astype(np.float64) - expected)
    return distances / length


def usual_norm(expected: NDArray[np.float32]) -> float:
    """Return the root mean square norm of golden vectors; norms vary less than single numbers.

    Args:
        expected: float32 (sequences, width), or (sequences).
    """
    return max(float(np.sqrt(np.mean(_lengths(expected.astype(np.float64)) ** 2))), _MIN_NORM)


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)
    return lengths
