"""Compare vectors with reference vectors of the same rows: by cosine and by nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

# Rounding may swap rows that are almost equally near, so the nearest row need only be among the reference's five
# nearest, out of hundreds.
NUM_NEIGHBOURS = 5
_TIE = 1e-6  # relative: distances that differ by less, as by rounding, are equal


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Agreement of vectors with reference vectors of the same rows.

    Attributes:
        mean_cosine, min_cosine: Over the rows.
        mean_centred_cosine: Mean over the rows after subtracting the reference's mean from both.
        neighbour_agreement: Share of rows whose nearest other row is among the five nearest by the reference.
    """

    mean_cosine: float
    min_cosine: float
    mean_centred_cosine: float
    neighbour_agreement: float


def compare_vectors(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> Fidelity:
    """Compare two embeddings, float32 (rows, embedding_dim), of the same rows, at least two of them."""
    centre = reference.mean(axis=0, dtype=np.float64)
    cosines = cosine_of_rows(vectors, reference)
    return Fidelity(
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        mean_centred_cosine=float(cosine_of_rows(vectors - centre, reference - centre).mean()),
        neighbour_agreement=neighbour_agreement(vectors, reference),
    )


def compare_outputs(found: NDArray[np.float32], reference: NDArray[np.float32]) -> Fidelity:
    """Compare an output of two models on the same rows, at least two.

    Args:
        found: float32 (rows, width), compared as vectors; or (rows), numbers, compared without neighbours.
        reference: The same output of the reference model.
    """
    if reference.ndim == 2:
        return compare_vectors(found, reference)
    centre = reference.mean(dtype=np.float64)
    cosine = float(cosines(found, reference)[0])
    return Fidelity(cosine, cosine, float(cosines(found - centre, reference - centre)[0]), 1.0)


def cosines(found: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of an output with the reference, float64 (rows), or (1) for an output of one number per row.

    The numbers of all rows are compared as one vector. Its cosine would not detect a common factor, so the value is
    1 - d²/2, with d the distance divided by the reference's norm: the cosine of unit vectors at distance d.
    """
    if reference.ndim == 2:
        return cosine_of_rows(found, reference)
    found, reference = found.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
    share = 0.0 if (found == reference).all() else share
    bounded: NDArray[np.float64] = np.clip(np.nan_to_num([1 - share * share / 2], nan=-1.0), -1.0, 1.0)
    return bounded


def minimum_of(every: Sequence[Fidelity]) -> Fidelity:
    """Return the minimum of each measure."""
    return Fidelity(*(min(getattr(one, field.name) for one in every) for field in fields(Fidelity)))


def cosine_of_rows(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the row-wise cosine, float64 (rows).

    It is 1 where both rows are 0, and -1 where one has NaN.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.sum(one * other, axis=1) / lengths
    cosines[(one == other).all(axis=1)] = 1.0  # includes rows of zeros
    bounded: NDArray[np.float64] = np.clip(np.nan_to_num(cosines, nan=-1.0), -1.0, 1.0)
    return bounded


def neighbour_agreement(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the share of rows whose nearest other row by `vectors` is among the five nearest by `reference`.

    By Euclidean distance. Rows as near as the fifth nearest count too, so that data with many equal rows do not lower
    the share. A vector with NaN never agrees.
    """
    rank = min(NUM_NEIGHBOURS, len(reference) - 1) - 1
    expected = _distances(reference)
    found = _distances(np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0))
    nearest = found.argmin(axis=1)
    reached = expected[np.arange(len(reference)), nearest]
    allowed = np.partition(expected, rank, axis=1)[:, rank]
    scale = np.linalg.norm(reference - reference.mean(axis=0), axis=1)
    agrees = (reached <= allowed + _TIE * np.maximum(allowed, scale)) & np.isfinite(vectors).all(axis=1)
    return float(agrees.mean())


def _distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Euclidean distances, float64 (rows, rows), with an infinite diagonal."""
    centred = (vectors - vectors.mean(axis=0, dtype=np.float64)).astype(np.float64)
    squares = (centred**2).sum(axis=1)
    distances: NDArray[np.float64] = np.sqrt(
        np.maximum(squares[:, None] + squares[None] - 2 * centred @ centred.T, 0.0)
    )
    np.fill_diagonal(distances, np.inf)
    return distances
