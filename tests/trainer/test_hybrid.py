"""Contrastive objectives: all architectures learn, also in complete trainings and on extreme data."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_testing import resolved

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.schema.detect import detect_schema
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.config.automatic import Findings, resolve
from seqembed.trainer.fit.checkpoint import Checkpoints
from seqembed.trainer.fit.fit import Fit
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.fit.steps import Steps, seed_everything
from seqembed.trainer.input.columns import find_columns
from seqembed.trainer.input.feeds import make_feeds, monitored_fraction
from seqembed.trainer.input.intake import take_in
from seqembed.trainer.input.scale import Changes
from seqembed.trainer.job import train
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.losses import Batch
from seqembed.trainer.model.network import build_network
from seqembed.trainer.model.objective import Objective
from seqembed.trainer.model.trajectory import Alignment
from seqembed.trainer.prepare import prepare
from seqembed_testing import done, sequences, write_sequences

# A decoder knows nothing of the comparison beside it: one of the plainest, one of a fixed length, one that reads the
# steps before, and none, with the losses, cells and frames dealt out over them.
FORMS = [
    ("hybrid", "positional", "mse", "lstm", 1),
    ("hybrid", "reshape", "huber", "gru", 3),
    ("hybrid", "autoregressive", "mse", "lstm", 2),
    ("contrast", None, "mse", "gru", 2),
]


@pytest.fixture
def views():
    """Two views of four sequences of 1 to 6 steps, three features between 0 and 1, some of them missing."""
    random = np.random.default_rng(3)
    lengths = np.array([6, 1, 3, 5, 4, 1, 2, 6], np.int32)
    inside = (np.arange(6) < lengths[:, None])[:, :, None]
    targets = np.where(inside, random.random((8, 6, 3)), 0).astype(np.float32)
    values = np.where(inside, targets + 0.05 * random.normal(size=targets.shape), 0).astype(np.float32)
    values[0, 1] = values[2, 0, 0] = targets[2, 0, 0] = np.nan
    return Batch(values, lengths, targets, np.full((8, 3), np.nan, np.float32))


def build(profile, objective, decoder, loss="mse", cell="lstm", frame=1, normalization="sequence"):
    seed_everything(1)
    config = resolved(
        units=6,
        bidirectional=decoder == "positional",
        objective=objective,
        decoder=decoder,
        loss=loss,
        cell=cell,
        frame=frame,
        channels="both",
        normalization=normalization,
    )
    return Objective(config, profile), build_network(config, profile, fixed_length=6)


@pytest.mark.parametrize(("objective", "decoder", "loss", "cell", "frame"), FORMS)
def test_every_weight_gets_a_gradient_that_lowers_the_loss(profile, views, objective, decoder, loss, cell, frame):
    goal, network = build(profile, objective, decoder, loss, cell, frame)
    inputs = {"values": views.values, "lengths": views.lengths}

    def loss_now():
        with fused(network.scorer):  # as a training does
            sums = goal.sums(views, network.scorer(inputs))
        return tf.reduce_sum(sums[:, 0] / sums[:, 1])

    with tf.GradientTape() as tape:
        before = loss_now()
    gradients = tape.gradient(before, network.trainable)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    names = [variable.path for variable in network.scorer.trainable_variables]
    assert [name for name, gradient in zip(names, gradients, strict=True) if not np.any(gradient)] == []
    for variable, gradient in zip(network.trainable, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    assert loss_now() < before


def test_views_can_be_overfitted(profile, views):
    goal, network = build(profile, "hybrid", "positional", frame=2)
    steps = Steps(network, goal, profile, 60, learning_rate=0.02, clip_norm=1.0, decay="cosine")
    tensors = Batch(*map(tf.constant, views))
    reports = [goal.report(steps.learn(tensors)) for _ in range(60)]
    for figure in ("loss", *(f"{head}_loss" for head in goal.heads if len(goal.heads) > 1)):
        assert reports[-1][figure] < 0.7 * reports[0][figure], figure
    assert reports[-1]["contrast_accuracy"] >= 0.75 and steps.num_done == 60


# A decoder is saved alike for every objective.
@pytest.mark.parametrize(("objective", "decoder", "loss", "cell", "frame"), [FORMS[0], FORMS[1], FORMS[3]])
def test_saving_keeps_all_outputs(profile, views, tmp_path, objective, decoder, loss, cell, frame):
    _, network = build(profile, objective, decoder, loss, cell, frame)
    assert (network.decoder is None) == (objective == "contrast")
    inputs = {"values": views.values, "lengths": views.lengths}
    for model in (network.encoder, network.autoencoder):
        model.save(tmp_path / "model.keras")
        found = np.asarray(keras.models.load_model(tmp_path / "model.keras")(inputs))
        np.testing.assert_array_equal(found, model(inputs))
        assert np.isfinite(found).all()


def test_the_encoder_is_saved_without_projections(profile, views):
    _, network = build(profile, "hybrid", "positional")
    of_a_branch = 3 * 2 * 6  # state, mean and maximum, each both ways
    assert network.encoder.output_shape == (None, 2 * of_a_branch + 2 * 3), "values, differences; mean and spread"
    assert not [layer for layer in network.encoder.layers if "projection" in layer.name]
    projected = network.scorer({"values": views.values, "lengths": views.lengths})["contrast"]
    # A step alone has no shape: both branches see zeros, and nothing has a direction.
    sizes = np.where(views.lengths > 1, 1, 0)[:, None]
    np.testing.assert_allclose(np.linalg.norm(projected, axis=2), sizes * [1, 1], atol=1e-5)


@cache
def untrained(profile):
    """Return an objective and a network for tests of schedules, which change no weights."""
    return build(profile, "contrast", None)


@pytest.mark.parametrize("num_steps", [1, 2, 10, 100])
def test_the_learning_rate_warms_up_and_falls_to_zero(profile, num_steps):
    goal, network = untrained(profile)
    steps = Steps(network, goal, profile, num_steps, learning_rate=0.5, clip_norm=1.0, decay="cosine")
    rates = []
    for iteration in range(num_steps + 1):
        steps.optimizer.iterations.assign(iteration)
        rates.append(float(steps.optimizer.learning_rate))
    top = min(20, num_steps // 2)
    assert rates[top] == max(rates) == 0.5 and rates[num_steps] == pytest.approx(0, abs=1e-7)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()


@pytest.mark.parametrize(("decay", "shares"), [("drops", [1, 1, 1 / 3, 1 / 10, 1 / 30]), ("none", [1] * 5)])
def test_the_learning_rate_of_a_reconstruction_drops_and_that_of_events_stays(profile, decay, shares):
    goal, network = untrained(profile)
    steps = Steps(network, goal, profile, 100, learning_rate=0.5, clip_norm=1.0, decay=decay)
    rates = []
    for iteration in (0, 50, 51, 76, 91):
        steps.optimizer.iterations.assign(iteration)
        rates.append(float(steps.optimizer.learning_rate))
    assert rates == pytest.approx([0.5 * share for share in shares])


def weights(run):
    return [np.asarray(weight) for weight in keras.models.load_model(RunLayout(run).autoencoder).weights]


@pytest.fixture
def hybrid(job):
    """Return a function that builds a small job with the default objective, without kernels, with changes."""
    return lambda **changes: job(**{"objective": "hybrid", "epochs": None, "kernels": 0, "batch_size": 8, **changes})


def test_the_history_lists_the_loss_terms(eager_steps, hybrid, tmp_path):
    train(hybrid(steps=3, channels="values"), tmp_path / "run")
    history = json.loads(RunLayout(tmp_path / "run").history.read_text())
    assert [record["step"] for record in history["epochs"]] == [1, 2, 3]
    assert (history["measured_in"], history["num_steps"], history["patience"]) == ("steps", 3, None)
    assert (history["best_epoch"], history["monitored"], history["num_validation"]) == (3, "loss", 0)
    for record in history["epochs"]:
        heads = record["contrast_loss"] + record["reconstruction_loss"]
        assert record["loss"] == pytest.approx(heads) and 0 <= record["contrast_accuracy"] <= 1
    assert history["best"]["loss"] == history["epochs"][-1]["loss"] == history["best_loss"]
    baseline = history["baseline"]
    assert np.log(2 * 2 - 1) < baseline["contrast_loss"] <= np.log(2 * 8 - 1) + 1e-5, "a guess among batches of eight"
    assert 0.5 < baseline["reconstruction_loss"] < 2, "standardised values have a spread of one"


@pytest.mark.parametrize(
    ("num", "changes", "held_out"),
    [
        (499, {}, 0),
        (499, {"objective": "contrast"}, 0),
        (499, {"validation_fraction": 0.1}, 50),
        (499, {"patience": 9}, 50),
        (499, {"objective": "reconstruct"}, 50),
        (500, {}, 50),
        (500, {"validation_fraction": 0.0}, 0),
    ],
)
def test_few_sequences_are_all_used_for_training_without_early_stopping(hybrid, tmp_path, num, changes, held_out):
    data = write_sequences(tmp_path / "data.parquet", sequences(num, seed=1, shortest=1, longest=3))
    files = resolve_inputs([str(data)])
    intake = take_in(files, detect_schema(files, features=("x", "y")), hybrid(inputs=[str(data)], **changes))
    assert intake.num_training + intake.num_validation == num
    assert abs(intake.num_validation - held_out) <= held_out * 0.4
    assert intake.validation_fraction == (0.1 if held_out else 0.0)
    notes = any("no sequences are held out" in line for line in intake.notes(detect_schema(files)))
    assert notes == (not held_out)


def test_only_some_of_many_held_out_sequences_are_scored_during_training(hybrid, tmp_path, monkeypatch):
    data = write_sequences(tmp_path / "data.parquet", sequences(600, seed=1, shortest=1, longest=3))
    files = resolve_inputs([str(data)])
    schema = detect_schema(files, features=("x", "y"))
    few = hybrid(inputs=[str(data)], validation_fraction=0.5, steps=2, batch_size=8)
    intake = take_in(files, schema, few)

    def monitored(given, intake):
        found = Findings(intake.survey.profile, Changes(np.ones(2, np.float32), 0.0), Alignment(0.0), 300, 0.5, schema)
        return monitored_fraction(resolve(given, found).job, schema, intake)

    assert monitored(few, intake) == 0.5, "all of a few hundred"
    many = replace(intake, num_validation=1_000_000)
    long = hybrid(inputs=[str(data)], steps=4_000, batch_size=64)
    assert monitored(long, many) == pytest.approx(0.5 * 6_400 / 1_000_000)
    assert monitored(hybrid(inputs=[str(data)], epochs=3), many) == 0.5, "a pass learns from many more"
    profile = replace(intake.survey.profile, num_steps=10_000 * intake.survey.profile.num_sequences)
    wide = replace(many, survey=replace(intake.survey, profile=profile))
    assert monitored(long, wide) == pytest.approx(0.5 * 1_000 / 1_000_000), "no more than is kept"

    monkeypatch.setattr("seqembed.trainer.input.feeds._MIN_MONITORED", 20)
    notes = []
    progress = Progress()
    progress.note = notes.append
    fit = Fit(prepare(few, find_columns(few), progress), Checkpoints(tmp_path), progress, 300.0)
    assert "about 20 of the held-out sequences are scored during training" in notes
    scored = sum(len(batch.lengths) // 2 for batch in fit.loop.validation.epoch(0))
    assert 10 <= scored <= 40 < intake.num_validation


def test_objective_contrast_writes_no_decoder(eager_steps, hybrid, tmp_path):
    layout = RunLayout(tmp_path / "run")
    summary = train(hybrid(objective="contrast", epochs=2, patience=5, batch_size=32), layout.root)
    assert not layout.decoder.exists() and layout.encoder.exists() and layout.contract.exists()
    history = summary.history
    assert (history["measured_in"], history["monitored"], len(history["epochs"])) == ("epochs", "val_loss", 2)
    assert history["num_steps"] == history["epochs"][-1]["step"] > 2
    assert any("views distinguished" in line for line in summary.lines())


def test_patience_stops_early_with_the_best_weights(hybrid, tmp_path):
    restless = {"steps": 60, "patience": 6, "learning_rate": 0.5, "validation_fraction": 0.3, "channels": "values"}
    stopped = train(hybrid(**restless), tmp_path / "stopped").history
    assert stopped["stopped_early"] and stopped["num_steps"] < 60
    assert len(stopped["epochs"]) == stopped["best_epoch"] + 2
    assert stopped["best_val_loss"] == min(record["val_loss"] for record in stopped["epochs"])


@pytest.mark.parametrize(
    ("length", "objective", "least"), [(900, "hybrid", 24), (12_000, "hybrid", 8), (3_000, "contrast", 24)]
)
def test_batches_of_long_sequences_have_negatives(hybrid, tmp_path, length, objective, least):
    values = np.random.default_rng(0).normal(size=(24, length)).astype(np.float32)
    pq.write_table(pa.table({"id": range(24), "x": list(values)}), tmp_path / "long.parquet")
    changes = {"inputs": [str(tmp_path / "long.parquet")], "features": ["x"], "batch_size": 24, "steps": 1}
    job = hybrid(**changes, objective=objective)
    prepared = prepare(job, find_columns(job), Progress())
    training, _ = make_feeds(prepared.files, prepared.schema, prepared.job, prepared.intake, monitored=0.0)
    num_views = [len(batch.lengths) for batch in training.epoch(1)]
    assert min(num_views) >= 2 * least


def extreme_sequences(path):
    """Write 40 sequences of 1 to 80 steps; four features in five are extreme, and 40 % of the values are missing."""
    random = np.random.default_rng(4)
    lengths = [1, 1, 2, 3, 80, 70, *random.integers(1, 60, size=34)]
    scales = {"plain": (0, 1), "still": (7.7, 0), "vast": (3e30, 1e30), "fine": (0, 1e-20), "offset": (1e6, 1)}
    columns = {"id": [f"s{index}" for index in range(len(lengths))]}
    for name, (mean, std) in scales.items():
        rows = [mean + std * random.normal(size=length) for length in lengths]
        rows = [[None if random.random() < 0.4 else float(value) for value in row] for row in rows]
        columns[name] = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)
    return path


def test_extreme_data_passes_all_commands(eager_steps, tmp_path):
    data = extreme_sequences(tmp_path / "extreme.parquet")
    options = ["--units", 4, "--forward-only", "--steps", 4, "--batch-size", 8, "--frame", 3, "--seed", 2]
    result = done("train", data, "--out", tmp_path / "run", *options, "--progress", "plain")
    assert "frames of 3 steps" in result.stderr and "are constant and carry no information: still" in result.stderr
    assert all(np.isfinite(weight).all() for weight in weights(tmp_path / "run"))
    done("export", tmp_path / "run", "--out", tmp_path / "encoder.onnx")
    contract = Encoder.open(tmp_path / "encoder.onnx").contract
    blocks = ", ".join(f"{block.name} {block.width}" for block in contract.blocks)
    shown = " ".join(done("inspect", tmp_path / "encoder.onnx").stdout.split())
    assert "statistics 10" in blocks and f"projected from {blocks}" in shown
    assert contract.parity.max_difference <= 1e-5 and contract.embedding_dim == 39  # of forty sequences
    done("run", data, "--model", tmp_path / "encoder.onnx", "--out", tmp_path / "out")
    (part,) = (tmp_path / "out").glob("*.parquet")
    vectors = np.array(pq.read_table(part)["embedding"].to_pylist())
    assert vectors.shape == (40, 39) and np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(6), axis=0)) > 30, "different sequences, different embeddings"
