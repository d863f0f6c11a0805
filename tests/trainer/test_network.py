"""Every decoder, task and loss can be built, saved, loaded by plain Keras, and trained."""

import itertools
from functools import cache

import numpy as np
import pytest
from model_testing import resolved
from tensorflow.python.eager.polymorphic_function import polymorphic_function

from seqembed.data.errors import UsageError
from seqembed.trainer.config.model import DECODERS, LOSSES
from seqembed.trainer.fit.steps import Steps, seed_everything
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.network import build_network
from seqembed.trainer.model.objective import Objective

# Every decoder beside a prediction, which is the composite, and a reconstruction and a prediction alone; a loss knows
# nothing of the decoder.
CASES = [
    *((decoder, "composite", loss) for decoder, loss in zip(DECODERS, itertools.cycle(LOSSES), strict=False)),
    ("autoregressive", "reconstruct", "binary_crossentropy"),
    ("repeat", "predict", "binary_crossentropy"),
]
LEARNED = [*zip(DECODERS, ("composite", *["reconstruct"] * 4), (*LOSSES, "mse"), strict=True)]


def build(profile, **changes):
    seed_everything(1)
    given = {"units": 6, "embedding_dim": 5, "objective": "reconstruct", "bidirectional": False}
    config = resolved(**{**given, **changes})
    return config, build_network(config, profile, fixed_length=6)


@cache
def shared(profile, **changes):
    """Return a network that several tests look at, and none changes."""
    return build(profile, **changes)[1]


def rounded(batch):
    rounded_values = np.round(batch.values)
    return batch._replace(values=rounded_values, targets=rounded_values, next_step=np.round(batch.next_step))


