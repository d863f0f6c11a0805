"""LSTM layers by BlockLSTM: what Keras computes, forwards and backwards, for any number of sequences."""

import numpy as np
import pytest

from trainer.backend import keras, tf
from trainer.fused import fused

TOLERANCE = 2e-6


def build(*, both_ways, zeroed, go_backwards=False):
    """Return a model of one masked layer: sequences and their mask → outputs and final states."""
    layer = keras.layers.LSTM(
        5, return_sequences=True, return_state=True, zero_output_for_mask=zeroed, go_backwards=go_backwards
    )
    if both_ways:
        layer = keras.layers.Bidirectional(layer)
    steps, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    return keras.Model([steps, mask], layer(steps, mask=mask))


def told(model, steps, mask):
    """Return the outputs at real steps and the states of a model, and the gradients of a sum over them."""
    with tf.GradientTape() as tape:
        outputs, *states = model([steps, mask])
        outputs = tf.where(mask[..., None], outputs, 0.0)
        loss = tf.reduce_sum(tf.sin(outputs)) + sum(tf.reduce_sum(tf.cos(state)) for state in states)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return [outputs, *states], gradients


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("num_sequences", [1, 2, 7])
def test_the_numbers_and_their_gradients_are_those_of_keras(both_ways, num_sequences):
    keras.utils.set_random_seed(num_sequences)
    random = np.random.default_rng(num_sequences)
    model = build(both_ways=both_ways, zeroed=True)
    steps = tf.constant(random.normal(size=(num_sequences, 6, 3)).astype(np.float32))
    lengths = np.resize([6, 1, 4, 3], num_sequences)  # none is learned from without a step
    mask = tf.constant(np.arange(6) < lengths[:, None])
    expected = told(model, steps, mask)
    with fused(model):
        found = told(model, steps, mask)
    for group, wanted in zip(found, expected, strict=True):
        for one, other in zip(group, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)
    after = model([steps, mask])[0]
    np.testing.assert_array_equal(after, model([steps, mask])[0])


def test_a_model_is_its_own_again_afterwards():
    model = build(both_ways=False, zeroed=False)
    layer = model.layers[-1]
    with fused(model):
        assert "call" in vars(layer)
    assert "call" not in vars(layer)
