"""The command line of `seqembed train`: exit codes, configuration files, and output."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from seqembed.data.layout import RunLayout
from seqembed.trainer.config.options import MOST_USED, SECTIONS
from seqembed.trainer.fit.progress import BarProgress, NotesAlone, PlainProgress, make_progress
from seqembed_testing import done, seqembed

SMALL = ["--features", "x,y", "--units", 4, "--forward-only", "--embedding-dim", 3, "--epochs", 1]
SMALL += ["--objective", "reconstruct"]


def test_training_ends_with_a_summary(eager_steps, data, tmp_path):
    result = done("train", data, "--out", tmp_path / "run", *SMALL, "--progress", "plain")
    assert re.search(r"epoch 1/1  loss \d\.\d{4}  val_loss \d\.\d{4}  [\d,]+ rows/s", result.stderr)
    for word in (
        "parameters",
        "val_loss",
        "predicting the mean",
        "rows/s",
        "encoder.keras",
        "contract.json",
    ):
        assert word in result.stdout
    assert f"Next: seqembed export {tmp_path / 'run'} --out encoder.onnx" in result.stdout


def test_a_configuration_file_repeats_a_run_and_options_override_it(eager_steps, finished, tmp_path):
    first = RunLayout(finished[1]).config
    changes = ["--units", 3, "--epochs", 0, "--bidirectional", "--progress", "none"]
    result = done("train", "--config", first, "--out", tmp_path / "run", *changes)
    assert "epoch" not in result.stderr  # the columns are said, progress is not
    assert result.stderr.splitlines()[0] == "2 features: x, y"
    expected = first.read_text().replace("units = 4", "units = 3").replace("epochs = 3", "epochs = 0")
    expected = expected.replace("bidirectional = false", "bidirectional = true")
    assert RunLayout(tmp_path / "run").config.read_text() == expected != first.read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--out", "OUT"], 2, "no INPUT given"),
        (["DATA"], 2, "--out"),
        (["DATA", "--out", "OUT", "--units", "0"], 2, "--units"),
        (["DATA", "--out", "OUT", "--decoder", "mlp"], 2, "mlp"),
        (["DATA", "--out", "OUT", "--reverse-target"], 2, "works only with --decoder autoregressive"),
        (["DATA", "--out", "OUT", "--learning-rate", "nan"], 2, "--learning-rate must be a positive number"),
        (["DATA", "--out", "OUT", "--resume", "--overwrite"], 2, "Pass only one of them"),
        (["missing.parquet", "--out", "OUT"], 3, "missing.parquet: no such file"),
        (["DATA", "--out", "OUT", "--features", "x,z"], 3, "'z'"),
        (["DATA", "--out", "OUT", "--label", "colour"], 3, "'colour'"),
        (["DATA", "--out", "OUT", "--loss", "binary_crossentropy"], 3, "expects values from 0 to 1"),
        (["DATA", "--out", "FILE/run"], 6, "is a file"),
        (["DATA", "--out", "HELD"], 6, "already holds a run"),
    ],
)
def test_errors_have_a_message_and_an_exit_code(data, tmp_path, words, code, message):
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "config.toml").write_text("")
    paths = {"DATA": data, "OUT": tmp_path / "out", "FILE/run": data / "run", "HELD": tmp_path / "held"}
    result = seqembed("train", *(paths.get(word, word) for word in words))
    assert result.exit_code == code, result.output
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_nan_loss_ends_with_exit_code_five(eager_steps, data, tmp_path):
    diverging = ["--learning-rate", "1e18", "--activation", "relu", "--clip-norm", 0, "--cell", "gru", "--epochs", 50]
    diverging += ["--objective", "reconstruct"]
    result = seqembed(
        "train", data, "--out", tmp_path / "run", "--features", "x,y", "--units", 4, "--forward-only", *diverging
    )
    assert result.exit_code == 5, result.output
    assert re.search(r"epoch \d+, batch \d+: the loss is (nan|inf).* Lower --learning-rate", result.output)
    assert not RunLayout(tmp_path / "run").contract.exists()


def test_every_option_shows_its_default_in_one_section():
    text = " ".join(done("train", "--help-all").output.split())
    for title, options in SECTIONS.items():
        assert f"{title}:" in text
        for option in options:
            shown = text.split(f" {option.opts[0]} ", 1)[1]
            assert "[default: " in shown.split(" --")[0] + shown[:220] or option.required, option.name
    assert text.count("--config FILE") == 1 and "Examples:" in text


def test_help_shows_what_most_people_need_and_where_the_rest_is():
    text = done("train", "--help").output
    names = {option.name: option.opts[0] for options in SECTIONS.values() for option in options}
    assert names.keys() >= MOST_USED
    for name, flag in names.items():
        assert (re.search(rf"^  {flag}\b", text, flags=re.MULTILINE) is not None) == (name in MOST_USED), name
    assert f"{len(names) - len(MOST_USED)} more options: seqembed train --help-all" in text
    assert "--config FILE" in text and "--help-all" in text and "Examples:" in text


def test_help_imports_no_tensorflow_and_training_keeps_stderr_clean(data, tmp_path):
    root = Path(__file__).parents[2]
    check = (
        "import sys; from seqembed.trainer.command import train\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=root, check=False).returncode == 0
    words = ["train", str(data), "--out", str(tmp_path / "run"), *map(str, SMALL), "--progress", "none"]
    call = (
        f"import sys; from seqembed.runner.cli import main; main({words!r}, standalone_mode=False)\n"
        "print('keras' in sys.modules, {'sklearn', 'scipy', 'pandas'} & sys.modules.keys())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    result = subprocess.run([sys.executable, "-c", call], cwd=root, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "True set()"
    lines = result.stderr.splitlines()
    assert (lines[0], lines[-1][-20:]) == ("2 features: x, y", "trainable parameters")
    assert not re.search(
        r"tensorflow|cuda|onednn|warning|^\d{4}-|^[IWEF]\d{4}", result.stderr, re.IGNORECASE | re.MULTILINE
    )


def test_progress_is_chosen_by_mode_and_terminal():
    terminal, pipe = Console(file=io.StringIO(), force_terminal=True), Console(file=io.StringIO())
    kinds = {
        ("auto", terminal): BarProgress,
        ("auto", pipe): PlainProgress,
        ("bar", pipe): BarProgress,
        ("plain", terminal): PlainProgress,
        ("none", terminal): NotesAlone,
    }
    for (mode, console), kind in kinds.items():
        assert type(make_progress(mode, console, print)) is kind


def test_the_bar_shows_epoch_losses_speed_and_time_left():
    file = io.StringIO()
    with make_progress("auto", Console(file=file, force_terminal=True, width=160), print) as bar:
        bar.note("so many sequences")
        bar.training_starts(num_epochs=4, num_rows=10, epochs_done=1)
        bar.epoch_starts(2)
        bar.batch_ends(10, 0.25)
        bar.epoch_ends({"epoch": 2, "loss": 0.25, "val_loss": 0.5, "rows_per_second": 7.0}, best=True)
    shown = file.getvalue()
    for word in ("so many sequences", "epoch 2/4", "loss 0.2500", "val_loss 0.5000", "rows/s", "at most"):
        assert word in shown
