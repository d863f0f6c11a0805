"""The gate of an int8 bundle: its vectors still say what the fp32 ones say, on rows of the data, run as at night.

Two questions are asked of rows that the runner would put into the same batches. Do the vectors point where they did
(mean cosine, DESIGN §4)? Does each row still find the same neighbour, which is what embeddings are used for? The first
alone would pass vectors that share a large mean, whose cosine is 1 whatever else is lost; Euclidean distance does not
see a common mean. The second alone would pass vectors that are all turned or stretched. A third is asked of int8 alone:
how much a vector depends on who shares its batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.batching import pad, plan_batches
from data.contract import GoldenSequence, Quantisation
from data.errors import QualityGateError
from data.sequences import SequenceBlock
from exporter.draws import as_block, join
from runner.encoder import Encoder
from runner.golden import distance_of_vectors, padded, usual_length
from runner.options import BATCH_SIZE, FULL_BATCH_STEPS, MAX_BATCH_STEPS, MOST_BATCH_SIZES

MIN_COSINE = 0.999
# Where two rows are almost equally near, rounding may swap them, so the nearest by int8 need not be the nearest by
# fp32: it must be one of five, out of hundreds.
MIN_NEIGHBOUR_AGREEMENT = 0.95
NUM_NEIGHBOURS = 5
MIN_ROWS = 20  # among fewer, one of five nearest is no achievement
_MAX_STEPS_ALONE = 10_000
_TIE = 1e-6  # of the distance: rows that are equal, but for rounding, are equally near
# A processor that rounds otherwise now and then does less to a vector than neighbours do, who change every scale. How
# much these do is seen on a few batches only, hence the margin.
_GOLDEN_MARGIN = 3.0
_GOLDEN_BATCHES, _GOLDEN_BATCH_SIZE = 4, 16
_LEAST_GOLDEN_TOLERANCE = 1e-4


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


def measure_quantisation(
    fp32: Encoder, int8: Encoder, real: SequenceBlock, golden: tuple[GoldenSequence, ...], *, source: str
) -> Quantisation:
    """Hold an int8 encoder against the fp32 one it was made of.

    Args:
        fp32: The reference, itself held against Keras before.
        int8: The encoder in question.
        real: Training sequences, each of at least one step.
        golden: Golden sequences of `int8`, to find out how far another host may be from them.
        source: Where the model came from, for messages.

    Raises:
        QualityGateError: There are too few rows to tell, or the vectors are not what they were.
    """
    if real.num_sequences < MIN_ROWS:
        raise QualityGateError(
            f"{source}: {real.num_sequences} rows of the data are too few to tell what --precision int8 does to the "
            f"vectors; at least {MIN_ROWS} are needed. Nothing was written. Give more data, or export with --precision "
            "fp32."
        )
    reference, vectors = embed_as_at_night(fp32, real), embed_as_at_night(int8, real)
    fidelity = compare_vectors(vectors, reference)
    rows = _some_rows(real)
    alone = cosine_of_rows(_embed_alone(int8, real, rows), vectors[rows])
    _refuse_unfaithful(fidelity, float(alone.mean()), real.num_sequences, source)
    return Quantisation(
        mean_cosine=fidelity.mean_cosine,
        min_cosine=fidelity.min_cosine,
        mean_centred_cosine=fidelity.mean_centred_cosine,
        neighbour_agreement=fidelity.neighbour_agreement,
        mean_cosine_alone=float(alone.mean()),
        min_cosine_alone=float(alone.min()),
        golden_tolerance=_golden_tolerance(int8, golden, real, rows),
        num_sequences=real.num_sequences,
    )


def _refuse_unfaithful(fidelity: Fidelity, mean_cosine_alone: float, num_rows: int, source: str) -> None:
    faithful = fidelity.mean_cosine >= MIN_COSINE and fidelity.neighbour_agreement >= MIN_NEIGHBOUR_AGREEMENT
    if faithful and mean_cosine_alone >= MIN_COSINE:
        return
    raise QualityGateError(
        f"{source}: the int8 encoder does not give the fp32 encoder's vectors, on {num_rows} rows of the data: mean "
        f"cosine {fidelity.mean_cosine:.4f} (at least {MIN_COSINE}), nearest neighbour kept for "
        f"{fidelity.neighbour_agreement:.1%} of them (at least {MIN_NEIGHBOUR_AGREEMENT:.0%}), mean cosine of a vector "
        f"alone with itself in a batch {mean_cosine_alone:.4f} (at least {MIN_COSINE}). Nothing was written. Export "
        "with --precision fp32. One scale holds for all numbers an LSTM layer reads: if features differ much in "
        "magnitude, standardise them inside the model, as `seqembed train` does."
    )


def embed_as_at_night(encoder: Encoder, block: SequenceBlock) -> NDArray[np.float32]:
    """Return float32 (sequences, embedding_dim), in order, by the batches that `seqembed run` makes of one window.

    Args:
        encoder: The exported encoder.
        block: Sequences of at least one step.
    """
    vectors = np.empty((block.num_sequences, encoder.contract.embedding_dim), np.float32)
    batches = plan_batches(
        block.lengths, BATCH_SIZE, MAX_BATCH_STEPS, multiple=MOST_BATCH_SIZES, full_steps=FULL_BATCH_STEPS
    )
    for rows in batches:
        batch = pad(block, rows)
        vectors[rows] = encoder.embed(batch.values, batch.lengths, batch.categories)
    return vectors


def _some_rows(block: SequenceBlock) -> NDArray[np.int64]:
    """Return rows spread evenly over the block, as many as a budget of steps allows, at least one."""
    affordable = max(1, _MAX_STEPS_ALONE * block.num_sequences // max(1, int(block.lengths.sum())))
    return np.unique(np.linspace(0, block.num_sequences - 1, min(affordable, block.num_sequences)).astype(np.int64))


def _embed_alone(encoder: Encoder, block: SequenceBlock, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    batches = [pad(block, rows[place : place + 1]) for place in range(len(rows))]
    return np.concatenate([encoder.embed(one.values, one.lengths, one.categories) for one in batches])


def _golden_tolerance(
    int8: Encoder, golden: tuple[GoldenSequence, ...], real: SequenceBlock, rows: NDArray[np.int64]
) -> float:
    """Return how far a host may be from the golden vectors: some times as far as neighbours move them here.

    Args:
        int8: What made the golden vectors.
        golden: The sequences, each embedded alone by `int8`.
        real: Training sequences.
        rows: Which of them are put beside the golden ones.
    """
    expected, length = np.stack([one.embedding for one in golden]), usual_length(golden)
    values, lengths, categories = padded(golden, int8.contract.schema)
    steps = np.arange(values.shape[1]) < lengths[:, None]
    block = as_block(values[steps], lengths.astype(np.int64), categories[steps])
    farthest = float(distance_of_vectors(int8.embed_golden(golden), expected, length).max())
    for start in range(0, len(rows), _GOLDEN_BATCH_SIZE)[:_GOLDEN_BATCHES]:
        mixed = join([block, real.take(rows[start : start + _GOLDEN_BATCH_SIZE])])
        batch = pad(mixed, np.arange(mixed.num_sequences))
        found = int8.embed(batch.values, batch.lengths, batch.categories)[: len(golden)]
        farthest = max(farthest, float(distance_of_vectors(found, expected, length).max()))
    return min(1.0, max(_LEAST_GOLDEN_TOLERANCE, _GOLDEN_MARGIN * farthest))
