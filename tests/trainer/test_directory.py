"""A run directory keeps its old run until the new one is complete, and never loses a user's file."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqembed.data.errors import BundleError, OutputError, QualityGateError
from seqembed.data.layout import CONFIG_HEADER, PLOT_NAMES, RunLayout
from seqembed.data.lock import LOCK, hold_lock
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.job import train
from seqembed.trainer.output.directory import RunDirectory
from seqembed_testing import seqembed

pytestmark = pytest.mark.usefixtures("eager_steps")
ROOT = Path(__file__).parents[2]


class Killed(Exception):
    """Simulates the end of a process."""


class KillAtEpoch(Progress):
    """Ends the training after its first epoch."""

    def epoch_ends(self, record, best):
        raise Killed


@pytest.fixture
def again(finished, tmp_path):
    """Return a finished job and a copy of its run directory."""
    job, run = finished
    return job, RunLayout(Path(shutil.copytree(run, tmp_path / "run")))


def changed(job, **options):
    return TrainJob.from_options({**job.to_options(), **options})


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def embedding_dim(layout):
    return json.loads(layout.contract.read_text())["embedding_dim"]


@pytest.fixture(scope="module")
def interrupted(finished, tmp_path_factory):
    """Return a run directory with the files of an interrupted overwrite, and the job of the overwrite."""
    job, run = finished
    other = changed(job, embedding_dim=3, decoder="positional", reverse_target=False, epochs=2, batch_size=64)
    root = Path(shutil.copytree(run, tmp_path_factory.mktemp("interrupted") / "run"))
    with pytest.raises(Killed):
        train(other, root, overwrite=True, progress=KillAtEpoch())
    return other, root


def test_an_interrupted_overwrite_leaves_the_old_run_and_can_be_resumed(finished, interrupted, tmp_path):
    (other, root), before = interrupted, contents(finished[1])
    layout = RunLayout(Path(shutil.copytree(root, tmp_path / "run")))
    left = contents(layout.root)
    assert {name: left[name] for name in before} == before, "the old run is complete"
    assert any(name.startswith(".seqembed-replacement/checkpoints/ckpt-") for name in left)
    with pytest.raises(OutputError, match="already holds a run.* --resume continues the interrupted --overwrite"):
        train(other, layout.root)
    train(other, layout.root, resume=True)
    assert embedding_dim(layout) == 3
    assert not [name for name in contents(layout.root) if name.startswith(".")]
    assert json.loads(layout.history.read_text())["epochs"][0]["epoch"] == 1


def test_overwrite_removes_the_files_of_an_interrupted_overwrite(finished, interrupted, tmp_path):
    layout = RunLayout(Path(shutil.copytree(interrupted[1], tmp_path / "run")))
    train(changed(finished[0], embedding_dim=4, epochs=0), layout.root, overwrite=True)
    assert embedding_dim(layout) == 4
    names = contents(layout.root)
    assert not [name for name in names if name.startswith(".")]
    checkpoints = [name for name in names if name.startswith("checkpoints/ckpt-") and name.endswith(".index")]
    assert checkpoints == ["checkpoints/ckpt-1.index"], "those of the old run's three epochs are gone"


def test_a_failed_overwrite_leaves_the_old_run(again):
    job, layout = again
    before = contents(layout.root)
    diverging = changed(job, learning_rate=1e18, activation="relu", clip_norm=0.0, cell="gru", epochs=50)
    with pytest.raises(QualityGateError):
        train(diverging, layout.root, overwrite=True)
    left = contents(layout.root)
    assert {name: left[name] for name in before} == before


def test_user_files_stay_and_outdated_outputs_are_removed(again):
    job, layout = again
    mine = {layout.root / "notes.txt", layout.plots / "mine.png", layout.checkpoints / "best-of-mine.h5"}
    for path in mine:
        path.write_text("mine")
    job = changed(job, epochs=0, task="predict", decoder="repeat", decoder_layers=None, reverse_target=False)
    train(job, layout.root, overwrite=True)
    assert all(path.read_text() == "mine" for path in mine)
    assert not layout.decoder.exists(), "a task that only predicts has no decoder"
    assert not (layout.plots / "losses.png").exists(), "without epochs there is no picture of losses"


def train_and_die(job, root, died_after, **options):
    """Train, and die after some files were moved into the run directory."""
    replace, moved = Path.replace, []

    def replace_and_die(self, target):
        if Path(target).is_relative_to(root) and ".seqembed-replacement" not in str(target):
            moved.append(target)
            if len(moved) > died_after:
                raise Killed
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", replace_and_die)
        train(job, root, **options)


@pytest.fixture(scope="module")
def complete_replacement(finished, tmp_path_factory):
    """Return a run directory whose replacement was killed before its first file was moved, and the job of it."""
    job, run = finished
    other = changed(job, embedding_dim=3, decoder="positional", reverse_target=False, epochs=1, batch_size=64)
    root = Path(shutil.copytree(run, tmp_path_factory.mktemp("replacement") / "run"))
    train_and_die(other, root, 0, overwrite=True)
    return other, root


@pytest.mark.parametrize("died_after", (0, 1, 4, 11))
def test_a_replacement_killed_while_files_move_is_finished_by_the_next_training(
    complete_replacement, tmp_path, died_after
):
    """The result is the old run, the new one, or an unfinished one, never a mixture that counts as finished."""
    other, root = complete_replacement
    layout = RunLayout(Path(shutil.copytree(root, tmp_path / "run")))
    if died_after:
        train_and_die(other, layout.root, died_after)
    assert not layout.contract.exists()
    with pytest.raises(OutputError, match="already holds a run"):
        train(other, layout.root)
    assert embedding_dim(layout) == 3 and not [name for name in contents(layout.root) if name.startswith(".")]
    assert train(other, layout.root, resume=True).already_finished


@pytest.mark.parametrize("flags", [{}, {"overwrite": True}, {"resume": True}], ids=str)
@pytest.mark.parametrize(
    "name", ["config.toml", "history.json", "report.html", "plots/losses.png", "checkpoints/checkpoint"]
)
def test_files_not_written_by_seqembed_are_never_replaced(job, tmp_path, name, flags):
    theirs = tmp_path / "run" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(OutputError, match=name):
        train(job(), tmp_path / "run", **flags)
    assert contents(tmp_path / "run") == {name: b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_plots_of_the_user_without_a_run_are_kept(job, tmp_path, with_pictures, overwrite):
    theirs = tmp_path / "run" / "plots" / "mine.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    train(job(epochs=0, task="predict"), tmp_path / "run", overwrite=overwrite)
    assert theirs.read_text() == "mine"
    drawn = {*PLOT_NAMES} - {"losses.png", "reconstructions.png"}  # untrained, without a decoder
    assert {path.name for path in theirs.parent.iterdir()} == {"mine.png", *drawn}


def test_a_second_training_into_a_directory_is_refused_and_names_the_first(data, again):
    _, layout = again
    with hold_lock(layout.root):
        result = seqembed("train", data, "--out", layout.root, "--overwrite")
    assert result.exit_code == 6, result.output
    assert "another run is writing here (process" in result.output
    assert not (layout.root / LOCK).exists()


def test_sigterm_stops_a_training_and_leaves_the_old_run(again):
    job, layout = again
    before = contents(layout.root)
    words = ["train", *job.data.inputs, "--out", str(layout.root), "--overwrite", "--epochs", "100000", "--patience"]
    words += ["100000", "--objective", "reconstruct", "--features", "x,y", "--units", "4", "--progress", "none"]
    words += ["--forward-only", "--decoder", "positional"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from seqembed.runner.cli import main; main({words!r})"], cwd=ROOT
    )
    staged = layout.root / ".seqembed-replacement" / "checkpoints"
    while not list(staged.glob("ckpt-[3-9]*.index")):
        assert process.poll() is None
        time.sleep(0.02)
    second = seqembed("train", *job.data.inputs, "--out", layout.root, "--overwrite")
    assert (second.exit_code, "another run is writing here" in second.output) == (6, True)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    left = contents(layout.root)
    assert {name: left[name] for name in before} == before and LOCK not in left


def test_a_created_directory_that_stays_empty_is_removed(tmp_path):
    directory = RunDirectory(tmp_path / "a" / "b")
    with pytest.raises(Killed), directory.hold():
        assert (tmp_path / "a" / "b").is_dir()
        raise Killed
    assert not (tmp_path / "a").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    path.write_bytes(b"\xff\x00 garbage {" * 20)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, garble, empty, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("pattern", ["*.data*", "*.index", "checkpoint"])
def test_damaged_checkpoints_are_reported_with_a_remedy(again, damage, pattern):
    job, layout = again
    layout.contract.unlink()  # as after a kill: nothing may start from scratch without a word
    for path in layout.checkpoints.glob(pattern):
        damage(path)
    if pattern == "checkpoint" and damage is Path.unlink:
        assert train(job, layout.root, resume=True).history["best_epoch"], "the newest is found"
        return
    before = contents(layout.root)
    with pytest.raises(BundleError, match=r"checkpoint.* Train again with --overwrite, or into another --out"):
        train(job, layout.root, resume=True)
    assert contents(layout.root) == before


def test_a_configuration_with_bytes_that_are_not_utf8_still_marks_a_run(tmp_path):
    (tmp_path / "config.toml").write_bytes(CONFIG_HEADER.encode() + b'label = "M\xfcller"\n')
    with RunDirectory(tmp_path, overwrite=True).hold():
        pass
    (tmp_path / "config.toml").write_bytes(b"\xff")
    with pytest.raises(OutputError, match="no run of seqembed"), RunDirectory(tmp_path, overwrite=True).hold():
        pass
    (tmp_path / "contract.json").write_text('{"format_version": 1, "length_policy": {}, "training": {}}')
    with RunDirectory(tmp_path, overwrite=True).hold():
        pass


def test_a_checkpoint_outside_the_run_is_refused(again, tmp_path):
    job, layout = again
    other = Path(shutil.copytree(layout.checkpoints, tmp_path / "other"))
    newest = sorted(other.glob("ckpt-*.index"))[-1].with_suffix("")
    (layout.checkpoints / "checkpoint").write_text(f'model_checkpoint_path: "{newest}"\n')
    with pytest.raises(BundleError) as refused:
        train(job, layout.root, resume=True)
    assert str(refused.value).startswith(f"{layout.checkpoints / 'checkpoint'}: ")
    assert f"names {newest}, which is outside this run" in str(refused.value)
