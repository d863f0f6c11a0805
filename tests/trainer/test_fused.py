"""LSTM layers with BlockLSTM equal those of Keras, forwards and backwards, for any number of sequences."""

import numpy as np
import pytest

from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.fused import fused

TOLERANCE = 2e-6


def build(kind):
    """Return a model of one layer: sequences, their mask and a first state and memory → outputs and final ones."""
    options = {"return_sequences": True, "return_state": True}
    layer = keras.layers.LSTM(5, zero_output_for_mask=True, go_backwards=kind == "backwards, unmasked", **options)
    if kind == "both ways":
        layer = keras.layers.Bidirectional(layer)
    inputs = [keras.Input((None, 3)), keras.Input((None,), dtype="bool"), keras.Input((5,)), keras.Input((5,))]
    steps, mask, *start = inputs
    given = {"unmasked": {}, "backwards, unmasked": {}, "started": {"mask": mask, "initial_state": start}}
    return keras.Model(inputs, layer(steps, **given.get(kind, {"mask": mask})))


def results(model, inputs):
    """Return the outputs and states of a model, and the gradients of a sum over them by inputs and weights."""
    steps, mask, *start = inputs
    with tf.GradientTape() as tape:
        tape.watch([steps, *start])
        outputs, *states = model(inputs)
        loss = tf.reduce_sum(tf.sin(outputs)) + sum(tf.reduce_sum(tf.cos(state)) for state in states)
    weights = [variable.value for variable in model.trainable_variables]
    return [outputs, *states], tape.gradient(loss, [steps, *start, *weights], unconnected_gradients="zero")


@pytest.mark.parametrize("kind", ["one way", "unmasked", "backwards, unmasked", "started", "both ways"])
@pytest.mark.parametrize("num_sequences", [1, 2, 7])
def test_outputs_and_gradients_equal_those_of_keras(kind, num_sequences):
    keras.utils.set_random_seed(num_sequences)
    random = np.random.default_rng(num_sequences)
    model = build(kind)
    lengths = np.resize([6, 1, 4, 3], num_sequences)  # none is learned from without a step
    shapes = [(num_sequences, 6, 3), (num_sequences, 5), (num_sequences, 5)]
    steps, *start = (tf.constant(random.normal(size=shape).astype(np.float32)) for shape in shapes)
    inputs = [steps, tf.constant(np.arange(6) < lengths[:, None]), *start]
    expected = results(model, inputs)
    with fused(model):
        found = results(model, inputs)
    for group, wanted in zip(found, expected, strict=True):
        for one, other in zip(group, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)


def test_the_model_is_unchanged_after_the_context():
    model = build("one way")
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.LSTM))
    with fused(model):
        assert "call" in vars(layer)
    assert "call" not in vars(layer)
