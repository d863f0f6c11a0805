"""A model that learned nothing is detected, reported, and restarted if that is cheap."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_testing import resolved
from quick_graphs import untraced_steps

from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.data.layout import RunLayout
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.checkpoint import TrainingState
from seqembed.trainer.fit.health import Health, advice, examine, is_cheap
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.job import train
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.output.summary import TrainSummary
from seqembed.trainer.prepare import Prepared

RECONSTRUCT = resolved(objective="reconstruct", units=4, pooling="last", bidirectional=False)
BLOCKS = (EmbeddingBlock("values", 4, 1.0, 1.0), EmbeddingBlock("statistics", 2, 1.0, 1.0))
VARIED = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def still(*dimensions, value=0.0):
    """Return embeddings that are constant in `dimensions`."""
    embeddings = VARIED.copy()
    embeddings[:, list(dimensions)] = value
    return embeddings


def found(embeddings=VARIED, best=None, config=RECONSTRUCT, held_out=1.0, **options):
    best = {"loss": 0.1, "val_loss": 0.1} if best is None else best
    baselines = {"": {"loss": 1.0, "contrast_loss": 2.0}, "val_": {"loss": held_out, "contrast_loss": 1.5}}
    return examine(config, embeddings, BLOCKS, best, baselines, **{"trained": True, **options})


@pytest.mark.parametrize(
    ("embeddings", "best", "problem"),
    [
        (VARIED, {"loss": 0.1, "val_loss": 0.1}, None),
        (VARIED, {"loss": 0.94, "val_loss": 0.94}, None),
        (VARIED, {"loss": 0.96, "val_loss": 0.99}, "mean"),
        (VARIED, {"loss": 0.96}, "mean"),
        (VARIED, {"loss": 0.2, "val_loss": 1.3}, "overfitting"),
        (still(0, 1, 2, 3), {"loss": 0.2}, "constant"),
        (still(0, 1, 2, 3, value=7.7), {"loss": 0.2}, "constant"),
        (still(2), {"loss": 0.2}, "dead units"),
        (still(4, 5), {"loss": 0.2}, None),  # statistics that all share are none of the network's doing
    ],
)
def test_each_problem_is_recognised(embeddings, best, problem):
    health = found(embeddings, best)
    assert health.problem == problem
    lines = advice(health, RECONSTRUCT, 2_000)
    assert bool(lines) == (problem is not None) and all(line.startswith(("WARNING: ", "Try ")) for line in lines)


def test_rounding_differences_count_as_constant():
    embeddings = still(0, 1, 2, 3, value=1.0)
    embeddings[::2, :4] = np.nextafter(np.float32(1), np.float32(2))
    assert found(embeddings).constant_dimensions == 4


def test_a_few_dead_units_are_counted_but_not_a_problem():
    wide = np.random.default_rng(1).normal(size=(50, 100)).astype(np.float32)
    wide[:, :24] = 0
    blocks = (EmbeddingBlock("steps", 100, 1.0, 1.0),)
    health = examine(RECONSTRUCT, wide, blocks, {"loss": 0.1}, {"": {"loss": 1.0}}, trained=True)
    assert (health.problem, health.constant_dimensions, health.learned_dimensions) == (None, 24, 100)


def test_contrastive_objectives_are_judged_by_the_contrastive_loss_only():
    hybrid = resolved(objective="hybrid", units=4)
    best = {"loss": 2.3, "contrast_loss": 0.4, "reconstruction_loss": 1.9}
    assert found(best=best, config=hybrid).problem is None
    alike = {"loss": 2.9, "contrast_loss": 1.99, "reconstruction_loss": 0.9}
    assert found(best=alike, config=hybrid).problem == "mean"


def test_each_loss_is_compared_with_its_own_baseline():
    """Held-out batches of few sequences have a lower contrastive baseline; held-out values may vary less."""
    contrast = resolved(objective="contrast", units=4)
    baselines = {"": {"loss": 8.3}, "val_": {"loss": 4.4}}
    health = examine(contrast, VARIED, BLOCKS, {"loss": 7.8, "val_loss": 3.7}, baselines, trained=True)
    assert (health.problem, health.loss_over_mean) == (None, pytest.approx(3.7 / 4.4))
    assert found(best={"loss": 0.05, "val_loss": 0.001}, held_out=0.04).problem is None
    assert found(best={"loss": 0.05, "val_loss": 0.04}, held_out=0.04).problem == "overfitting"


def test_data_without_anything_to_learn_is_told_from_a_dead_model():
    nothing = examine(RECONSTRUCT, still(0, 1, 2, 3), BLOCKS, {"loss": 0.0}, {"": {"loss": 0.0}}, trained=True)
    assert (nothing.problem, nothing.worth_a_restart(2_000)) == ("constant", False)
    assert "features are constant or missing everywhere" in advice(nothing, RECONSTRUCT, 2_000)[0]


def test_an_untrained_model_has_no_loss_to_judge():
    health = examine(RECONSTRUCT, VARIED, BLOCKS, {"loss": 1.2}, {}, trained=False)
    assert (health.problem, health.loss_over_mean) == (None, None)


def test_advice_depends_on_the_model():
    mean = found(best={"loss": 1.0})
    relu = resolved(objective="reconstruct", activation="relu", units=2)
    assert "--activation tanh" in advice(mean, relu, 2_000)[1] and "--activation" not in advice(mean, RECONSTRUCT, 1)[1]
    assert "more --steps (this training took 30 batches)" in advice(mean, RECONSTRUCT, 30)[1]
    assert "--steps" not in advice(mean, RECONSTRUCT, 2_000)[1]
    assert "--decoder-units" not in advice(mean, resolved(task="predict"), 2_000)[1]
    contrast = resolved(objective="contrast", units=4)
    assert "hardly below that of chance" in advice(found(best={"loss": 1.0}, config=contrast), contrast, 2_000)[0]
    assert "--validation-fraction" in advice(found(best={"loss": 0.1, "val_loss": 1.0}), RECONSTRUCT, 2_000)[1]


def test_only_small_trainings_are_cheap_to_restart():
    assert is_cheap(num_steps_read=2_000 * 32 * 15, num_parameters=80_000)
    assert not is_cheap(num_steps_read=10_000 * 64 * 100, num_parameters=80_000)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Return a job of forty rising lines, whose relu encoder is dead from the start with its first weights."""
    values = [[0.1 * start + 0.1 * step for step in range(4 + start % 5)] for start in range(40)]
    data = tmp_path_factory.mktemp("ramps") / "ramps.parquet"
    pq.write_table(pa.table({"id": range(40), "x": values}), data)
    options = {"objective": "reconstruct", "units": 2, "activation": "relu", "bidirectional": False, "pooling": "last"}
    options |= {"decoder_units": 16, "epochs": 2, "batch_size": 20, "learning_rate": 0.05}  # a pass is two batches
    return TrainJob.from_options({"inputs": [str(data)], **options})


