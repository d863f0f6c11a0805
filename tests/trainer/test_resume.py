"""A training that was killed anywhere and resumed ends with the same weights as an uninterrupted one."""

import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick_graphs import optimised_graphs, untraced_steps

from seqembed.data.errors import BundleError, InputError, OutputError, UsageError
from seqembed.data.layout import RunLayout
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.checkpoint import Checkpoints
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.job import train
from seqembed.trainer.model.backend import keras
from seqembed_testing import sequences, user_environment, write_sequences


@pytest.fixture(scope="module", autouse=True)
def as_users_run() -> Iterator[None]:
    """Optimise graphs as the process does that is killed: else the last bits of weights differ."""
    with optimised_graphs():
        yield


class Killed(Exception):
    """Simulates the end of a process."""


class KillAtBatch(Progress):
    """Ends the training after a number of batches."""

    def __init__(self, num_batches):
        self.left = num_batches

    def batch_ends(self, num_rows, loss):
        self.left -= 1
        if not self.left:
            raise Killed


def weights(run):
    return [np.asarray(weight) for weight in keras.models.load_model(RunLayout(run).autoencoder).weights]


def figures(run):
    history = json.loads(RunLayout(run).history.read_text())
    return [{name: value for name, value in record.items() if "rows" not in name} for record in history["epochs"]]


def same_run(run, other):
    assert figures(run) == figures(other)
    for mine, its in zip(weights(run), weights(other), strict=True):
        np.testing.assert_array_equal(mine, its)


@contextmanager
def three_records():
    """Train with at most three records, and without tracing the steps."""
    with pytest.MonkeyPatch.context() as patch, untraced_steps():
        patch.setattr("seqembed.trainer.fit.loop.NUM_INTERVALS", 3)
        yield


@pytest.fixture(scope="module")
def in_steps(payments, tmp_path_factory):
    """Return a job for 6 steps, two a record, that compares views of numbers and categories, and its complete run."""
    options = {"features": ["amount", "paid"], "objective": "contrast", "channels": "values", "layout": "nested"}
    options |= {"units": 3, "bidirectional": False, "frame": 2, "kernels": 8, "pairs": 0, "batch_size": 8, "steps": 6}
    options |= {"validation_fraction": 0.1, "patience": 300}
    job = TrainJob.from_options({"inputs": [str(payments)], **options})
    run = tmp_path_factory.mktemp("in_steps") / "uninterrupted"
    with three_records():
        train(job, run)
    return job, run


def test_resumed_equals_uninterrupted_in_steps(in_steps, tmp_path):
    """Killed within an interval and a pass over the data, and between the last batch of an interval and its record."""
    job, uninterrupted = in_steps
    run, save = tmp_path / "killed", Checkpoints.save

    def save_and_die(self, state):
        save(self, state)
        if (state.epochs_done, state.batches_done) == (2, 2):  # records written, batches since
            raise Killed

    with three_records():
        for progress in (KillAtBatch(3), None):
            with pytest.raises(Killed), pytest.MonkeyPatch.context() as patch:
                patch.setattr(Checkpoints, "save", save_and_die)
                train(job, run, resume=True, progress=progress, checkpoint_seconds=0.0)
        assert not RunLayout(run).contract.exists()
        train(job, run, resume=True)
    assert [record["step"] for record in figures(run)] == [2, 4, 6]
    same_run(run, uninterrupted)


def test_more_steps_continue_the_training_and_its_records(in_steps, tmp_path):
    job, uninterrupted = in_steps
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    with three_records():
        summary = train(changed(job, steps=10), run, resume=True)
    assert figures(run)[:3] == figures(uninterrupted)
    assert [record["step"] for record in figures(run)[3:]] == [8, 10], "at most three records of four steps"
    assert "Pass more --steps to continue" in replace(summary, already_finished=True).lines()[0]


