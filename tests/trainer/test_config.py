"""Options validate themselves and change nothing, are resolved without open ends, and survive their flat names."""

from dataclasses import fields

import pytest
from model_testing import resolved

from seqembed.data.errors import UsageError
from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import ModelConfig, min_length
from seqembed.trainer.config.resolved import ResolvedJob, ResolvedModel, ResolvedTraining, resolve_model
from seqembed.trainer.config.training import TrainingConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "rnn"}, "--cell must be one of lstm, gru; was 'rnn'"),
        ({"units": 0}, "--units must be at least 1; was 0"),
        ({"overlap": 5_000}, "--overlap must be at most 512 steps; was 5,000"),
        ({"layers": 0}, "--layers"),
        ({"embedding_dim": 0}, "--embedding-dim"),
        ({"pooling": "sum"}, "--pooling"),
        ({"activation": "gelu"}, "--activation"),
        ({"decoder": "mlp"}, "--decoder"),
        ({"task": "classify"}, "--task"),
        ({"loss": "hinge"}, "--loss"),
        ({"reverse_target": True}, "--reverse-target works only with --decoder autoregressive"),
        ({"task": "predict", "decoder": "dense"}, "pass --task composite"),
        ({"decoder_units": 0}, "--decoder-units must be at least 1; was 0"),
        ({"decoder_layers": 0}, "--decoder-layers must be at least 1; was 0"),
        ({"decoder_layers": 10**20}, "--decoder-layers may be 64 at most; was 100,000"),
        ({"decoder_units": 200_000}, "--decoder-units may be 8,192 at most; was 200,000"),
        ({"units": 10**20}, "--units may be 8,192 at most"),
        ({"layers": 65}, "--layers may be 64 at most; was 65"),
        ({"objective": "contrast", "decoder_units": 64}, "--decoder-units has no effect .* pass --objective hybrid"),
        ({"objective": "contrast", "decoder_layers": 1}, "--decoder-layers has no effect .* pass --objective hybrid"),
        ({"task": "predict", "decoder_layers": 2}, "--decoder-layers has no effect .* pass --task composite"),
    ],
)
def test_invalid_model_options_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": -1}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"patience": 0}, "--patience"),
        ({"seed": -1}, "--seed"),
        ({"learning_rate": 0.0}, "--learning-rate must be a positive number; was 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"learning_rate": float("inf")}, "--learning-rate"),
        ({"validation_fraction": 1.0}, "--validation-fraction"),
        ({"validation_fraction": float("nan")}, "--validation-fraction"),
        ({"clip_norm": -1.0}, "--clip-norm"),
    ],
)
def test_invalid_training_options_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ()}, "no INPUT"),
        ({"layout": "wide"}, "--layout"),
        ({"truncate": "middle", "max_length": 3}, "--truncate"),
        ({"truncate": "head"}, "needs|without --max-length"),
        ({"max_length": 0}, "--max-length"),
    ],
)
def test_invalid_data_options_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        DataConfig(**{"inputs": ("a.parquet",), **changes})


def test_options_survive_a_round_trip():
    job = TrainJob(
        DataConfig(("a", "b"), features=("x", "y"), max_length=7, truncate="head", label="z"),
        ModelConfig(cell="gru", decoder="autoregressive", reverse_target=True, task="composite"),
        TrainingConfig(epochs=3, learning_rate=0.5, clip_norm=0.0),
    )
    options = job.to_options()
    assert options["features"] == ["x", "y"] and options["reverse_target"] is True
    assert "time" not in options, "TOML has no null: what is unset is left out"
    assert TrainJob.from_options(options) == job


def test_unset_options_take_their_default():
    assert TrainJob.from_options({"inputs": ["a"]}) == TrainJob(DataConfig(("a",)))


def test_what_was_given_stays_as_it_was_given():
    given = ModelConfig(task="predict")
    assert all(getattr(given, field.name) == field.default for field in fields(given) if field.name != "task")


def test_a_resolved_model_has_the_options_of_the_given_one_and_none_of_them_is_open():
    assert [field.name for field in fields(ResolvedModel)] == [field.name for field in fields(ModelConfig)]
    assert not any("None" in str(field.type) for each in (ResolvedModel, ResolvedTraining) for field in fields(each))


@pytest.mark.parametrize("measured_in", ["epochs", "steps"])
@pytest.mark.parametrize("patience", [0, 9])
@pytest.mark.parametrize(
    "options", [{}, {"objective": "contrast"}, {"task": "predict"}, {"embedding_dim": 3, "decoder": "dense"}]
)
def test_a_resolved_job_is_resolved_from_its_own_options_again(options, measured_in, patience):
    training = ResolvedTraining(measured_in, 5, 32, 0.1, patience, 0.0, 1.0, seed=3)
    job = ResolvedJob(DataConfig(("a",)), resolved(**options), training)
    given = TrainJob.from_options(job.to_options())
    assert given.to_options() == job.to_options()
    other = {"channels": "differences", "frame": 9, "overlap": 8, "trajectory": 7, "kernels": 0, "pairs": 5}
    assert resolve_model(given.model, events=True, **other) == job.model, "nothing is left to choose"


@pytest.mark.parametrize(
    ("task", "heads", "shortest"),
    [
        ("reconstruct", ("reconstruction",), 1),
        ("predict", ("prediction",), 2),
        ("composite", ("reconstruction", "prediction"), 1),
    ],
)
def test_a_task_determines_heads_and_minimum_length(task, heads, shortest):
    assert (resolved(task=task, objective="reconstruct").heads, min_length(task)) == (heads, shortest)


@pytest.mark.parametrize(
    ("changes", "units", "layers"),
    [
        ({}, 128, 1),
        ({"objective": "reconstruct"}, 64, 1),
        ({"objective": "reconstruct", "units": 2}, 64, 1),
        ({"objective": "reconstruct", "units": 200, "layers": 3}, 200, 1),
        ({"decoder": "repeat", "channels": "both"}, 64, 1),
        ({"decoder": "dense", "units": 2, "decoder_units": 7, "decoder_layers": 2}, 7, 2),
        ({"task": "predict", "units": 20}, 64, 0),
        ({"objective": "contrast"}, 0, 0),
    ],
)
def test_decoder_size_is_independent_of_the_encoder(changes, units, layers):
    model = resolved(**{"channels": "values", **changes})
    assert (model.decoder_units, model.decoder_layers) == (units, layers)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"units": 10}, ("reconstruct", "repeat", 64, "sequence")),
        ({"decoder_units": 9}, ("reconstruct", "repeat", 9, "sequence")),
        ({"objective": "hybrid"}, ("hybrid", "positional", 128, "sequence")),
        ({"objective": "reconstruct"}, ("reconstruct", "repeat", 64, "dataset")),
        ({"task": "composite"}, ("reconstruct", "repeat", 64, "dataset")),
    ],
)
def test_events_are_reconstructed_with_its_default_decoder(options, expected):
    model = resolve_model(
        ModelConfig(**options), events=True, channels="values", frame=1, overlap=0, trajectory=0, kernels=0, pairs=0
    )
    assert (model.objective, model.decoder, model.decoder_units, model.normalization) == expected
