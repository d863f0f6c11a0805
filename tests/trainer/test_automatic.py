"""Automatic configuration: what is chosen for unset options, and which options are refused."""

import tomllib

import numpy as np
import pytest

from seqembed.data.layout import RunLayout
from seqembed.data.profile import SequenceProfile
from seqembed.trainer.config.automatic import Findings, choose_frame, choose_overlap, resolve
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.input.scale import Changes
from seqembed.trainer.model.trajectory import Alignment
from seqembed_testing import done, seqembed

SMOOTH = Changes(np.ones(2, np.float32), 0.4)
NOISE = Changes(np.ones(2, np.float32), -0.5)
ALIGNED, SCATTERED = Alignment(0.8), Alignment(0.1)


def profile(median=30, num_features=2):
    ones = (1.0,) * num_features
    return SequenceProfile(100, 0, 100 * median, ones, ones, ones, (1, 1, 1, 1, median, 2000, 3000, 4000, 5000))


def chosen(num_training=1_000, median=30, fraction=0.0, **options):
    job = TrainJob.from_options({"inputs": ["a"], "channels": "values", **options})
    return resolve(job, Findings(profile(median), SMOOTH, SCATTERED, num_training, fraction))


@pytest.mark.parametrize(
    ("num_training", "batch_size", "steps"),
    [(50, 32, 500), (270, 32, 500), (3_200, 32, 1_000), (20_000, 64, 2_000), (50_000_000, 64, 2_000)],
)
@pytest.mark.parametrize("objective", ["hybrid", "contrast"])
def test_steps_and_batch_size_depend_on_the_number_of_sequences(objective, num_training, batch_size, steps):
    configured = chosen(num_training, fraction=0.25, objective=objective)
    training = configured.job.training
    assert (training.measured_in, training.length, training.batch_size, training.patience) == (
        "steps",
        steps,
        batch_size,
        0,
    )
    assert training.validation_fraction == 0.25
    assert training.num_steps(num_training) == steps


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"steps": 7}, {"steps": 7, "epochs": None, "batch_size": 32}),
        ({"epochs": 3}, {"steps": None, "epochs": 3, "batch_size": 32}),
        ({"epochs": 0}, {"steps": None, "epochs": 0, "batch_size": 32}),
        ({"batch_size": 5, "patience": 2}, {"steps": 2_000, "epochs": None, "batch_size": 5, "patience": 2}),
        ({"objective": "reconstruct", "steps": 7}, {"steps": 7, "epochs": None, "batch_size": 32, "patience": 4}),
        ({"objective": "reconstruct", "epochs": 4}, {"steps": None, "epochs": 4, "batch_size": 32, "patience": 64}),
        ({"objective": "reconstruct", "learning_rate": 0.1}, {"learning_rate": 0.1}),
        (
            {"objective": "reconstruct", "epochs": 0, "batch_size": 5, "patience": 2},
            {"steps": None, "epochs": 0, "batch_size": 5, "patience": 2},
        ),
    ],
)
def test_given_options_are_kept(options, expected):
    in_force = chosen(**options).job.to_options()
    assert {name: in_force.get(name) for name in expected} == expected


def test_num_steps_counts_the_batches_of_all_passes():
    assert chosen(epochs=3).job.training.num_steps(1_000) == 3 * 32
    assert chosen(epochs=0).job.training.num_steps(1_000) == 0


@pytest.mark.parametrize(
    ("num_training", "batch_size", "steps"),
    [(2, 8, 2_000), (199, 8, 2_487), (200, 32, 2_000), (1_000, 32, 3_125), (20_000, 64, 10_000), (10**9, 64, 10_000)],
)
@pytest.mark.parametrize("task", ["reconstruct", "predict", "composite"])
def test_a_reconstruction_of_small_data_uses_many_small_batches(task, num_training, batch_size, steps):
    training = chosen(num_training, objective="reconstruct", task=task).job.training
    assert (training.measured_in, training.length, training.batch_size) == ("steps", steps, batch_size)
    assert training.patience == round(steps / 2), "the learning rate falls in the second half"
    assert training.learning_rate == 0.005 and chosen().job.training.learning_rate == 0.008
    assert chosen(task=task).job.model.objective == ("hybrid" if task == "reconstruct" else "reconstruct")


