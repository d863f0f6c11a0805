"""Options validate themselves, and survive conversion to flat names and back."""

import pytest

from seqembed.data.errors import UsageError
from seqembed.trainer.config.training import DataConfig, ModelConfig, TrainingConfig, TrainJob


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


@pytest.mark.parametrize(
    ("task", "heads", "min_length"),
    [
        ("reconstruct", ("reconstruction",), 1),
        ("predict", ("prediction",), 2),
        ("composite", ("reconstruction", "prediction"), 1),
    ],
)
def test_a_task_determines_heads_and_minimum_length(task, heads, min_length):
    config = ModelConfig(task=task, objective="reconstruct")
    assert (config.heads, config.min_length) == (heads, min_length)


@pytest.mark.parametrize(
    ("changes", "units", "layers"),
    [
        ({}, 128, 1),
        ({"objective": "reconstruct"}, 64, 1),
        ({"objective": "reconstruct", "units": 2}, 64, 1),
        ({"objective": "reconstruct", "units": 200, "layers": 3}, 200, 1),
        ({"decoder": "repeat", "channels": "both"}, 64, 1),
        ({"decoder": "dense", "units": 2, "decoder_units": 7, "decoder_layers": 2}, 7, 2),
        ({"task": "predict", "units": 20}, 64, None),
        ({"objective": "contrast"}, None, None),
    ],
)
def test_decoder_size_is_independent_of_the_encoder(changes, units, layers):
    config = ModelConfig(**{"channels": "values", **changes})
    assert (config.decoder_units, config.decoder_layers) == (units, layers)
    job = TrainJob(DataConfig(("a",)), config)
    assert TrainJob.from_options(job.to_options()).model == config


def test_events_use_the_default_decoder_of_reconstruct():
    job = TrainJob.from_options({"inputs": ["a"], "units": 10}).for_events()
    assert (job.model.decoder, job.model.decoder_units) == ("repeat", 64)
    typed = TrainJob.from_options({"inputs": ["a"], "decoder_units": 9}).for_events()
    assert (typed.model.decoder, typed.model.decoder_units) == ("repeat", 9)