def test_resumed_equals_uninterrupted(finished, tmp_path):
    """Killed by SIGKILL within its first epoch, and started with the configuration that the uninterrupted run wrote.

    The process has as many threads as a user's. `test_health.py` kills trainings after epochs.
    """
    uninterrupted = finished[1]
    options = tomllib.loads(RunLayout(uninterrupted).config.read_text())
    script = (
        "import json, sys; from pathlib import Path\n"
        "from seqembed.trainer.config.job import TrainJob; from seqembed.trainer.job import train\n"
        "train(TrainJob.from_options(json.loads(sys.argv[1])), Path(sys.argv[2]), checkpoint_seconds=0.0)"
    )
    killed = RunLayout(tmp_path / "killed")
    words = [sys.executable, "-c", script, json.dumps(options), str(killed.root)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2], env=user_environment())
    while not (killed.checkpoints / "ckpt-3.index").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not killed.contract.exists()
    train(TrainJob.from_options(options), killed.root, resume=True)
    same_run(killed.root, uninterrupted)


@pytest.fixture
def again(finished, tmp_path):
    """Return a finished job and a copy of its run directory."""
    job, run = finished
    return job, RunLayout(Path(shutil.copytree(run, tmp_path / "run")))


def changed(job, **options):
    return TrainJob.from_options({**job.to_options(), **options})


def test_resuming_a_finished_run_changes_nothing(again):
    job, layout = again
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}
    summary = train(job, layout.root, resume=True)
    assert summary.already_finished and "is already finished; nothing was done" in summary.lines()[0]
    assert {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()} == before


def test_more_epochs_continue_from_the_latest_weights(eager_steps, again):
    job, layout = again
    first = figures(layout.root)
    train(changed(job, epochs=4), layout.root, resume=True)
    grown = figures(layout.root)
    assert grown[:3] == first and [record["epoch"] for record in grown] == [1, 2, 3, 4]
    assert [record["step"] for record in grown] == [6, 12, 18, 24]
    assert grown[3]["loss"] < first[1]["loss"] < first[0]["loss"]


def test_a_training_killed_while_writing_outputs_is_completed(again, finished):
    job, layout = again
    layout.contract.unlink()
    layout.autoencoder.unlink()
    assert not train(job, layout.root, resume=True).already_finished
    assert layout.contract.exists()
    same_run(layout.root, finished[1])


def test_changed_options_or_data_are_refused_by_name(again, tmp_path):
    job, layout = again
    with pytest.raises(UsageError, match=r"learning_rate was 0.005 and is now 0.1; units was 4 and is now 5\. Pass"):
        train(changed(job, units=5, learning_rate=0.1), layout.root, resume=True)
    other = write_sequences(tmp_path / "other.parquet", sequences(60, seed=9, longest=9))
    with pytest.raises(UsageError, match="differently: data was '[0-9a-f]{64}' and is now"):
        train(changed(job, inputs=[str(other)]), layout.root, resume=True)
    assert layout.contract.exists()


def test_a_run_is_replaced_only_with_overwrite(again):
    job, layout = again
    with pytest.raises(OutputError, match=r"already holds a run. Pass --resume .* --overwrite .* another --out"):
        train(job, layout.root)
    (layout.root / "notes.txt").write_text("mine")
    train(changed(job, embedding_dim=3, epochs=0), layout.root, overwrite=True)
    assert (layout.root / "notes.txt").read_text() == "mine"
    assert keras.models.load_model(layout.encoder).output_shape == (None, 3)
    assert figures(layout.root) == []


def test_an_input_error_leaves_the_old_run(again, finished, tmp_path):
    job, layout = again
    empty = write_sequences(tmp_path / "empty.parquet", sequences(60, seed=0, longest=0))
    with pytest.raises(InputError, match="training needs two or more"):
        train(changed(job, inputs=[str(empty)]), layout.root, overwrite=True)
    same_run(layout.root, finished[1])


def test_a_finished_run_without_checkpoints_is_not_silently_replaced(again):
    job, layout = again
    shutil.rmtree(layout.checkpoints)
    with pytest.raises(OutputError, match="nothing to resume"):
        train(job, layout.root, resume=True)


def test_a_damaged_checkpoint_is_reported(again):
    job, layout = again
    for path in layout.checkpoints.glob("*.data*"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError, match="the checkpoint cannot be read"):
        train(job, layout.root, resume=True)
