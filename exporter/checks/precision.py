"""The gate of an int8 bundle: its vectors agree with the fp32 ones, on real rows, in batches as a run makes them.

Two questions are asked of rows that the runner would put into the same batches. Do the vectors point where they did
(mean cosine, DESIGN §4)? Does each row still find the same neighbour, which is what embeddings are used for? The first
alone would pass vectors that share a large mean, whose cosine is 1 whatever else is lost; Euclidean distance does not
see a common mean. The second alone would pass vectors that are all turned or stretched. Two more are asked of int8
alone: how much a vector depends on who shares its batch, and on an outlier that does. Where a model does not bound what
its LSTM layers read, one such row takes all 256 levels, and the vectors beside it are lost without a word.
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
from seqembed.exporter.checks.fidelity import Fidelity, compare_outputs, cosines, worst_of
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.golden import distance_of_vectors, expected_outputs, padded, usual_length
from seqembed.runner.engines.pipeline import batches_of_window

MIN_COSINE = 0.999
MIN_NEIGHBOUR_AGREEMENT = 0.95
MIN_ROWS = 20  # among fewer, one of five nearest is no achievement
_MAX_STEPS_ALONE = 10_000
_OUTLIER = 100.0  # standard deviations
# A processor that rounds otherwise now and then does less to a vector than neighbours do, who change every scale. How
# much these do is seen on a few batches only, hence the margin.
_GOLDEN_MARGIN = 3.0
_GOLDEN_BATCHES, _GOLDEN_BATCH_SIZE = 4, 16
_LEAST_GOLDEN_TOLERANCE = 1e-4


def measure_quantisation(
    fp32: Encoder, int8: Encoder, real: SequenceBlock, golden: tuple[GoldenSequence, ...], *, source: str
) -> Quantisation:
    """Hold an int8 encoder against the fp32 one it was made of.

    Args:
        fp32: The reference, itself compared with Keras before.
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
    reference, found = run_as_at_night(fp32, real), run_as_at_night(int8, real)
    fidelity = worst_of([compare_outputs(found[name], wanted) for name, wanted in reference.items()])
    rows = _some_rows(real)
    alone = _worst_cosines(_run_alone(int8, real, rows), {name: array[rows] for name, array in found.items()})
    beside = _cosine_beside_outlier(int8, real.take(rows[: int8.contract.batch_size]))
    _refuse_unfaithful(fidelity, float(alone.mean()), beside, real.num_sequences, source)
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


def _refuse_unfaithful(fidelity: Fidelity, alone: float, beside_outlier: float, num_rows: int, source: str) -> None:
    least_cosine = min(fidelity.mean_cosine, alone, beside_outlier)
    if least_cosine >= MIN_COSINE and fidelity.neighbour_agreement >= MIN_NEIGHBOUR_AGREEMENT:
        return
    raise QualityGateError(
        f"{source}: the int8 encoder does not give the fp32 encoder's vectors, on {num_rows} rows of the data: mean "
        f"cosine {fidelity.mean_cosine:.4f} (at least {MIN_COSINE}), nearest neighbour kept for "
        f"{fidelity.neighbour_agreement:.1%} of them (at least {MIN_NEIGHBOUR_AGREEMENT:.0%}); mean cosine of a vector "
        f"in a batch with itself alone {alone:.4f} and with itself beside a row that lies {_OUTLIER:.0f} standard "
        f"deviations off {beside_outlier:.4f} (at least {MIN_COSINE} each). Nothing was written. Export with "
        "--precision fp32. One scale holds for all numbers an LSTM layer reads: if features differ much in magnitude "
        "or have no bounds, standardise and clip them inside the model, as `seqembed train` does."
    )


def run_as_at_night(encoder: Encoder, block: SequenceBlock) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of an encoder, in order, by the batches that `seqembed run` makes of one window.

    Args:
        encoder: The exported encoder.
        block: Sequences of at least one step.

    Returns:
        By name float32 (sequences, width) or (sequences).
    """
    batches = batches_of_window(block, encoder.contract.batch_size)
    every = map(batches.batch, range(batches.num_batches))
    found = _joined([encoder.run(batch.values, batch.lengths, batch.categories) for batch in every])
    in_order = {name: batches.in_block_order(array.reshape(len(array), -1)) for name, array in found.items()}
    return {name: array.reshape(found[name].shape) for name, array in in_order.items()}


def embed_as_at_night(encoder: Encoder, block: SequenceBlock) -> NDArray[np.float32]:
    """Return the embeddings of `run_as_at_night`, float32 (sequences, embedding_dim)."""
    return run_as_at_night(encoder, block)[EMBEDDING]


def _joined(pieces: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _worst_cosines(
    found: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return `seqembed.exporter.checks.fidelity.cosines` of the output whose mean is the least."""
    every = [cosines(found[name], array) for name, array in wanted.items()]
    return min(every, key=lambda values: float(values.mean()))


def _some_rows(block: SequenceBlock) -> NDArray[np.int64]:
    """Return rows spread evenly over the block, as many as a budget of steps allows, at least two."""
    affordable = max(2, _MAX_STEPS_ALONE * block.num_sequences // max(1, int(block.lengths.sum())))
    return np.unique(np.linspace(0, block.num_sequences - 1, min(affordable, block.num_sequences)).astype(np.int64))


def _run_alone(encoder: Encoder, block: SequenceBlock, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    batches = [pad(block, rows[row : row + 1]) for row in range(len(rows))]
    return _joined([encoder.run(one.values, one.lengths, one.categories) for one in batches])


def _cosine_beside_outlier(encoder: Encoder, block: SequenceBlock) -> float:
    """Return the mean cosine of vectors of one batch with what they are once its last row is far from the data."""
    batch, profile = pad(block, np.arange(block.num_sequences)), encoder.contract.training.profile
    calm = encoder.run(batch.values, batch.lengths, batch.categories)
    batch.values[-1] = np.array(profile.mean) + _OUTLIER * np.array(profile.std)
    beside = encoder.run(batch.values, batch.lengths, batch.categories)
    others = [{name: array[:-1] for name, array in outputs.items()} for outputs in (beside, calm)]
    return float(_worst_cosines(*others).mean())


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
    expected = expected_outputs(golden)
    values, lengths, categories = padded(golden, int8.contract.schema)
    steps = np.arange(values.shape[1]) < lengths[:, None]
    block = as_block(values[steps], lengths.astype(np.int64), categories[steps])
    farthest = _farthest(int8.run_golden(golden), expected)
    for start in range(0, len(rows), _GOLDEN_BATCH_SIZE)[:_GOLDEN_BATCHES]:
        mixed = join([block, real.take(rows[start : start + _GOLDEN_BATCH_SIZE])])
        batch = pad(mixed, np.arange(mixed.num_sequences))
        farthest = max(farthest, _farthest(int8.run(batch.values, batch.lengths, batch.categories), expected))
    return min(MAX_GOLDEN_TOLERANCE, max(_LEAST_GOLDEN_TOLERANCE, _GOLDEN_MARGIN * farthest))


def _farthest(found: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
    """Return how far the first sequences of `found` are off, in any output, as a share of its usual length."""
    distances = [
        distance_of_vectors(found[name][: len(wanted)], wanted, usual_length(wanted)).max()
        for name, wanted in expected.items()
    ]
    return float(np.max(distances))