@pytest.mark.parametrize(
    ("median", "num_features", "frame"),
    [
        (1, 2, 1),
        (11, 2, 1),
        (12, 2, 3),
        (59, 2, 3),
        (80, 2, 4),
        (150, 2, 7),
        (1_000, 2, 50),
        (1_000, 200, 2),
        (60, 600, 1),
    ],
)
def test_there_are_20_to_40_frames_of_three_steps_or_more_unless_they_would_be_too_wide(median, num_features, frame):
    assert choose_frame(profile(median, num_features), num_features, 20, 3) == frame


def test_beside_kernels_there_are_fewer_frames_and_units():
    options = [{}, {"kernels": 0}, {"objective": "reconstruct"}, {"units": 5, "frame": 4}]
    models = [chosen(median=150, **each).job.model for each in options]
    assert [(model.frame, model.units) for model in models] == [(7, 32), (5, 64), (5, 64), (4, 5)]


def test_contrastive_objectives_use_frames_of_three_steps_for_short_sequences_and_two_without_kernels():
    frames = [chosen(median=30, objective=one).job.model.frame for one in ("hybrid", "contrast", "reconstruct")]
    assert frames == [3, 3, 1]
    assert chosen(median=30, kernels=0).job.model.frame == 2


@pytest.mark.parametrize(
    ("frame", "num_features", "overlap"),
    [(1, 2, 0), (2, 1, 4), (3, 2, 6), (33, 1, 15), (60, 1, 0), (2, 12, 2), (3, 6, 5), (2, 30, 0)],
)
def test_overlap_is_twice_the_frame_unless_too_wide(frame, num_features, overlap):
    assert choose_overlap(frame, num_features) == overlap


def test_only_contrastive_objectives_get_an_overlap_and_a_given_one_is_kept():
    overlaps = [chosen(median=100, objective=one).job.model.overlap for one in ("hybrid", "contrast", "reconstruct")]
    assert overlaps == [10, 10, 0]
    assert chosen(median=100, overlap=1).job.model.overlap == 1
    assert chosen(median=100, overlap=0).job.model.overlap == 0
    assert chosen(median=100, frame=1, overlap=3).job.model.overlap == 3


def test_a_given_frame_is_kept():
    assert chosen(median=1_000).job.model.frame == 50
    assert chosen(median=1_000, frame=1).job.model.frame == 1
    assert chosen(median=30, frame=7).job.model.frame == 7


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (
            {"frame": 1},
            "hybrid: distinguishes views of a sequence from other sequences, and reconstructs it; "
            "500 batches of 32 sequences (16.0 passes over the data)",
        ),
        (
            {"objective": "contrast", "epochs": 5, "frame": 1},
            "contrast: distinguishes views of a sequence from other sequences; at most 5 passes in batches of 32",
        ),
        ({"task": "predict"}, "reconstruct: predicts; 3,125 batches of 32 sequences (100.0 passes over the data)"),
        (
            {"objective": "reconstruct", "epochs": 100},
            "reconstruct: reconstructs sequences; at most 100 passes in batches of 32",
        ),
    ],
)
def test_notes_describe_the_training(options, notes):
    assert chosen(trajectory=0, **options).notes == (notes,)


@pytest.mark.parametrize(
    ("changes", "options", "channels", "units"),
    [
        (SMOOTH, {}, "both", 32),
        (NOISE, {}, "values", 32),
        (NOISE, {"units": 5}, "values", 5),
        (NOISE, {"channels": "both", "kernels": 0}, "both", 48),
        (SMOOTH, {"channels": "differences", "kernels": 0}, "differences", 64),
        (SMOOTH, {"objective": "reconstruct"}, "values", 64),
    ],
)
def test_differences_are_an_input_channel_unless_they_are_noise(changes, options, channels, units):
    configured = resolve(
        TrainJob.from_options({"inputs": ["a"], **options}), Findings(profile(), changes, SCATTERED, 100, 0.0)
    )
    assert (configured.job.model.channels, configured.job.model.units) == (channels, units)
    start = "input channels: values; changes from step to step are mostly noise"
    noted = any(note.startswith(start) for note in configured.notes)
    assert noted == (changes is NOISE and "channels" not in options)


