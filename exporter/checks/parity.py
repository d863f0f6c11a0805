"""Check that ONNX Runtime and Keras agree for all lengths, batch sizes and paddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import pad
from seqembed.data.contract import MAX_TOLERANCE, Parity
from seqembed.data.errors import QualityGateError
from seqembed.data.outputs import EMBEDDING
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import draw_sequences, join, spread_lengths, with_masked_steps
from seqembed.exporter.checks.reference import KerasReference
from seqembed.exporter.keras.model import EncoderModel
from seqembed.runner.bundle.encoder import Encoder

_MAX_SEQUENCES = 300  # of each kind, real and random
_STEPS_BEYOND = (1, 8, 64)  # beyond the longest training row, since a run may contain longer ones
_MIN_COMPARED = 0.5  # share of the real sequences
_MAX_MASKED = 40  # of both kinds together; each is used five times
_MAX_STEPS = 25_000  # of each kind; with four ways of batching 2e5 steps for ONNX Runtime


@dataclass(frozen=True, slots=True)
class Batching:
    """How sequences are batched and padded for ONNX Runtime.

    Attributes:
        batch_size: Sequences per batch.
        extra_steps: Steps of padding beyond the longest sequence.
        garbage: Padding of the values.
        garbage_id: Padding of the categories.
    """

    batch_size: int
    extra_steps: int
    garbage: float
    garbage_id: int


BATCHINGS = (
    Batching(1, 0, 0.0, 0),
    Batching(3, 2, 1e6, -1),
    Batching(32, 7, np.nan, np.iinfo(np.int32).max),
    Batching(32, 1, np.inf, np.iinfo(np.int32).min),
)


def measure_parity(
    reference: KerasReference,
    encoder: Encoder,
    real: SequenceBlock,
    profile: SequenceProfile,
    *,
    tolerance: float,
    seed: int,
    masked_steps: Sequence[NDArray[np.float32]] = (),
) -> Parity:
    """Compare ONNX Runtime with Keras on real and random sequences.

    Args:
        reference: The Keras encoder.
        encoder: The exported encoder, run as in a job.
        real: Training sequences, each of at least one step. The embeddings of all must agree; other outputs, and those
            of random sequences, where float32 arithmetic determines them to a tenth of the tolerance.
        profile: Statistics to draw random sequences from.
        tolerance: Maximum of |Keras - ONNX Runtime| / max(1, |Keras|).
        seed: Seed of the random sequences and of the order in batches.
        masked_steps: The raw steps that Masking layers of the model skip; some sequences of either kind are compared
            again with such steps in them.

    Raises:
        QualityGateError: They differ by more than `tolerance`, or an embedding is not finite; the message names the
            worst case.
    """
    random, model = np.random.default_rng(seed), reference.model
    real = _affordable(real, random, _MAX_SEQUENCES, _MAX_STEPS)
    longest = max(1, int(real.lengths.max(initial=0)), profile.max_length)
    drawn = _draw(profile, longest, encoder.contract.schema.vocabularies, random)
    masked = [_with_masked_steps(join([real, drawn]), masked_steps, random)] if masked_steps else []
    block = join([real, drawn, *masked])
    expected = reference.run(block)
    for output, array in expected.items():
        _refuse_not_finite(output, array[: real.num_sequences], model.source)
    noise = reference.rounding_noise(block, random, expected)
    determined = _determined(noise, real.num_sequences, tolerance, model.source)
    comparable = np.flatnonzero(np.logical_or.reduce(list(determined.values())))
    worst, worst_absolute, alone = _Worst(), 0.0, 0.0
    for batching in BATCHINGS:
        found = _run(encoder, block, comparable, batching, random)
        for output, array in expected.items():
            rows = np.flatnonzero(determined[output])
            absolute = np.abs(found[output][rows] - array[rows])
            worst_absolute = max(worst_absolute, float(np.nan_to_num(absolute, nan=np.inf).max(initial=0)))
            worst = worst.updated_with(block, rows, batching, output, array[rows], found[output][rows])
        alone = worst.difference if batching is BATCHINGS[0] else alone
    if not worst.difference <= tolerance:
        kind = _kind(worst.row, real.num_sequences, drawn.num_sequences)
        raise QualityGateError(
            f"{model.source}: ONNX Runtime and Keras differ by {worst.difference:.2e} in "
            f"{worst.output}[{worst.dimension}] (Keras {worst.expected:.8g}, ONNX Runtime {worst.found:.8g}) for "
            f"{kind} of {worst.length} steps in a batch of {worst.batching.batch_size}, padded with "
            f"{worst.batching.garbage:g}; allowed {tolerance:.0e}. Nothing was written. "
            f"{_remedy(model, worst.difference, alone, float(noise[worst.output][worst.row]), tolerance)}"
        )
    return Parity(
        max_abs_difference=worst_absolute,
        max_difference=worst.difference,
        tolerance=tolerance,
        num_sequences=len(comparable),
        num_real=real.num_sequences,
    )


def _determined(
    noise: Mapping[str, NDArray[np.float32]], num_real: int, tolerance: float, source: str
) -> dict[str, NDArray[np.bool_]]:
    """Return for each output which sequences are compared, bool (sequences).

    The decoder of a projected embedding undoes a tanh, which amplifies the last bit of an embedding at its ends: of a
    hybrid model one error in a hundred changes by more than a tenth of the tolerance when weights do by a bit.

    Raises:
        QualityGateError: Too few real sequences could be compared.
    """
    determined = {name: changes <= tolerance / 10 for name, changes in noise.items()}
    determined[EMBEDDING][:num_real] = True  # real rows must always be within the tolerance
    for name, compared in determined.items():
        if num_real and compared[:num_real].mean() < _MIN_COMPARED:
            raise QualityGateError(
                f"{source}: {name} changes by more than {tolerance / 10:.0e} when the last bits of the model's weights "
                f"change, in {1 - compared[:num_real].mean():.0%} of the rows of the data: the model amplifies "
                "rounding, as relu cells can. Nothing was written. Train it with tanh or a smaller learning rate, "
                "allow more with --tolerance, or export without --with-decoder."
            )
    return determined


def _kind(row: int, num_real: int, num_drawn: int) -> str:
    if row < num_real:
        return "a row of the data"
    return "a random sequence" if row < num_real + num_drawn else "a sequence with masked steps"


def _remedy(model: EncoderModel, difference: float, alone: float, noise: float, tolerance: float) -> str:
    if not noise <= tolerance / 10:
        return (
            f"Keras's own output changes by {noise:.0e} when the last bits of its weights change: the model amplifies "
            "rounding, as relu cells can. Train it with tanh or a smaller learning rate"
            f"{', or allow it with --tolerance' if difference < MAX_TOLERANCE else ''}."
        )
    if difference < MAX_TOLERANCE:
        return "If this is accurate enough for you, allow it with --tolerance."
    if alone <= tolerance:
        return "Alone it is equal: an operation over the time axis reads beyond the end of a sequence."
    return "They differ even without padding: this is a bug of the conversion. Report it with the model's layers."


@dataclass(frozen=True, slots=True)
class _Worst:
    """The largest difference so far and its position; NaN counts as infinite."""

    difference: float = 0.0
    row: int = 0
    length: int = 0
    output: str = EMBEDDING
    dimension: int = 0
    expected: float = 0.0
    found: float = 0.0
    batching: Batching = BATCHINGS[0]

    def updated_with(
        self,
        block: SequenceBlock,
        rows: NDArray[np.int64],
        batching: Batching,
        output: str,
        expected: NDArray[np.float32],
        found: NDArray[np.float32],
    ) -> "_Worst":
        if not len(rows):
            return self
        expected, found = expected.reshape(len(rows), -1), found.reshape(len(rows), -1)
        relative = np.nan_to_num(np.abs(found - expected) / np.maximum(1.0, np.abs(expected)), nan=np.inf)
        index, dimension = np.unravel_index(int(relative.argmax()), relative.shape)
        difference = float(relative[index, dimension])
        if difference <= self.difference:
            return self
        return _Worst(
            difference=difference,
            row=int(rows[index]),
            length=int(block.lengths[rows[index]]),
            output=output,
            dimension=int(dimension),
            expected=float(expected[index, dimension]),
            found=float(found[index, dimension]),
            batching=batching,
        )


def _affordable(block: SequenceBlock, random: np.random.Generator, max_sequences: int, max_steps: int) -> SequenceBlock:
    """Return the shortest, the longest and as many other sequences as the limits of sequences and steps allow."""
    if not block.num_sequences:
        return block
    order = random.permutation(block.num_sequences)
    extremes = np.array([block.lengths.argmin(), block.lengths.argmax()])
    order = np.concatenate([np.unique(extremes), order[~np.isin(order, extremes)]])[:max_sequences]
    affordable = np.searchsorted(np.cumsum(block.lengths[order]), max_steps, side="right")
    return block.take(order[: max(2, int(affordable))])


def _draw(
    profile: SequenceProfile, max_length: int, vocabularies: Sequence[Vocabulary], random: np.random.Generator
) -> SequenceBlock:
    """Draw sequences of all or many lengths, and longer ones; a quarter has missing values, a tenth is extreme."""
    lengths = spread_lengths(max_length)
    times = int(min(_MAX_SEQUENCES // len(lengths), max(1, _MAX_STEPS // lengths.sum())))
    lengths = np.tile(lengths, times)
    if lengths.sum() > _MAX_STEPS:  # fewer of very long sequences, but always the longest
        lengths = spread_lengths(max_length, num_lengths=8)
    lengths = np.concatenate([lengths, max_length + np.array(_STEPS_BEYOND)])
    missing, extreme = random.random(len(lengths)) < 0.25, random.random(len(lengths)) < 0.1
    return draw_sequences(profile, lengths, random, missing=missing, extreme=extreme, vocabularies=vocabularies)


def _with_masked_steps(
    block: SequenceBlock, masked_steps: Sequence[NDArray[np.float32]], random: np.random.Generator
) -> SequenceBlock:
    """Return some sequences of `block`, of all lengths, with masked steps in them."""
    return with_masked_steps(_affordable(block, random, _MAX_MASKED, _MAX_STEPS // 5), masked_steps, random)


def _refuse_not_finite(output: str, expected: NDArray[np.float32], source: str) -> None:
    num_finite = int(np.isfinite(expected).reshape(len(expected), -1).all(axis=1).sum())
    if num_finite < len(expected):
        raise QualityGateError(
            f"{source}: Keras returns NaN or infinite {output}s for {len(expected) - num_finite} of {len(expected)} "
            "rows of the data. Nothing was written. Train again with a smaller learning rate or tanh instead of relu; "
            "a model that takes lengths must impute missing values itself, and a row whose steps are all masked has no "
            "mean."
        )


def _run(
    encoder: Encoder,
    block: SequenceBlock,
    rows: NDArray[np.int64],
    batching: Batching,
    random: np.random.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of an encoder for `rows` of a block, batched in random order.

    Returns:
        Each output by name: float32 (sequences of the block, width) or (sequences of the block); NaN in other rows.
    """
    arrays = {
        output.name: np.full(output.shape(block.num_sequences), np.nan, np.float32)
        for output in encoder.contract.outputs
    }
    order = random.permutation(rows)
    for start in range(0, len(order), batching.batch_size):
        chosen = order[start : start + batching.batch_size]
        time = int(block.lengths[chosen].max()) + batching.extra_steps
        batch = pad(block, chosen, time)
        padding = np.arange(time) >= batch.lengths[:, None]  # (batch, time)
        batch.values[padding] = batching.garbage
        batch.categories[padding] = batching.garbage_id
        for name, found in encoder.run(batch.values, batch.lengths, batch.categories).items():
            arrays[name][batch.rows] = found
    return arrays
