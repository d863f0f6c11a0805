"""Complete trainings on small data: output files, notes, and errors."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BadRowError, InputError
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.sample_rows import read_sequences
from seqembed.data.schema.detect import detect_schema
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.checkpoint import Checkpoints
from seqembed.trainer.fit.fit import Fit
from seqembed.trainer.fit.progress import PlainProgress, Progress
from seqembed.trainer.input.columns import find_columns
from seqembed.trainer.input.intake import take_in
from seqembed.trainer.job import train
from seqembed.trainer.model.backend import keras
from seqembed.trainer.prepare import prepare
from seqembed_testing import sequences, write_sequences

INFINITE = float("inf")


def weights(run):
    return [np.asarray(weight) for weight in keras.models.load_model(RunLayout(run).autoencoder).weights]


def fit_of(job, checkpoints):
    """Return a training of `job` that has not begun."""
    return Fit(prepare(job, find_columns(job), Progress()), Checkpoints(checkpoints), Progress(), 300.0)


def initial_weights(job):
    """Return the weights before the first batch, and the training sequences of that batch."""
    fit = fit_of(job, Path("none"))
    batch = next(iter(fit.loop.training.epoch(1)))
    return [weight.tobytes() for weight in (*fit.network.scorer.get_weights(), batch.values.numpy())]


def test_a_run_directory_holds_all_files_of_the_layout(finished):
    layout = RunLayout(finished[1])
    contract = ModelContract.from_json(layout.contract.read_text(), "contract.json")
    assert contract.schema.feature_names == ("x", "y") and contract.embedding_dim == 5
    assert contract.length_policy.max_length == 6 and contract.architecture["cell"] == "lstm"
    assert contract.versions.keys() == {"seqembed", "python", "tensorflow", "keras", "numpy"}
    encoder = keras.models.load_model(layout.encoder)
    values = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    inputs = {"values": values, "lengths": np.array([4, 2, 1], np.int32)}
    embedding = np.asarray(encoder(inputs))
    assert embedding.shape == (3, 5)
    assert keras.models.load_model(layout.autoencoder)(inputs).shape == (3, 4, 2)
    given = {"embedding": embedding, "mask": np.ones((3, 4), bool), "previous": np.zeros((3, 4, 2), np.float32)}
    assert keras.models.load_model(layout.decoder)(given).shape == (3, 4, 2)
    block, schema = read_sequences(layout.sample)
    assert schema.feature_names == ("x", "y") and block.num_sequences > 20
    names = {path.name for path in layout.plots.iterdir()}
    assert names == {"losses.png", "model.png", "reconstructions.png", "embeddings.png"}
    assert not list(layout.root.rglob(".writing-*"))
    files = [path for path in layout.root.rglob("*") if path.is_file()]
    assert max(files, key=lambda path: path.stat().st_mtime_ns) == layout.contract, "the contract comes last"


def test_history_records_epochs_baseline_and_totals(finished):
    layout = RunLayout(finished[1])
    history = json.loads(layout.history.read_text())
    contract = ModelContract.from_json(layout.contract.read_text(), "contract.json")
    assert [record["epoch"] for record in history["epochs"]] == [1, 2, 3]
    losses = [record["val_loss"] for record in history["epochs"]]
    assert history["best_val_loss"] == history["best_loss"] == min(losses)
    assert history["best_epoch"] == 1 + losses.index(min(losses))
    assert 0.4 < history["baseline"]["loss"] < 2, "standardised values have a spread of one"
    filled = 60 - sum(not values for values in sequences(60, seed=0, longest=9)["x"])
    assert history["num_training"] + history["num_validation"] == filled
    assert contract.training.profile.num_sequences == history["num_training"]
    assert contract.architecture["num_parameters"] == history["num_parameters"] > 0


def test_the_configuration_holds_all_choices_and_another_seed_changes_the_beginning(finished):
    """`test_resume.py` repeats the run with the configuration."""
    job, run = finished
    options = tomllib.loads(RunLayout(run).config.read_text())
    chosen = {"frame": 1, "patience": 9, "learning_rate": 0.005, "validation_fraction": 0.1, "channels": "values"}
    chosen |= {
        "normalization": "dataset",
        "overlap": 0,
        "trajectory": 0,
        "kernels": 0,
        "pairs": 0,
        "decoder_units": 64,
        "decoder_layers": 1,
    }
    assert options == {**job.to_options(), **chosen}
    first, same, other = (initial_weights(TrainJob.from_options({**options, "seed": seed})) for seed in (0, 0, 1))
    assert first == same != other


def test_zero_epochs_write_an_untrained_model(eager_steps, job, tmp_path):
    layout = RunLayout(tmp_path / "run")
    summary = train(job(epochs=0), layout.root)
    assert summary.history["epochs"] == [] and summary.history["best_loss"] > 0
    assert any("untrained" in line for line in summary.lines())
    assert layout.contract.exists() and layout.encoder.exists()


def test_early_stopping_keeps_the_best_weights(job, tmp_path):
    stopped = train(job(epochs=30, patience=12, learning_rate=0.2), tmp_path / "stopped").history
    records, best = stopped["epochs"], stopped["best_epoch"]
    assert stopped["stopped_early"] and len(records) < 30
    assert records[-1]["step"] - records[best - 1]["step"] >= 12 > records[-2]["step"] - records[best - 1]["step"]
    assert min(records, key=lambda record: record["val_loss"])["epoch"] == best
    fit = fit_of(job(epochs=30), tmp_path)
    fit.network.autoencoder.set_weights(weights(tmp_path / "stopped"))
    kept = fit.loop.steps.evaluate(fit.loop.validation.epoch(0), "val_")
    assert kept["val_loss"] == pytest.approx(records[best - 1]["val_loss"], rel=1e-5)


def test_events_train_like_nested(eager_steps, job, tmp_path):
    task = "predict"
    columns = sequences(40, seed=2, shortest=2, longest=9)
    nested = write_sequences(tmp_path / "nested.parquet", columns)
    rows = [
        (name, step, x, y)
        for name, xs, ys in zip(columns["id"], columns["x"], columns["y"], strict=True)
        for step, (x, y) in enumerate(zip(xs, ys, strict=True))
    ]
    ids, steps, xs, ys = zip(*rows, strict=True)
    table = pa.table({"id": ids, "at": steps, "x": pa.array(xs, pa.float32()), "y": pa.array(ys, pa.float64())})
    pq.write_table(table, tmp_path / "events.parquet")
    train(job(inputs=[str(nested)], task=task, epochs=1), tmp_path / "a")
    events = job(inputs=[str(tmp_path / "events.parquet")], task=task, epochs=1, layout="events", time="at")
    train(events, tmp_path / "b")
    for mine, its in zip(weights(tmp_path / "a"), weights(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert not RunLayout(tmp_path / "a").decoder.exists(), "a task that only predicts has no decoder"


def test_tiny_data_with_a_constant_feature_trains_with_notes(eager_steps, job, tmp_path):
    columns = sequences(2, seed=0, shortest=2, longest=5)
    columns["y"] = [[0.1] * len(values) for values in columns["x"]]
    data = write_sequences(tmp_path / "two.parquet", columns)
    said = []
    summary = train(job(inputs=[str(data)]), tmp_path / "run", progress=PlainProgress(said.append))
    assert summary.history["monitored"] == "loss" and summary.history["best_val_loss"] is None
    assert np.isfinite(summary.history["best_loss"])
    assert any("the training loss is monitored" in line for line in said)
    assert "features that are constant and carry no information: y" in said


def test_nothing_is_held_out_if_all_ids_would_be(job, tmp_path):
    data = write_sequences(tmp_path / "few.parquet", sequences(3, seed=0, shortest=2, longest=5))
    files = resolve_inputs([str(data)])
    wanted = job(inputs=[str(data)], validation_fraction=0.999999)
    intake = take_in(files, detect_schema(files, features=("x", "y")), wanted)
    assert (intake.num_training, intake.num_validation, intake.validation_fraction) == (3, 0, 0.0)


def test_some_held_out_sequences_are_kept_beside_the_sample(eager_steps, job, tmp_path):
    layout = RunLayout(tmp_path / "run")
    train(job(epochs=0, validation_fraction=0.3), layout.root)
    (kept, schema), (sample, _) = read_sequences(layout.held_out), read_sequences(layout.sample)
    assert schema.feature_names == ("x", "y")
    assert kept.num_sequences + sample.num_sequences > 45 and kept.num_sequences > 5 and (kept.lengths > 0).all()
    assert not set(kept.ids.to_pylist()) & set(sample.ids.to_pylist())
    train(job(epochs=0, validation_fraction=0.0), layout.root, overwrite=True)
    assert not layout.held_out.exists()


@pytest.mark.parametrize(("task", "longest"), [("reconstruct", 0), ("predict", 1)])
def test_too_few_sequences_are_refused(job, tmp_path, task, longest):
    data = write_sequences(tmp_path / "short.parquet", sequences(9, seed=0, longest=longest))
    with pytest.raises(InputError, match=r"0 of 9 sequences have at least \d step\(s\); training needs two or more"):
        train(job(inputs=[str(data)], task=task), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_first_bad_row_is_named(job, tmp_path):
    columns = sequences(9, seed=0, shortest=2, longest=5)
    columns["x"][4][1] = INFINITE
    data = write_sequences(tmp_path / "bad.parquet", columns)
    with pytest.raises(BadRowError, match=r"bad.parquet: row 4 \(id 's4'\)"):
        train(job(inputs=[str(data)]), tmp_path / "run")


def test_binary_crossentropy_refuses_values_outside_0_to_1(job, tmp_path):
    with pytest.raises(
        InputError, match=r"feature '[xy]' holds .*; --loss binary_crossentropy expects values from 0 to 1"
    ):
        train(job(loss="binary_crossentropy"), tmp_path / "run")


def test_one_hot_steps_are_learned(tmp_path):
    rows = [list(range(n)) for n in (1, 2, 3, 4, 5) * 12]
    table = {f"f{k}": [[float(step == k) for step in row] for row in rows] for k in range(4)}
    pq.write_table(pa.table({"id": list(range(60)), **table}), tmp_path / "ones.parquet")
    options = {"inputs": [str(tmp_path / "ones.parquet")], "loss": "binary_crossentropy", "units": 16, "epochs": 20}
    options |= {"objective": "reconstruct", "embedding_dim": 64, "patience": 10, "bidirectional": False}
    history = train(TrainJob.from_options({**options, "learning_rate": 0.05}), tmp_path / "run").history
    assert history["best"]["val_binary_accuracy"] >= 0.99 > history["baseline"]["binary_accuracy"]