@pytest.mark.parametrize(("decoder", "task", "loss"), CASES)
def test_every_weight_gets_a_gradient_that_lowers_the_loss(profile, batch, decoder, task, loss):
    cell = "gru" if loss in ("mae", "binary_crossentropy") else "lstm"
    config, network = build(profile, decoder=decoder, task=task, loss=loss, cell=cell)
    objective = Objective(config, profile)
    inputs = {"values": batch.values, "lengths": batch.lengths}

    def loss_now():
        with fused(network.scorer):  # as a training does
            sums = objective.sums(batch, network.scorer(inputs))
        return tf.reduce_sum(sums[:, 0] / sums[:, 1])

    with tf.GradientTape() as tape:
        before = loss_now()
    gradients = tape.gradient(before, network.trainable)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    for variable, gradient in zip(network.trainable, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    assert loss_now() < before


# The other losses build the same graphs as mse: standardised values instead of logits. A composite is a reconstruction
# and a prediction.
@pytest.mark.parametrize(
    ("decoder", "task", "loss"),
    [
        *((decoder, "composite", "mse") for decoder in DECODERS),
        ("positional", "reconstruct", "mse"),
        ("repeat", "predict", "mse"),
        ("repeat", "composite", "binary_crossentropy"),
    ],
)
def test_saving_keeps_outputs(profile, batch, tmp_path, decoder, task, loss):
    options = {"layers": 2, "cell": "gru"} if task == "composite" else {"cell": "lstm"}
    network = shared(profile, decoder=decoder, task=task, loss=loss, **options)
    inputs = {"values": batch.values, "lengths": batch.lengths}
    expected = keras.tree.flatten(network.autoencoder(inputs))
    network.autoencoder.save(tmp_path / "autoencoder.keras")
    loaded = keras.models.load_model(tmp_path / "autoencoder.keras")
    for mine, its in zip(expected, keras.tree.flatten(loaded(inputs)), strict=True):
        np.testing.assert_array_equal(its, mine)
        assert np.isfinite(its).all()


@pytest.mark.parametrize(("decoder", "task", "loss"), LEARNED)
def test_five_sequences_can_be_overfitted(profile, batch, decoder, task, loss):
    config, network = build(profile, decoder=decoder, task=task, loss=loss)
    objective = Objective(config, profile)
    steps = Steps(network, objective, profile, 120, learning_rate=0.03, clip_norm=1.0)
    tensors = type(batch)(*map(tf.constant, rounded(batch)))
    reports = [objective.report(steps.learn(tensors)) for _ in range(60)]
    falling = [name for name in reports[0] if name.endswith("loss")]
    assert len(falling) == (3 if task == "composite" else 1)
    assert all(reports[-1][name] < 0.6 * reports[0][name] for name in falling)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_saved_decoder_works_on_its_own_with_the_same_weights(profile, batch, tmp_path, decoder):
    network = shared(profile, decoder=decoder, task="composite", loss="mse", layers=2, cell="gru")
    network.decoder.save(tmp_path / "decoder.keras")
    alone = keras.models.load_model(tmp_path / "decoder.keras")
    mask = np.arange(6) < batch.lengths[:, None]
    given = {"embedding": np.asarray(network.encoder({"values": batch.values, "lengths": batch.lengths})), "mask": mask}
    if decoder == "autoregressive":
        clean = (batch.values - np.asarray(profile.mean)) / np.asarray([1.5, 1.0, 0.5])
        clean = np.where(np.isnan(clean) | ~mask[:, :, None], 0, clean).astype(np.float32)
        given["previous"] = np.concatenate([np.zeros((5, 1, 3), np.float32), clean[:, :-1]], axis=1)
    written = np.asarray(alone(given))
    expected = network.autoencoder({"values": batch.values, "lengths": batch.lengths})["reconstruction"]
    np.testing.assert_allclose(written, expected, atol=1e-5)
    assert (written[~mask] == 0).all()


@pytest.mark.parametrize(
    ("decoder", "reverse"), [*((decoder, False) for decoder in DECODERS), ("autoregressive", True)]
)
def test_padding_values_do_not_change_the_reconstruction(profile, batch, decoder, reverse):
    options = {"reverse_target": True} if reverse else {"task": "composite", "loss": "mse", "layers": 2, "cell": "gru"}
    network = shared(profile, decoder=decoder, **options)
    values = batch.values.copy()
    values[np.arange(6) >= batch.lengths[:, None]] = np.inf
    clean, padded = (network.autoencoder({"values": each, "lengths": batch.lengths}) for each in (batch.values, values))
    for found, expected in zip(*map(keras.tree.flatten, (padded, clean)), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("decoder", [decoder for decoder in DECODERS if decoder != "autoregressive"])
def test_only_an_autoregressive_decoder_writes_in_reverse(profile, decoder):
    with pytest.raises(UsageError):
        build(profile, decoder=decoder, reverse_target=True)


def test_autoregressive_decoder_does_not_see_the_step_it_predicts(profile):
    for reverse in (False, True):
        _, network = build(profile, decoder="autoregressive", reverse_target=reverse)
        # The embedding is held constant, so that what changes comes through the previous steps alone.
        kernel = network.encoder.get_layer("embedding").kernel
        kernel.assign(np.zeros(kernel.shape, np.float32))
        values = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
        changed = values.copy()
        changed[0, 2] += 1
        lengths = np.array([4], np.int32)
        before, after = (
            np.asarray(network.autoencoder({"values": x, "lengths": lengths}))[0] for x in (values, changed)
        )
        moved = np.abs(before - after).max(axis=1) > 1e-7
        assert moved.tolist() == ([True, True, False, False, False] if reverse else [False, False, False, True, False])


@pytest.mark.parametrize(("embedding_dim", "widened"), [(12, False), (6, False), (5, True), (13, True)])
def test_reshape_widens_only_if_the_embedding_does_not_divide(profile, embedding_dim, widened):
    _, network = build(profile, decoder="reshape", embedding_dim=embedding_dim)
    assert ("decoder_widen" in [layer.name for layer in network.decoder.layers]) == widened


@pytest.mark.parametrize("decoder", ["reshape", "dense"])
def test_a_fixed_length_decoder_writes_nan_beyond_its_length(profile, decoder):
    _, network = build(profile, decoder=decoder)
    written = np.asarray(network.decoder({"embedding": np.ones((1, 5), np.float32), "mask": np.ones((1, 8), bool)}))
    assert np.isfinite(written[0, :6]).all() and np.isnan(written[0, 6:]).all()


# All recurrent decoders get their layers from one function.
@pytest.mark.parametrize(("decoder", "cell"), [*zip(DECODERS, ("lstm", "gru") * 3, strict=False)])
def test_decoder_units_and_layers_are_as_configured(profile, batch, decoder, cell):
    _, network = build(profile, decoder=decoder, cell=cell, units=2, decoder_units=9, decoder_layers=3)
    layers = [layer for layer in network.decoder.layers if layer.name.startswith("decoder_") and layer.weights]
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    hidden = [layer for layer in layers if isinstance(layer, kind)]
    if decoder == "positional":
        names = ("decoder_position", "decoder_dense_2", "decoder_dense_3")
        hidden = [layer for layer in layers if layer.name in names]
    assert [layer.units for layer in hidden] == [9, 9, 9]
    raw = network.autoencoder({"values": batch.values, "lengths": batch.lengths})
    assert raw.shape == batch.values.shape and np.isfinite(np.asarray(raw)).all()


def test_the_prediction_layer_has_decoder_units(profile):
    _, network = build(profile, task="predict", units=2, decoder_units=9)
    assert network.scorer.get_layer("next_step_head").get_layer("next_step_hidden").units == 9


@pytest.mark.parametrize(("decoder", "length"), [("dense", 1366), ("reshape", 4097)])
def test_too_large_fixed_lengths_are_refused_with_a_remedy(profile, decoder, length):
    with pytest.raises(UsageError, match=r"--max-length, or choose --decoder repeat"):
        build_network(resolved(decoder=decoder), profile, length)
    build_network(resolved(units=2, task="predict"), profile, length)


def test_outputs_are_in_raw_units(profile, batch):
    inputs = {"values": batch.values, "lengths": batch.lengths}
    _, network = build(profile, task="composite")
    scores, raw = network.scorer(inputs), network.autoencoder(inputs)
    std = np.array([1.5, 1.0, 0.5])
    np.testing.assert_allclose(raw["prediction"], scores["prediction"] * std + np.array(profile.mean), rtol=1e-5)
    _, network = build(profile, task="composite", loss="binary_crossentropy")
    raw = network.autoencoder(inputs)
    assert all((np.asarray(value) >= 0).all() and (np.asarray(value) <= 1).all() for value in raw.values())


def test_many_trainings_in_one_process_warn_of_no_retracing(profile, batch, caplog, monkeypatch):
    """TensorFlow warns of the fifth function of the same code, though each is traced once; here of the second."""
    monkeypatch.setattr(polymorphic_function, "FREQUENT_TRACING_WARNING_THRESHOLD", 2)
    config, network = build(profile, task="predict", units=1)
    tensors = type(batch)(*map(tf.constant, rounded(batch)))
    with caplog.at_level("WARNING", "tensorflow"):
        for _ in range(2):
            steps = Steps(network, Objective(config, profile), profile, 1, learning_rate=0.03, clip_norm=1.0)
            steps.learn(tensors)
            steps.evaluate([tensors])
    assert "retracing" not in caplog.text
