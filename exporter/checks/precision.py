"""Check that the vectors of an int8 bundle agree with fp32, on real rows, in the batches of a run.

Two measures compare rows in the batches the runner would form. The mean cosine (DESIGN §4) alone would accept vectors
with a large common mean, whose cosine is near 1 whatever is lost. Agreement of nearest neighbours, by Euclidean
distance, ignores a common mean, but alone would accept vectors that are all rotated or scaled. Two more measures are of
int8 alone: how much a vector depends on the other rows of its batch, and on an outlier among them. If a model does not
bound the inputs of its LSTM layers, one outlier uses all 256 levels, and the other vectors of the batch lose their
information.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import pad
from seqembed.data.contract import MAX_GOLDEN_TOLERANCE, GoldenSequence, Quantisation
from seqembed.data.errors import QualityGateError
from seqembed.data.outputs import EMBEDDING
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import as_block, join
from seqembed.exporter.checks.fidelity import Fidelity, compare_outputs, cosines, minimum_of
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.golden import distance_of_vectors, expected_outputs, padded, usual_norm
from seqembed.runner.engines.pipeline import batches_of_window

MIN_COSINE = 0.999
MIN_NEIGHBOUR_AGREEMENT = 0.95
MIN_ROWS = 20  # among fewer, being one of the five nearest means little
_MAX_STEPS_ALONE = 10_000
_OUTLIER = 100.0  # standard deviations
# Other rounding on another processor changes a vector less than other rows in its batch, which change every scale. The
# effect of those is measured on a few batches only, hence the margin.
_GOLDEN_MARGIN = 3.0
_GOLDEN_BATCHES, _GOLDEN_BATCH_SIZE = 4, 16
_MIN_GOLDEN_TOLERANCE = 1e-4


def measure_quantisation(
    fp32: Encoder, int8: Encoder, real: SequenceBlock, golden: tuple[GoldenSequence, ...], *, source: str
) -> Quantisation:
    """Compare an int8 encoder with the fp32 encoder it was quantised from.

    Args:
        fp32: The reference, already compared with Keras.
        int8: The quantised encoder.
        real: Training sequences, each of at least one step.
        golden: Golden sequences of `int8`, to set the tolerance for other hosts.
        source: The exported model, for messages.

    Raises:
        QualityGateError: There are too few rows, or the vectors differ too much.
    """
    if real.num_sequences < MIN_ROWS:
        raise QualityGateError(
            f"{source}: {real.num_sequences} rows of data are too few to measure the effect of --precision int8 on the "
            f"vectors; at least {MIN_ROWS} are needed. Nothing was written. Pass more data, or export with --precision "
            "fp32."
        )
    reference, found = run_in_job_batches(fp32, real), run_in_job_batches(int8, real)
    fidelity = minimum_of([compare_outputs(found[name], expected) for name, expected in reference.items()])
    rows = _evenly_spaced_rows(real)
    alone = _worst_cosines(_run_alone(int8, real, rows), {name: array[rows] for name, array in found.items()})
    beside = _cosine_beside_outlier(int8, real.take(rows[: int8.contract.batch_size]))
    _check_fidelity(fidelity, float(alone.mean()), beside, real.num_sequences, source)
    return Quantisation(
        mean_cosine=fidelity.mean_cosine,
        min_cosine=fidelity.min_cosine,
        mean_centred_cosine=fidelity.mean_centred_cosine,
        neighbour_agreement=fidelity.neighbour_agreement,
        mean_cosine_alone=float(alone.mean()),
        min_cosine_alone=float(alone.min()),
        mean_cosine_beside_outlier=beside,
        golden_tolerance=_golden_tolerance(int8, golden, real, rows),
        num_sequences=real.num_sequences,
    )


def _check_fidelity(fidelity: Fidelity, alone: float, beside_outlier: float, num_rows: int, source: str) -> None:
    least_cosine = min(fidelity.mean_cosine, alone, beside_outlier)
    if least_cosine >= MIN_COSINE and fidelity.neighbour_agreement >= MIN_NEIGHBOUR_AGREEMENT:
        return
    raise QualityGateError(
        f"{source}: the vectors of the int8 encoder differ from fp32, on {num_rows} rows of the data: mean cosine "
        f"{fidelity.mean_cosine:.4f} (at least {MIN_COSINE}), nearest neighbour kept for "
        f"{fidelity.neighbour_agreement:.1%} of them (at least {MIN_NEIGHBOUR_AGREEMENT:.0%}); mean cosine of a vector "
        f"in a batch with itself alone {alone:.4f} and with itself beside an outlier of {_OUTLIER:.0f} standard "
        f"deviations {beside_outlier:.4f} (at least {MIN_COSINE} each). Nothing was written. Export with "
        "--precision fp32. All inputs of an LSTM layer share one scale: if features differ much in magnitude or are "
        "unbounded, standardise and clip them inside the model, as `seqembed train` does."
    )


def run_in_job_batches(encoder: Encoder, block: SequenceBlock) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of an encoder, in input order, computed in the batches `seqembed run` forms of one window.

    Args:
        encoder: The exported encoder.
        block: Sequences of at least one step.

    Returns:
        Each output by name, float32 (sequences, width) or (sequences).
    """
    batches = batches_of_window(block, encoder.contract.batch_size)
    every = map(batches.batch, range(batches.num_batches))
    found = _joined([encoder.run(batch.values, batch.lengths, batch.categories) for batch in every])
    in_order = {name: batches.in_block_order(array.reshape(len(array), -1)) for name, array in found.items()}
    return {name: array.reshape(found[name].shape) for name, array in in_order.items()}


