"""How far vectors are from reference vectors of the same rows: by direction, and by who is nearest to whom."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

# Where two rows are almost equally near, rounding may swap them, so a row's nearest need not be the reference's own: it
# must be one of five, out of hundreds.
NUM_NEIGHBOURS = 5
_TIE = 1e-6  # of the distance: rows that are equal, but for rounding, are equally near


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far vectors are from reference vectors of the same rows.

    Attributes:
        mean_cosine, min_cosine: Over the rows.
        mean_centred_cosine: Mean over the rows after the reference's mean is taken from both.
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
    """Compare an output of two models on the same rows, at least two of them.

    Args:
        found: float32 (rows, width), compared as vectors; or (rows), single numbers, which have no neighbours.
        reference: The same of the reference.
    """
    if reference.ndim == 2:
        return compare_vectors(found, reference)
    centre = reference.mean(dtype=np.float64)
    cosine = float(cosines(found, reference)[0])
    return Fidelity(cosine, cosine, float(cosines(found - centre, reference - centre)[0]), 1.0)


def cosines(found: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how far an output points where the reference does, float64 (rows), or (1) for single numbers.

    Single numbers make one vector over the rows. Its cosine would not see that all are too large, so it is the cosine
    that vectors of one length have at their distance: 1 - d²/2, where d is the distance over the reference's length.
    """
    if reference.ndim == 2:
        return cosine_of_rows(found, reference)
    found, reference = found.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
    share = 0.0 if (found == reference).all() else share
    bounded: NDArray[np.float64] = np.clip(np.nan_to_num([1 - share * share / 2], nan=-1.0), -1.0, 1.0)
    return bounded


def worst_of(every: Sequence[Fidelity]) -> Fidelity:
    """Return the least of each figure."""
    return Fidelity(*(min(getattr(one, field.name) for one in every) for field in fields(Fidelity)))


def cosine_of_rows(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each row with its counterpart, float64 (rows).

    It is 1 where both are 0, and -1 where one is no number.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.sum(one * other, axis=1) / lengths
    cosines[(one == other).all(axis=1)] = 1.0  # rows of zeros included
    bounded: NDArray[np.float64] = np.clip(np.nan_to_num(cosines, nan=-1.0), -1.0, 1.0)
    return bounded


def neighbour_agreement(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the share of rows whose nearest other row by `vectors` is as near by `reference` as its fifth nearest.

    By Euclidean distance. Rows that are equally near by the reference count alike, so that data with many equal rows
    are not taken for a loss. A vector that is no number agrees with nothing.
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
    """Return Euclidean distances, float64 (rows, rows), infinite from a row to itself."""
    centred = (vectors - vectors.mean(axis=0, dtype=np.float64)).astype(np.float64)
    squares = (centred**2).sum(axis=1)
    distances: NDArray[np.float64] = np.sqrt(
        np.maximum(squares[:, None] + squares[None] - 2 * centred @ centred.T, 0.0)
    )
    np.fill_diagonal(distances, np.inf)
    return distances