class Notes(Progress):
    """Records notes; may end the training at an epoch."""

    def __init__(self, die_at=None):
        self.notes, self.left = [], die_at

    def note(self, text):
        self.notes.append(text)

    def epoch_ends(self, record, best):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise InterruptedError


def let_all_units_die(network):
    """Assign weights with which all relu units of the encoder are dead."""
    for variable in network.encoder.trainable_variables:
        variable.assign(-10 * np.ones(variable.shape) if "bias" in variable.path else np.zeros(variable.shape))


@contextmanager
def dead_at_first():
    """Give every training initial weights with which all relu units are dead."""
    begin = TrainingState.__init__

    def with_dead_units(self, network, *rest):
        let_all_units_die(network)
        begin(self, network, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "__init__", with_dead_units)
        yield


def num_restarts_of(run):
    """Return the number of restarts up to the newest checkpoint of an unfinished run."""
    newest = tf.train.latest_checkpoint(str(RunLayout(run).checkpoints))
    return int(tf.train.load_variable(newest, "counters/.ATTRIBUTES/VARIABLE_VALUE")[3])


def weights(run):
    return [np.asarray(weight) for weight in keras.models.load_model(RunLayout(run).autoencoder).weights]


@pytest.fixture(scope="module")
def restarted(ramps, tmp_path_factory):
    """Return the run directory, the summary and the notes of a training that was restarted, uninterrupted."""
    run, said = tmp_path_factory.mktemp("restarted") / "run", Notes()
    with dead_at_first(), untraced_steps():
        return run, train(ramps, run, progress=said), said.notes


@pytest.fixture(scope="module")
def alone(ramps, tmp_path_factory):
    """Return the run directory of a sound training."""
    run = tmp_path_factory.mktemp("alone") / "run"
    with untraced_steps():
        train(ramps, run)
    return run


def test_a_dead_model_is_restarted_and_reported(restarted):
    run, summary, notes = restarted
    history = json.loads(RunLayout(run).history.read_text())
    assert history["num_restarts"] == 1 and history["discarded_attempt"]["health"]["problem"] in ("mean", "constant")
    assert history["health"]["problem"] != "constant" and history["health"]["constant_dimensions"] < 2
    assert len(history["discarded_attempt"]["epochs"]) <= len(history["epochs"]) == 2
    assert history["epochs"][0]["step"] == 2 and history["num_steps"] == 4
    assert any("training is repeated with other initial weights" in note for note in notes)
    assert any("was repeated with other initial weights" in line for line in summary.lines())