def embed_in_job_batches(encoder: Encoder, block: SequenceBlock) -> NDArray[np.float32]:
    """Return the embeddings of `run_in_job_batches`, float32 (sequences, embedding_dim)."""
    return run_in_job_batches(encoder, block)[EMBEDDING]


def _joined(pieces: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _worst_cosines(
    found: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return `seqembed.exporter.checks.fidelity.cosines` of the output with the lowest mean."""
    every = [cosines(found[name], array) for name, array in expected.items()]
    return min(every, key=lambda values: float(values.mean()))


def _evenly_spaced_rows(block: SequenceBlock) -> NDArray[np.int64]:
    """Return the indices of at least two evenly spaced rows, as many as the limit of steps allows."""
    affordable = max(2, _MAX_STEPS_ALONE * block.num_sequences // max(1, int(block.lengths.sum())))
    return np.unique(np.linspace(0, block.num_sequences - 1, min(affordable, block.num_sequences)).astype(np.int64))


def _run_alone(encoder: Encoder, block: SequenceBlock, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    batches = [pad(block, rows[row : row + 1]) for row in range(len(rows))]
    return _joined([encoder.run(one.values, one.lengths, one.categories) for one in batches])


def _cosine_beside_outlier(encoder: Encoder, block: SequenceBlock) -> float:
    """Return the mean cosine of the vectors of a batch before and after its last row becomes an outlier."""
    batch, profile = pad(block, np.arange(block.num_sequences)), encoder.contract.training.profile
    before = encoder.run(batch.values, batch.lengths, batch.categories)
    batch.values[-1] = np.array(profile.mean) + _OUTLIER * np.array(profile.std)
    beside = encoder.run(batch.values, batch.lengths, batch.categories)
    others = [{name: array[:-1] for name, array in outputs.items()} for outputs in (beside, before)]
    return float(_worst_cosines(*others).mean())


def _golden_tolerance(
    int8: Encoder, golden: tuple[GoldenSequence, ...], real: SequenceBlock, rows: NDArray[np.int64]
) -> float:
    """Return the tolerance for the golden vectors on other hosts: a multiple of the effect of other rows in the batch.

    Args:
        int8: The encoder that computed the golden vectors.
        golden: The sequences, each embedded alone by `int8`.
        real: Training sequences.
        rows: Indices of those that share a batch with the golden ones.
    """
    expected = expected_outputs(golden)
    values, lengths, categories = padded(golden, int8.contract.schema)
    steps = np.arange(values.shape[1]) < lengths[:, None]
    block = as_block(values[steps], lengths.astype(np.int64), categories[steps])
    farthest = _max_distance(int8.run_golden(golden), expected)
    for start in range(0, len(rows), _GOLDEN_BATCH_SIZE)[:_GOLDEN_BATCHES]:
        mixed = join([block, real.take(rows[start : start + _GOLDEN_BATCH_SIZE])])
        batch = pad(mixed, np.arange(mixed.num_sequences))
        farthest = max(farthest, _max_distance(int8.run(batch.values, batch.lengths, batch.categories), expected))
    return min(MAX_GOLDEN_TOLERANCE, max(_MIN_GOLDEN_TOLERANCE, _GOLDEN_MARGIN * farthest))


def _max_distance(found: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the maximum distance of the first sequences of `found` over all outputs, relative to the usual norm."""
    distances = [
        distance_of_vectors(found[name][: len(array)], array, usual_norm(array)).max()
        for name, array in expected.items()
    ]
    return float(np.max(distances))