def test_notes_report_frames_and_trajectory():
    frames, trajectory = chosen(median=151).notes[1:]
    assert frames == (
        "frames of 7 steps: a sequence of median length (151 steps) has 22, each with the 14 steps after it"
    )
    assert trajectory == "no trajectory: sequences are not aligned (the mean trajectory explains 10% of the energy)"


def test_notes_report_an_overlap_of_single_steps():
    message = chosen(median=30, frame=1, overlap=1).notes[1]
    assert message == "frames of 1 step: a sequence of median length (30 steps) has 30, each with the 1 step after it"
    assert not any("frames" in note for note in chosen(median=30, frame=1, overlap=0).notes)


@pytest.mark.parametrize(
    ("alignment", "num_features", "options", "points"),
    [
        (ALIGNED, 1, {}, 30),
        (ALIGNED, 12, {}, 10),
        (ALIGNED, 17, {}, 0),
        (SCATTERED, 1, {}, 0),
        (ALIGNED, 1, {"trajectory": 0}, 0),
        (SCATTERED, 17, {"trajectory": 3}, 3),
        (ALIGNED, 1, {"objective": "reconstruct"}, 0),
    ],
)
def test_aligned_sequences_get_a_trajectory(alignment, num_features, options, points):
    job = TrainJob.from_options({"inputs": ["a"], **options})
    configured = resolve(job, Findings(profile(num_features=num_features), SMOOTH, alignment, 100, 0.0))
    assert configured.job.model.trajectory == points
    notes = [note for note in configured.notes if "trajectory" in note]
    assert len(notes) == (not options)
    if notes:
        expected = f"trajectory of {points} points per feature: sequences are aligned (the mean trajectory explains 80%"
        assert notes[0].startswith(expected if points else "no trajectory: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", 3, "--steps", 3], "--epochs and --steps both say when training ends. Pass only one of them"),
        (["--objective", "hybrid", "--task", "predict"], "--task predict belongs to --objective reconstruct"),
        (["--objective", "contrast", "--task", "composite"], "--task composite belongs to --objective reconstruct"),
        (["--objective", "contrast", "--decoder", "repeat"], "Drop it, or pass --objective hybrid"),
        (["--objective", "best"], "'best' is not one of"),
        (["--frame", 0], "neither 'auto' nor a positive number of steps"),
        (["--frame", "2.5"], "'2.5' is neither 'auto' nor"),
        (["--steps", 0], "--steps"),
        (["--config", "BOTH"], "--epochs and --steps both say when training ends"),
    ],
)
def test_contradicting_options_end_with_exit_code_two(data, tmp_path, words, message):
    both = tmp_path / "both.toml"
    both.write_text("steps = 5\nepochs = 5\n")
    result = seqembed("train", data, "--out", tmp_path / "out", *(both if word == "BOTH" else word for word in words))
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.replace("│", " ").split()) and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("filed", "typed", "kept", "gone"),
    [
        ("steps = 5\nframe = 3\n", ["--epochs", 0, "--frame", "auto"], {"epochs": 0, "frame": 1}, "steps"),
        ('epochs = 5\nframe = "auto"\n', ["--steps", 1, "--frame", 2], {"steps": 1, "frame": 2}, "epochs"),
    ],
)
def test_the_command_line_overrides_the_configuration_file(eager_steps, data, tmp_path, filed, typed, kept, gone):
    (tmp_path / "given.toml").write_text(filed + "units = 4\nkernels = 0\n")
    run = tmp_path / "run"
    done("train", data, "--features", "x,y", "--config", tmp_path / "given.toml", "--out", run, *typed)
    options = tomllib.loads(RunLayout(run).config.read_text())
    assert {name: options[name] for name in kept} == kept and gone not in options
