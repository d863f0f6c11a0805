"""Masking: a real step that equals the mask value is skipped by the exported graph exactly as by Keras."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqembed.data.batching import pad
from seqembed.data.errors import BundleError, QualityGateError
from seqembed.data.outputs import ModelOutput
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block, with_masked_steps
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.model import EncoderModel
from seqembed.exporter.onnx.quantise import quantise
from seqembed.exporter.onnx.structure import check_structure
from seqembed.runner.bundle.encoder import Encoder

layers, ops = keras.layers, keras.ops


def stack(*model_layers: Any) -> Any:
    return keras.Sequential([keras.Input((None, 3)), *model_layers])


def functional(function: Callable[[Any], Any]) -> Any:
    values = keras.Input((None, 3))
    return keras.Model(values, function(values))


def steps(layer: Any = layers.LSTM, **options: Any) -> Any:
    return layer(4, return_sequences=True, **options)


def both(layer: Any, **options: Any) -> Any:
    return layers.Bidirectional(layer, **options)


def average(**options: Any) -> Any:
    return layers.GlobalAveragePooling1D(**options)


def largest() -> Any:
    return layers.GlobalMaxPooling1D()


def beside(*branches: Callable[[Any], Any]) -> Any:
    """Join the embeddings of several branches: none can hide a wrong number of another."""
    return functional(lambda values: layers.Concatenate()([branch(values) for branch in branches]))


def masked(*branches: Callable[[Any], Any]) -> Any:
    """Join the embeddings of several branches that read the same masked steps."""

    def join(values: Any) -> Any:
        steps_kept = layers.Masking()(values)
        return layers.Concatenate()([branch(steps_kept) for branch in branches])

    return functional(join)


def in_turn(*model_layers: Any) -> Callable[[Any], Any]:
    """Return a branch that calls one layer after the other."""

    def branch(values: Any) -> Any:
        for layer in model_layers:
            values = layer(values)
        return values

    return branch


def pooled(outputs: Any) -> Any:
    return layers.Concatenate()([average()(outputs), largest()(outputs)])


def with_states(first: Any, second: Any) -> Callable[[Any], Any]:
    """Use the final state of the first layer as the initial state of the second, both with the mask of the values."""

    def branch(values: Any) -> Any:
        kept = ops.any(ops.not_equal(values, 0.0), axis=-1)
        outputs, *states = first(layers.Masking()(values))
        return second(outputs, initial_state=states, mask=kept)

    return branch


def two_masks(values: Any) -> Any:
    """Add the outputs of two Masking layers: Add keeps a step that either of them keeps."""
    return layers.LSTM(4)(layers.Add()([layers.Masking(0.0)(values), layers.Masking(5.0)(values)]))


def custom_mask(values: Any) -> Any:
    return layers.GRU(4)(values, mask=ops.any(ops.not_equal(values, 0.0), axis=-1))


def directions_kept_apart(values: Any) -> Any:
    forward, backward = both(steps(layers.GRU), merge_mode=None)(layers.Masking()(values))
    return layers.Concatenate()([average()(forward), largest()(backward)])


# Each form is one conversion, which costs as much as several of its layers: layers stand beside each other in them.
FORMS = {
    "cells, both ways": lambda: masked(
        layers.GRU(4, reset_after=False),
        layers.LSTM(4, go_backwards=True),
        both(layers.LSTM(4)),
        both(layers.GRU(4), merge_mode="mul"),
    ),
    "stacked": lambda: stack(layers.Masking(), steps(), layers.Dropout(0.5), steps(layers.GRU), layers.LSTM(3)),
    "stacked both ways, and backwards into forwards": lambda: masked(
        in_turn(both(steps(layers.GRU)), both(layers.LSTM(3))),
        in_turn(steps(go_backwards=True), layers.GRU(4)),
    ),
    "outputs of every step, pooled": lambda: masked(
        in_turn(steps(), pooled),
        in_turn(both(steps()), pooled),
        in_turn(steps(go_backwards=True), largest()),
        in_turn(steps(zero_output_for_mask=True), largest()),
        in_turn(steps(), average(keepdims=True), largest()),
    ),
    "directions kept apart, and a model in a model": lambda: beside(
        directions_kept_apart, in_turn(stack(layers.Masking(), steps()), average())
    ),
    "states": lambda: beside(
        with_states(steps(return_state=True), layers.LSTM(4)),
        with_states(steps(layers.GRU, return_state=True), layers.GRU(4, go_backwards=True)),
    ),
    "other layers": lambda: masked(
        in_turn(layers.Dense(4), layers.LSTM(4)),
        in_turn(layers.Dense(4), average()),
        lambda kept: layers.LSTM(4)(kept * 2.0 + 1.0),  # forgets the mask
    ),
    "mask values": lambda: beside(
        in_turn(layers.Masking(-1.0), layers.LSTM(4)),
        in_turn(layers.Masking(np.array([1.0, 0.0, -3.5], np.float32)), layers.LSTM(4)),
        in_turn(layers.Rescaling(0.5, offset=1.0), layers.Masking(1.0), layers.LSTM(4)),
        in_turn(
            layers.Normalization(mean=[0.0, 5.0, -40.0], variance=[1.0, 4.0, 900.0]), layers.Masking(), layers.LSTM(4)
        ),
    ),
    "two masks": lambda: functional(two_masks),
    "a mask of one's own": lambda: functional(custom_mask),
}


# Where all steps of a row are masked it is NaN, which only the check of rounding leaves out.
WITH_A_MEAN = {"outputs of every step, pooled", "directions kept apart, and a model in a model", "other layers"}


# Keras warns that max pooling drops the mask, which is compared here.
@pytest.mark.filterwarnings("ignore:Layer .*was passed an input with a mask:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_steps_that_equal_the_mask_value_are_skipped_as_keras_skips_them(
    form: str,
    exported: Callable[..., Any],
    randomise: Callable[..., Any],
    rows: SequenceBlock,
    profile: SequenceProfile,
    request: pytest.FixtureRequest,
) -> None:
    """`measure_parity` compares rows with masked steps at every position; the next tests show that it sees them."""
    if form in WITH_A_MEAN:
        request.getfixturevalue("rounding_counts")
    made = exported(randomise(FORMS[form]()), from_file=form == "mask values")
    masked_steps = made.masked_steps or [np.zeros(3, np.float32)]
    parity = measure_parity(
        made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1, masked_steps=masked_steps
    )
    assert parity.num_sequences > 60 + 100
    operators = {node.op_type for node in made.graph.graph.node}
    assert not operators & {"Loop", "Scan", "If"}


def one_at_a_time(model: EncoderModel) -> Any:
    """Return Keras as one traced function: called directly, a recurrent layer takes a second for each dozen rows."""
    return tf.function(model.keras_model, input_signature=[tf.TensorSpec((1, None, 3), tf.float32)])


def test_each_sequence_gets_the_vector_that_keras_gives_it_alone(
    exported: Callable[..., Any], randomise: Callable[..., Any], rows: SequenceBlock
) -> None:
    """Compared without `measure_parity` and its reference."""
    made = exported(randomise(FORMS["stacked"]()))
    some = rows.take(np.arange(12))
    block = as_block(np.nan_to_num(some.values), some.lengths)
    block = with_masked_steps(block, made.masked_steps, np.random.default_rng(0))
    call = one_at_a_time(made.model)
    sequences = np.split(block.values, block.offsets[1:-1])
    wanted = np.concatenate([ops.convert_to_numpy(call(sequence[None])) for sequence in sequences])
    for size in (1, 7, block.num_sequences):
        found = []
        for start in range(0, block.num_sequences, size):
            batch = pad(block, np.arange(start, min(start + size, block.num_sequences)), 15)
            batch.values[np.arange(15) >= batch.lengths[:, None]] = np.nan
            found.append(made.encoder.embed(batch.values, batch.lengths))
        np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-5, atol=2e-6)


@pytest.fixture(scope="module")
def one_lstm(exported: Callable[..., Any]) -> Any:
    """Return the export of one LSTM layer behind a Masking layer; tests only read it."""
    keras.utils.set_random_seed(0)
    return exported(stack(layers.Masking(), layers.LSTM(4)))


def test_a_graph_that_reads_skipped_steps_fails_parity(
    one_lstm: Any, exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile
) -> None:
    """No row of the data has such a step: the parity check draws some."""
    made = one_lstm
    without_masking = keras.models.clone_model(made.model.keras_model, clone_function=_without_masking)
    without_masking.set_weights(made.model.keras_model.get_weights())
    reads_all = exported(without_masking)
    with pytest.raises(QualityGateError, match="a bug of the conversion"):
        measure_parity(
            made.reference, reads_all.encoder, rows, profile, tolerance=1e-5, seed=1, masked_steps=made.masked_steps
        )


def step_numbers(values: Any) -> Any:
    """Return 1, 2, 3, … at every step, (batch, time)."""
    return ops.cumsum(ops.ones_like(values[:, :, 0]), axis=1)


BY_NUMBER = {
    "the first 15 steps": lambda x: layers.LSTM(4)(x, mask=step_numbers(x) <= 15),
    "all but the first": lambda x: layers.GRU(4)(x, mask=step_numbers(x) > 1),
    "every second step, averaged": lambda x: average()(steps()(x, mask=ops.equal(step_numbers(x) % 2, 1))),
    "both ways": lambda x: both(layers.LSTM(2))(x, mask=ops.less(-15, -step_numbers(x))),
    "all, by the sum of zeros": lambda x: layers.LSTM(4)(x, mask=ops.cumsum(ops.zeros_like(x[:, :, 0]), axis=1) <= 0),
    "all": lambda x: layers.LSTM(4)(x, mask=ops.ones_like(x[:, :, 0], dtype="bool")),
}


@pytest.fixture(scope="module")
def by_number(exported: Callable[..., Any], randomise: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return what Keras and the export of all forms give 21 steps, where no training row has more than 12."""
    keras.utils.set_random_seed(0)
    made = exported(randomise(beside(*BY_NUMBER.values())))
    values = np.random.default_rng(2).normal(size=(3, 21, 3)).astype(np.float32)
    lengths = np.array([21, 17, 4], np.int32)
    call = one_at_a_time(made.model)
    wanted = [call(row[None, :length])[0] for row, length in zip(values, lengths, strict=True)]
    return np.stack(wanted), made.encoder.embed(values, lengths)


