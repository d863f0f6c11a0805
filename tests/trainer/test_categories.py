"""Models with categories, with or without numbers: invariants and all architectures."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from model_testing import resolved

from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.classes import MAX_CLASSES, frequencies, num_classes
from seqembed.data.schema.schema import CategoricalField, SequenceSchema
from seqembed.data.schema.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID, Vocabulary
from seqembed.trainer.config.automatic import Findings, resolve
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import DECODERS
from seqembed.trainer.fit.steps import Steps, seed_everything
from seqembed.trainer.input.scale import Changes
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.categories import (
    MAX_WIDTH,
    answers,
    summary_width,
    width_of,
)
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.losses import Batch
from seqembed.trainer.model.network import build_network, inputs_of
from seqembed.trainer.model.objective import Objective
from seqembed.trainer.model.trajectory import Alignment
from seqembed.trainer.plots.pictures import generate

# Each decoder with numbers or without, and the one that reads the steps before with both.
FORMS = [
    *[("reconstruct", "composite", decoder, num) for decoder, num in zip(DECODERS, (3, 0, 3, 0, 3), strict=True)],
    ("reconstruct", "predict", None, 0),
    ("hybrid", "reconstruct", "positional", 0),
    ("hybrid", "reconstruct", "autoregressive", 0),
    ("contrast", "reconstruct", None, 3),
]


def field(name, counts, num_unknown=3):
    values = tuple(f"v{index}" for index in range(len(counts)))
    return CategoricalField(name, name, Vocabulary("string", values, tuple(counts), num_unknown, 2))


FIELDS = (field("a/b ü.c", [9, 4, 2]), field("values", [50, 20, 7, 3, 2, 1, 1, 1, 1, 1], num_unknown=0))


def profile_of(num_features):
    mean, std, missing = (1.0, 2.0, -3.0), (1.5, 0.0, 0.5), (0.0, 0.0, 0.1)
    return SequenceProfile(10, 0, 100, *(each[:num_features] for each in (mean, std, missing)), (1,) * 9)


def events(num_features, num=6, seed=3):
    """Return a batch of sequences of 1 to 6 steps; some values and categories are missing, some are unknown."""
    random = np.random.default_rng(seed)
    lengths = np.resize([6, 1, 3, 5, 4, 2], num).astype(np.int32)
    inside = np.arange(6) < lengths[:, None]
    values = np.where(inside[:, :, None], random.normal(size=(num, 6, num_features)), 0).astype(np.float32)
    values[0, 1] = np.nan
    ids = np.stack([random.integers(0, each.num_ids, (num, 6)) for each in FIELDS], axis=2) * inside[:, :, None]
    ids = ids.astype(np.int32)
    following = random.normal(size=(num, num_features)).astype(np.float32)
    return Batch(values, lengths, values, following, ids, ids, ids[:, 0].copy())


def build(num_features, fields=FIELDS, **changes):
    seed_everything(1)
    config = resolved(**{"units": 5, "channels": "values", "frame": 1, **changes})
    profile = profile_of(num_features)
    return Objective(config, profile, fields), build_network(config, profile, 6, None, fields)


@cache
def shared(num_features, **changes):
    """Return a network that several tests look at, and none changes."""
    return build(num_features, **changes)[1]


def embed(encoder, batch):
    return np.asarray(encoder(inputs_of(encoder, batch)))


def test_embedding_width_grows_with_the_vocabulary_within_limits():
    widths = [width_of(field("f", [1] * num)) for num in (0, 1, 2, 10, 60, 10_000)]
    assert widths == [2, 2, 2, 6, MAX_WIDTH, MAX_WIDTH]


@pytest.mark.parametrize(
    ("num_features", "frame", "objective"),
    [(3, 1, "hybrid"), (0, 2, "hybrid"), (0, 1, "reconstruct"), (3, 4, "reconstruct")],
)
def test_embeddings_do_not_depend_on_other_sequences_or_padding(num_features, frame, objective):
    _, network = build(num_features, frame=frame, objective=objective, bidirectional=objective == "reconstruct")
    batch = events(num_features)
    encoder = network.encoder
    assert list(encoder.input) == [*(["values"] if num_features else []), "categories", "lengths"]
    together = embed(encoder, batch)
    assert np.isfinite(together).all() and len(np.unique(together.round(5), axis=0)) == 6
    for row, length in enumerate(batch.lengths):
        alone = Batch(*(np.asarray(each)[row : row + 1] for each in batch))
        alone = alone._replace(values=alone.values[:, :length], categories=alone.categories[:, :length])
        np.testing.assert_allclose(embed(encoder, alone)[0], together[row], atol=1e-6)
    wide = np.full((6, 9, 2), -7, np.int32)
    wide[:, :, 1] = 2**31 - 1
    values = np.full((6, 9, num_features), np.nan, np.float32)
    for row, length in enumerate(batch.lengths):
        wide[row, :length], values[row, :length] = batch.categories[row, :length], batch.values[row, :length]
    np.testing.assert_allclose(embed(encoder, batch._replace(values=values, categories=wide)), together, atol=1e-6)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("identity", [UNKNOWN_ID, MISSING_ID, FIRST_ID + 1])
def test_every_category_affects_the_embedding_including_unknown_and_missing(index, identity):
    network, batch = shared(3, bidirectional=False), events(3)
    batch.categories[:] = FIRST_ID
    before = embed(network.encoder, batch)
    moved = []
    for step in (0, 1):
        changed = batch.categories.copy()
        changed[0, step, index] = identity
        moved.append(embed(network.encoder, batch._replace(categories=changed)))
        assert np.abs(moved[-1] - before).max(axis=1)[0] > 1e-5
        np.testing.assert_allclose(moved[-1][1:], before[1:], atol=1e-6)
    assert np.abs(moved[0][0] - moved[1][0]).max() > 1e-5, "the order counts"


def test_statistics_end_with_the_mean_category_embeddings():
    _, network = build(0, objective="contrast", bidirectional=False)
    batch, encoder = events(0), network.encoder
    tables = {
        layer.name: layer.get_weights()[0] for layer in encoder.layers if "_values" in layer.name or "a_b" in layer.name
    }
    read, summary = ([name for name in tables if name.startswith(begin)] for begin in ("embed_", "summary_"))
    assert [tables[name].shape for name in read] == [(each.num_ids, width_of(each)) for each in FIELDS]
    assert [tables[name].shape for name in summary] == [(12, 10)], "few values need no summary"
    for row, length in enumerate(batch.lengths):
        ids = batch.categories[row, :length]
        means = [tables[name][ids[:, index]].mean(axis=0) for index, name in enumerate(read)]
        expected = np.concatenate([*means, tables[summary[0]][ids[:, 1]].mean(axis=0)])
        np.testing.assert_allclose(embed(encoder, batch)[row, -len(expected) :], expected, atol=1e-5)


def test_summary_width_is_limited():
    assert [summary_width(field("f", [1] * count)) for count in (8, 9, 32, 33, 500)] == [0, 9, 32, 32, 32]


@pytest.mark.parametrize(("objective", "task", "decoder", "num_features"), FORMS)
def test_training_lowers_the_loss_and_saving_keeps_the_outputs(tmp_path, objective, task, decoder, num_features):
    cell = "gru" if decoder in ("reshape", "repeat") else "lstm"
    options = {"objective": objective, "task": task, "decoder": decoder, "cell": cell}
    goal, network = build(num_features, bidirectional=decoder == "positional", **options)
    batch = events(num_features)

    def loss_now():
        with fused(network.scorer):  # as a training does
            sums = goal.sums(batch, network.scorer(inputs_of(network.scorer, batch)))
        return tf.reduce_sum(goal.weights * sums[:, 0] / sums[:, 1])

    with tf.GradientTape() as tape:
        before = loss_now()
    gradients = tape.gradient(before, network.trainable)
    for gradient in gradients:
        assert gradient is not None and np.isfinite(tf.convert_to_tensor(gradient)).all()
    for variable, gradient in zip(network.trainable, gradients, strict=True):
        variable.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    assert loss_now() < before
    network.autoencoder.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    given = inputs_of(loaded, batch)
    found = network.autoencoder(given)
    for mine, its in zip(*map(keras.tree.flatten, (found, loaded(given))), strict=True):
        np.testing.assert_array_equal(its, mine)
    if task == "composite":
        assert_raw_units_and_probabilities(goal, found, batch.lengths, num_features)


def assert_raw_units_and_probabilities(goal, found, lengths, num_features):
    """Check the names of what an autoencoder writes of `events` beside a prediction, and that shares add up to 1."""
    heads = ("reconstruction", "prediction")
    names = [f"{head}.{each.name}" for head in heads for each in FIELDS] + list(heads) * bool(num_features)
    assert sorted(found) == sorted(names) == sorted(term.name for term in goal.terms)
    outside = np.arange(6) >= lengths[:, None]
    for each in FIELDS:
        shares = np.asarray(found[f"reconstruction.{each.name}"])
        assert shares.shape == (6, 6, num_classes(each)) and (shares[outside] == 0).all()
        np.testing.assert_allclose(shares[~outside].sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(found[f"prediction.{each.name}"]).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("num_features", [3, 0])
def test_saving_keeps_the_encoder_and_the_decoder(tmp_path, num_features):
    network = shared(num_features, objective="reconstruct", decoder="autoregressive", bidirectional=False)
    network.encoder.save(tmp_path / "encoder.keras")
    network.decoder.save(tmp_path / "decoder.keras")
    loaded, batch = keras.models.load_model(tmp_path / "encoder.keras"), events(num_features)
    np.testing.assert_array_equal(embed(loaded, batch), embed(network.encoder, batch))
    alone = keras.models.load_model(tmp_path / "decoder.keras")
    for mine, its in zip(alone.get_weights(), network.decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_events_can_be_overfitted():
    options = {"objective": "reconstruct", "task": "composite", "bidirectional": False, "units": 12}
    goal, network = build(2, decoder="positional", **options)
    steps = Steps(network, goal, profile_of(2), 160, learning_rate=0.03, clip_norm=1.0)
    batch = Batch(*map(tf.constant, events(2)))
    reports = [goal.report(steps.learn(batch)) for _ in range(80)]
    found = [name for name in reports[0] if "." in name and name.endswith("_loss")]
    assert len(found) == 2 * 3
    assert all(reports[-1][name] < 0.7 * reports[0][name] for name in found)
    assert reports[-1][f"reconstruction.{FIELDS[1].name}_accuracy"] > 0.6


@pytest.mark.parametrize("reverse", [False, True])
def test_autoregressive_decoder_does_not_see_the_category_it_predicts(reverse):
    config = {"objective": "reconstruct", "decoder": "autoregressive", "reverse_target": reverse, "embedding_dim": 3}
    config["bidirectional"] = False
    _, network = build(0, **config)
    # The embedding is held constant, so that what changes comes through the previous steps alone.
    kernel = network.encoder.get_layer("embedding").kernel
    kernel.assign(np.zeros(kernel.shape, np.float32))
    batch = events(0)
    changed = batch.categories.copy()
    changed[0, 2] = [FIRST_ID, FIRST_ID + 1]
    batch.categories[0, 2] = MISSING_ID
    before, after = (
        np.asarray(network.scorer(inputs_of(network.scorer, each))["reconstruction.values"])[0]
        for each in (batch, batch._replace(categories=changed))
    )
    moved = np.abs(before - after).max(axis=1) > 1e-7
    assert moved.tolist() == [step < 2 for step in range(6)] if reverse else [step > 2 for step in range(6)]


def test_autoregressive_decoder_runs_freely_on_its_own_outputs():
    config = resolved(objective="reconstruct", decoder="autoregressive", units=5, frame=1, bidirectional=False)
    network = shared(3, objective="reconstruct", decoder="autoregressive", bidirectional=False)
    batch = events(3)
    written = generate(network, config, profile_of(3), batch, max_steps=4)
    assert written.shape == (6, 6, 5) and np.isnan(written[:, 4:]).all() and np.isfinite(written[:, :4]).all()
    ids = written[:, :4, 3:]
    assert (ids == ids.round()).all() and (ids != MISSING_ID).all()
    assert (ids < [each.num_ids for each in FIELDS]).all()


def test_the_most_likely_class_is_never_missing():
    assert answers(np.array([[0.1, 0.8, 0.05, 0.05], [0, 0.2, 0.2, 0.6]], np.float32)).tolist() == [0, 3]


def test_rare_values_of_a_large_vocabulary_are_one_class():
    counts = np.arange(MAX_CLASSES + 500, 0, -1).tolist()
    large = field("large", counts)
    assert num_classes(large) == FIRST_ID + MAX_CLASSES + 1
    found = frequencies(large)
    assert found[UNKNOWN_ID] == 3 and found[MISSING_ID] == 0 and found[FIRST_ID] == counts[0]
    assert found[-1] == sum(counts[MAX_CLASSES:]) and found.sum() == sum(counts) + 3


def test_events_get_no_frames_and_train_for_steps():
    schema = SequenceSchema("id", (), "nested", categorical=FIELDS[:1])
    long = replace(profile_of(0), length_quantiles=(1, 2, 3, 4, 900, 901, 902, 903, 904))
    job = TrainJob.from_options({"inputs": ["a"]})
    found = Findings(long, Changes(np.ones(0, np.float32), 0.0), Alignment(0.9), 32_000, 0.1, schema)
    training = resolve(job, found).job
    assert (training.model.frame, training.model.trajectory) == (1, 0)
    assert (training.training.batch_size, training.training.measured_in, training.training.length) == (
        64,
        "steps",
        4_000,
    )


def test_an_encoder_of_numbers_has_no_categories_input():
    encoder = build_encoder(resolved(units=4, channels="values", frame=1), profile_of(2))
    assert list(encoder.input) == ["values", "lengths"]
    assert not [layer for layer in encoder.layers if layer.name.startswith("embed")]