def test_a_restarted_training_resumes_to_the_same_weights(eager_steps, ramps, tmp_path, restarted):
    with dead_at_first():
        for die_at, num_restarts in ((1, 0), (2, 1)):  # a record of the first attempt, then its other one and 1 more
            with pytest.raises(InterruptedError):
                train(ramps, tmp_path / "killed", resume=True, progress=Notes(die_at))
            assert num_restarts_of(tmp_path / "killed") == num_restarts
        summary = train(ramps, tmp_path / "killed", resume=True)
    assert summary.history["num_restarts"] == 1
    for mine, its in zip(weights(tmp_path / "killed"), weights(restarted[0]), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("die_at", [None, 3], ids=["uninterrupted", "killed in the second attempt"])
def test_the_better_attempt_is_kept(eager_steps, ramps, alone, tmp_path, monkeypatch, die_at):
    """The first attempt is sound here, and the second starts from dead weights."""
    monkeypatch.setattr(Health, "worth_a_restart", lambda self, num_batches: True)
    build, dead = Prepared.build, iter((False, True, False, False, True, False))

    def dead_at_second(self, **options):
        network = build(self, **options)
        if next(dead):
            let_all_units_die(network)
        return network

    monkeypatch.setattr(Prepared, "build", dead_at_second)
    if die_at:
        with pytest.raises(InterruptedError):
            train(ramps, tmp_path / "run", progress=Notes(die_at))
    history = train(ramps, tmp_path / "run", resume=True).history
    first = json.loads(RunLayout(alone).history.read_text())
    assert history["num_restarts"] == 1 and history["best_loss"] == first["best_loss"]
    assert [record["loss"] for record in history["epochs"]] == [record["loss"] for record in first["epochs"]]
    assert history["discarded_attempt"]["health"]["problem"] in ("mean", "constant")
    for mine, its in zip(weights(tmp_path / "run"), weights(alone), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_model_that_learned_nothing_warns_but_does_not_fail(eager_steps, tmp_path):
    values = [[1.0, 1.0, 1.0]] * 20  # nothing differs: every sequence gets the same vector
    pq.write_table(pa.table({"id": range(20), "x": values}), tmp_path / "same.parquet")
    options = {"inputs": [str(tmp_path / "same.parquet")], "objective": "reconstruct", "units": 4, "steps": 2}
    options |= {"bidirectional": False, "decoder_units": 4}
    summary = train(TrainJob.from_options(options), tmp_path / "run")
    assert summary.history["health"]["problem"] == "constant" and summary.history["num_restarts"] == 0
    assert any(line.startswith("WARNING: all sequences get the same vector") for line in summary.lines())
    assert RunLayout(tmp_path / "run").contract.exists()


def test_a_short_training_without_improvement_is_not_restarted():
    mean = found(best={"loss": 1.0})
    assert not mean.worth_a_restart(99) and mean.worth_a_restart(100)
    assert found(still(0, 1, 2, 3)).worth_a_restart(1) and not found().worth_a_restart(2_000)
    assert not found(best={"loss": 0.1, "val_loss": 1.0}).worth_a_restart(2_000), "overfitting needs other options"


def summary_of(**changes):
    records = [{"epoch": epoch, "step": 10 * epoch, "loss": loss} for epoch, loss in enumerate((0.9, 0.5, 0.6), 1)]
    history = {"epochs": records, "monitored": "loss", "best_epoch": 3, "best_loss": 0.6, "best": {"loss": 0.6}}
    history |= {
        "baseline": {"loss": 1.0},
        "health": {"loss_over_mean": 0.6, "problem": None},
        "num_restarts": 0,
        "num_steps": 30,
    }
    history |= {
        "stopped_early": False,
        "contrast_chance": None,
        "patience": None,
        "measured_in": "steps",
        "num_parameters": 5,
    }
    history |= {"seconds": 1.0, "rows_per_second": 1.0, "discarded_attempt": None, **changes}
    return " ".join(" ".join(TrainSummary(RunLayout(Path("run")), history, "mse").lines()).split())


def test_the_summary_says_what_may_help():
    text = summary_of()
    assert "loss was 0.5000 after 20 batches, and the last weights are kept" in text and "with --steps 20" in text
    assert "For a closer reconstruction: more --units, more --decoder-units" in text
    good = summary_of(patience=10, best_epoch=2, best_loss=0.05, health={"loss_over_mean": 0.05, "problem": None})
    assert "the last weights are kept" not in good and "For a closer reconstruction" not in good
    assert "the best weights are those after 20" in good
    assert "For a closer" not in summary_of(contrast_chance=0.1, best={"loss": 0.6, "contrast_accuracy": 0.5})