@pytest.mark.parametrize("form", BY_NUMBER)
def test_a_mask_of_step_numbers_is_applied_beyond_the_longest_row(
    form: str, by_number: tuple[np.ndarray, np.ndarray]
) -> None:
    wanted, found = (np.split(vectors, len(BY_NUMBER), axis=1) for vectors in by_number)
    index = list(BY_NUMBER).index(form)
    np.testing.assert_allclose(found[index], wanted[index], rtol=1e-5, atol=2e-6)


def test_parity_is_checked_beyond_the_longest_training_row(
    exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile
) -> None:
    made = exported(functional(BY_NUMBER["the first 15 steps"]))
    unmasked = functional(layers.LSTM(4))
    unmasked.set_weights(made.model.keras_model.get_weights())
    reads_all = exported(unmasked)
    with pytest.raises(QualityGateError, match="for a random sequence of (20|76) steps"):
        measure_parity(made.reference, reads_all.encoder, rows, profile, tolerance=1e-5, seed=1)


def _without_masking(layer: Any) -> Any:
    return layers.Identity() if isinstance(layer, layers.Masking) else layer.__class__.from_config(layer.get_config())


def test_the_order_of_steps_within_a_graph_is_that_of_the_data(exported: Callable[..., Any]) -> None:
    """A row with a masked step in the middle and the row without that step get equal vectors, to the last bit."""
    made = exported(stack(layers.Masking(), both(layers.LSTM(4))))
    values = np.random.default_rng(3).normal(size=(2, 6, 3)).astype(np.float32)
    values[1, 2] = 0.0
    shorter = np.delete(values[1], 2, axis=0)[None]
    found = made.encoder.embed(values, np.array([6, 6], np.int32))[1]
    np.testing.assert_array_equal(found, made.encoder.embed(shorter, np.array([5], np.int32))[0])


