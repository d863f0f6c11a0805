"""A command writes nothing outside its output and sends nothing; ONNX Runtime would send telemetry by default."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
import no_network
import pytest

from seqembed_testing import Tiny

ROOT = Path(__file__).parents[2]


def child(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run Python with its own home, cache and temporary directory, all below `home`."""
    directories = {
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "config",
        "XDG_STATE_HOME": "state",
    }
    own = {name: str(home / directory) for name, directory in directories.items()}
    (home / "tmp").mkdir(parents=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PYTHONPATH": str(ROOT / ".src"),
        "PYTHONDONTWRITEBYTECODE": "1",  # else Python caches the code that TensorFlow generates
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
        **own,
    }
    environment = {name: value for name, value in environment.items() if not name.startswith(("TF_", "KERAS_"))}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=home / "tmp",
    )


def left_behind(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path != home / "tmp")


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_a_command_of_the_runner_writes_and_sends_nothing_else(tiny: Tiny, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    words = ["run", tiny.data, "--model", tiny.bundle, "--out", out] if command == "run" else ["inspect", tiny.bundle]
    ended = child(tmp_path / "home", no_network.__file__, *words)
    assert ended.returncode == 0, ended.stderr
    assert left_behind(tmp_path / "home") == []
    assert out.exists() == (command == "run")


@pytest.mark.parametrize("command", ["export", "evaluate"])
def test_a_command_with_training_libraries_reports_nothing(tiny: Tiny, tmp_path: Path, command: str) -> None:
    """Keras imports Matplotlib, whose font list is that of this process, since making it takes seconds."""
    splits = ["--train", tiny.data, "--test", tiny.data, "--label", "label", "--untrained-seeds", 1]
    words = {
        "export": ["export", tiny.run, "--out", tmp_path / "encoder.onnx"],
        "evaluate": ["evaluate", "--model", tiny.bundle, *splits],
    }
    ended = child(tmp_path / "home", no_network.__file__, *words[command])
    if command == "evaluate":  # one file in both splits is refused, once the model has been opened
        assert ended.returncode == 2, ended.stderr
    else:
        assert (ended.returncode, ended.stderr) == (0, "")  # no message of TensorFlow either
        assert ended.stdout.startswith(str(tmp_path / "encoder.onnx"))
    assert left_behind(tmp_path / "home") == []


def test_the_filter_kills_a_process_that_sends(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import no_network, socket; no_network.forbid_sending()\n"
        "socket.create_connection(('127.0.0.1', 9), timeout=1)"
    )
    ended = child(tmp_path / "home", "-c", code, Path(no_network.__file__).parent)
    assert ended.returncode == -signal.SIGSYS
