"""An export replaces older bundles, but never its source or a file not written by seqembed."""

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from seqembed.data.display import events
from seqembed_testing import Tiny, done, seqembed


@pytest.fixture
def run(tiny: Tiny, tmp_path: Path) -> Path:
    """Return a copy of a run directory."""
    return Path(shutil.copytree(tiny.run, tmp_path / "run"))


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def the_model(run: Path) -> Path:
    return run / "encoder.keras"


def by_another_path(run: Path) -> Path:
    return run / ".." / "run" / "contract.json"


def by_a_link(run: Path) -> Path:
    (run.parent / "link").symlink_to(run)
    return run.parent / "link" / "autoencoder.keras"


def by_a_hard_link(run: Path) -> Path:
    os.link(run / "encoder.keras", run.parent / "encoder.onnx")
    return run.parent / "encoder.onnx"


def by_a_link_to_a_file(run: Path) -> Path:
    (run.parent / "encoder.onnx").symlink_to(run / "sample.parquet")
    return run.parent / "encoder.onnx"


def below_checkpoints(run: Path) -> Path:
    return run / "checkpoints" / "encoder.onnx"


@pytest.mark.parametrize(
    "path_of",
    [the_model, by_another_path, by_a_link, by_a_hard_link, by_a_link_to_a_file, below_checkpoints],
    ids=lambda path_of: path_of.__name__,
)
def test_no_file_of_the_run_directory_is_replaced(run: Path, path_of: Callable[[Path], Path]) -> None:
    out, before = path_of(run), content(run)
    result = seqembed("export", run, "--out", out)
    assert result.exit_code == 2, result.output
    assert "a file of the run directory that is exported" in " ".join(result.output.split())
    assert content(run) == before


@pytest.mark.parametrize("linked", [False, True])
def test_the_model_to_export_is_not_replaced(tiny: Tiny, run: Path, linked: bool) -> None:
    source = run / "encoder.keras"
    if linked:
        (run.parent / "link.keras").symlink_to(source)
    out = run.parent / "link.keras" if linked else source
    before = source.read_bytes()
    result = seqembed("export", source, "--data", tiny.data, "--features", "x,y", "--out", out)
    assert result.exit_code == 2, result.output
    assert "that is the model to export" in " ".join(result.output.split())
    assert source.read_bytes() == before


def text(path: Path, tiny: Tiny) -> None:
    path.write_text("notes\n")


def empty(path: Path, tiny: Tiny) -> None:
    path.write_bytes(b"")


def data(path: Path, tiny: Tiny) -> None:
    shutil.copy(tiny.data, path)


def another_model(path: Path, tiny: Tiny) -> None:
    model = onnx.load(tiny.bundle)
    del model.metadata_props[:]
    onnx.save(model, path)


def pipe(path: Path, tiny: Tiny) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("write", [text, empty, data, another_model, pipe], ids=lambda write: write.__name__)
def test_a_file_that_is_not_a_bundle_is_not_replaced(
    tiny: Tiny, tmp_path: Path, write: Callable[[Path, Tiny], None]
) -> None:
    out = tmp_path / "there"
    write(out, tiny)
    before = None if out.is_fifo() else out.read_bytes()
    result = seqembed("export", tiny.run, "--out", out)
    assert result.exit_code == 6, result.output
    said = " ".join(result.output.split())
    assert f"{out}: a file that is not a seqembed bundle exists there" in said
    assert before is None or out.read_bytes() == before


def test_an_older_bundle_is_replaced_also_within_the_run_directory(tiny: Tiny, run: Path) -> None:
    """And nothing else: without a card, what has its name stays as it is."""
    out = Path(shutil.copy(tiny.bundle, run / "encoder.onnx"))
    out.with_suffix(".md").write_text("mine")
    first, before = out.stat().st_ino, content(run)
    said = done("export", run, "--out", out, "--opset", 15, "--no-card").output
    assert "  card  " not in said
    assert out.stat().st_ino != first
    assert onnx.load(out).opset_import[0].version == 15
    done("inspect", out)
    after = content(run)
    assert before.pop("encoder.onnx") != after.pop("encoder.onnx")
    assert after == before


class _Stopper(logging.Handler):
    """Sends this process a signal when an event is reported."""

    def __init__(self, event: str, number: signal.Signals) -> None:
        super().__init__()
        self._event, self._number = event, number

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._event:
            signal.raise_signal(self._number)


@pytest.mark.parametrize(
    ("event", "number", "code"),
    [("converted", signal.SIGINT, 130), ("checked", signal.SIGTERM, 143)],
)
def test_a_stopped_export_leaves_the_bundle_that_was_there(
    tiny: Tiny, tmp_path: Path, event: str, number: signal.Signals, code: int
) -> None:
    shutil.copy(tiny.bundle, tmp_path / "encoder.onnx")
    before, stopper = content(tmp_path), _Stopper(event, number)
    events.logger.addHandler(stopper)
    try:
        stopped = seqembed("export", tiny.run, "--out", tmp_path / "encoder.onnx", "--no-card")
    finally:
        events.logger.removeHandler(stopper)
    assert stopped.exit_code == code, stopped.output
    assert "Traceback" not in stopped.output
    assert content(tmp_path) == before