def test_masking_every_step_equals_keras(one_lstm: Any, exported: Callable[..., Any]) -> None:
    """The result is the initial state, or NaN for a mean over no steps."""
    nothing = np.zeros((1, 3, 3), np.float32)
    np.testing.assert_array_equal(one_lstm.encoder.embed(nothing, np.array([3], np.int32)), np.zeros((1, 4)))
    mean = exported(stack(layers.Masking(), steps(), average()))
    assert np.isnan(ops.convert_to_numpy(mean.model.keras_model(nothing))).all()
    assert np.isnan(mean.encoder.embed(nothing, np.array([3], np.int32))).all()


def test_missing_values_are_filled_before_the_mask(one_lstm: Any, profile: SequenceProfile) -> None:
    """A step with missing values only becomes the mean, not the mask value, and is read."""
    made = one_lstm
    values = np.full((1, 4, 3), np.nan, np.float32)
    filled = np.tile(np.array(profile.mean, np.float32), (1, 4, 1))
    np.testing.assert_allclose(
        made.encoder.embed(values, np.array([4], np.int32)),
        ops.convert_to_numpy(made.model.keras_model(filled)),
        atol=1e-6,
    )


REFUSED = {
    "of what a layer computed": (
        lambda: stack(layers.Dense(3), layers.Masking(name="late"), layers.LSTM(4)),
        "layer 'late' compares its mask_value with the result of other layers .*rounding .*directly after the model's",
    ),
    "of two scalings": (
        lambda: stack(layers.Rescaling(0.3), layers.Rescaling(0.7), layers.Masking(name="late"), layers.LSTM(4)),
        "layer 'late' compares its mask_value with the result of two scalings .*rounding .*after one Normalization",
    ),
    "of a scaling behind a normalization": (
        lambda: stack(
            layers.Normalization(mean=[0.0, 5.0, -40.0], variance=[1.0, 4.0, 900.0]),
            layers.Rescaling(0.3),
            layers.Masking(name="late"),
            layers.LSTM(4),
        ),
        "layer 'late' compares its mask_value with the result of two scalings",
    ),
    "of some features": (
        lambda: functional(lambda x: layers.LSTM(4)(layers.Masking(name="late")(x[:, :, :2]))),
        "layer 'late' compares .* a tensor other than the model's input .StridedSlice.; which steps",
    ),
    "of filled values": (
        lambda: functional(lambda x: layers.LSTM(4)(layers.Masking(name="late")(ops.where(ops.isnan(x), 0.0, x)))),
        "layer 'late' compares .* a tensor other than the model's input .SelectV2.; which steps",
    ),
    "of integers": (
        lambda: keras.Sequential(
            [keras.Input((None, 3), dtype="int32"), layers.Masking(name="late"), layers.Dense(3), layers.LSTM(4)]
        ),
        "layer 'late' compares .* a tensor other than the model's input .Cast.; which steps .*float32",
    ),
    "zeros in a last output": (
        lambda: stack(layers.Masking(), layers.LSTM(4, zero_output_for_mask=True, name="last")),
        "layer 'last' has zero_output_for_mask=True .*Rebuild it with zero_output_for_mask=False",
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_mask_without_an_exact_equivalent_is_refused_by_name(form: str, exported: Callable[..., Any]) -> None:
    make, message = REFUSED[form]
    with pytest.raises(BundleError, match=message) as caught:
        exported(make())
    assert len(str(caught.value).splitlines()) == 1  # no traceback of Keras or TensorFlow in it
    assert "Exception encountered" not in str(caught.value)


def test_masked_steps_are_drawn_at_every_position() -> None:
    block = as_block(np.ones((40, 2), np.float32), np.array([1, 9, 12, 18]))
    drawn = with_masked_steps(block, [np.array([0.0, 3.0], np.float32)], np.random.default_rng(0))
    masked = [(sequence == [0.0, 3.0]).all(axis=1) for sequence in np.split(drawn.values, drawn.offsets[1:-1])]
    assert drawn.num_sequences == 5 * 4
    start, end, middle, some, every = (masked[index * 4 + 3] for index in range(5))
    assert start[:6].all() and not start[6:].any()
    assert end[-6:].all() and not end[:-6].any()
    assert middle[6:12].all() and middle.sum() == 6
    assert 0 < some.sum() < 18
    assert every.all()


def test_the_structure_check_counts_nodes_that_skip_steps(exported: Callable[..., Any]) -> None:
    made = exported(stack(layers.Masking(), steps(), layers.LSTM(3)))
    outputs = [ModelOutput("embedding", width=3)]
    known = {"num_features": 3, "outputs": outputs, "num_recurrent": 2, "opset": 17, "source": "model"}
    assert check_structure(made.graph, **known, num_masked=2).num_recurrent == 2
    with pytest.raises(BundleError, match="2 recurrent nodes of the converted graph skip masked steps, expect"):
        check_structure(made.graph, **known, num_masked=1)
    with pytest.raises(BundleError, match="sequence_lens of LSTM node"):
        check_structure(made.graph, **known)


def test_int8_skips_the_same_steps(exported: Callable[..., Any], randomise: Callable[..., Any]) -> None:
    """Padding and skipped steps are set to zero, so that they do not change the scale of an LSTM's input."""
    made = exported(randomise(stack(layers.Masking(), layers.LSTM(8))))
    graph = quantise(made.graph)
    known = {
        "num_features": 3,
        "outputs": [ModelOutput("embedding", width=8)],
        "num_recurrent": 1,
        "num_masked": 1,
        "opset": 17,
    }
    check_structure(graph, **known, source="model", precision="int8")
    int8 = Encoder.from_bytes(assemble(graph, replace(made.contract, precision="int8")), source="int8")
    values = np.random.default_rng(4).normal(size=(4, 6, 3)).astype(np.float32)
    values[:, 1::2] = 0.0
    lengths = np.full(4, 6, np.int32)
    found, shorter = int8.embed(values, lengths), int8.embed(values[:, ::2], np.full(4, 3, np.int32))
    np.testing.assert_array_equal(found, shorter)
    np.testing.assert_allclose(found, made.encoder.embed(values, lengths), atol=0.03)
