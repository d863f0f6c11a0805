"""Options check themselves, and go to flat names and back."""

import pytest

from seqembed.data.errors import UsageError
from seqembed.trainer.config import DataConfig, ModelConfig, TrainingConfig, TrainJob


@pytest.mark.parametrize(
    ("changes", "told"),
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
        ({"task": "predict", "decoder": "dense"}, "choose --task composite"),
        ({"decoder_units": 0}, "--decoder-units must be at least 1; was 0"),
        ({"decoder_layers": 0}, "--decoder-layers must be at least 1; was 0"),
        ({"objective": "contrast", "decoder_units": 64}, "--decoder-units has no effect .* pass --objective hybrid"),
        ({"objective": "contrast", "decoder_layers": 1}, "--decoder-layers has no effect .* pass --objective hybrid"),
        ({"task": "predict", "decoder_layers": 2}, "--decoder-layers has no effect .* pass --task composite"),
    ],
)
def test_an_impossible_model_is_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        ModelConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "told"),
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
def test_an_impossible_training_is_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        TrainingConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs": ()}, "no INPUT"),
        ({"layout": "wide"}, "--layout"),
        ({"truncate": "middle", "max_length": 3}, "--truncate"),
        ({"truncate": "head"}, "needs|without --max-length"),
        ({"max_length": 0}, "--max-length"),
    ],
)
def test_impossible_data_options_are_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        DataConfig(**{"inputs": ("a.parquet",), **changes})


def test_flat_options_and_back():
    job = TrainJob(
        DataConfig(("a", "b"), features=("x", "y"), max_length=7, truncate="head", label="z"),
        ModelConfig(cell="gru", decoder="autoregressive", reverse_target=True, task="composite"),
        TrainingConfig(epochs=3, learning_rate=0.5, clip_norm=0.0),
    )
    options = job.to_options()
    assert options["features"] == ["x", "y"] and options["reverse_target"] is True
    assert "time" not in options, "TOML has no null: what is unset is left out"
    assert TrainJob.from_options(options) == job


def test_what_is_not_said_takes_its_default():
    assert TrainJob.from_options({"inputs": ["a"]}) == TrainJob(DataConfig(("a",)))


@pytest.mark.parametrize(
    ("task", "heads", "min_length"),
    [
        ("reconstruct", ("reconstruction",), 1),
        ("predict", ("prediction",), 2),
        ("composite", ("reconstruction", "prediction"), 1),
    ],
)
def test_a_task_knows_its_heads_and_what_it_can_learn_from(task, heads, min_length):
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
def test_a_decoder_has_a_size_of_its_own(changes, units, layers):
    config = ModelConfig(**{"channels": "values", **changes})
    assert (config.decoder_units, config.decoder_layers) == (units, layers)
    job = TrainJob(DataConfig(("a",)), config)
    assert TrainJob.from_options(job.to_options()).model == config


def test_events_get_the_decoder_of_a_reconstruction():
    job = TrainJob.from_options({"inputs": ["a"], "units": 10}).for_events()
    assert (job.model.decoder, job.model.decoder_units) == ("repeat", 64)
    typed = TrainJob.from_options({"inputs": ["a"], "decoder_units": 9}).for_events()
    assert (typed.model.decoder, typed.model.decoder_units) == ("repeat", 9)
