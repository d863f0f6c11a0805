"""`_SUCCESS` and `_RUN` when they are damaged, of another program, or cannot be written."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from seqembed.runner.output.history import read_history
from seqembed.runner.output.storage import Storage
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"parts": 3}', "\ud800"])
def test_a_damaged_marker_is_ignored(tiny: Tiny, tmp_path: Path, text: str) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out)
    done(*words)
    (out / "_SUCCESS").write_bytes(text.encode(errors="surrogatepass"))
    said = done("inspect", out).output
    assert "A damaged _SUCCESS: the last run did not finish" in said
    assert "0 parts made, 1 up to date" in done(*words).output
    assert json.loads((out / "_SUCCESS").read_text())["rows_in"] == 20
    (out / "_RUN").write_bytes(text.encode(errors="surrogatepass"))
    done("inspect", out)
    assert "0 parts made, 1 up to date" in done(*words).output


@pytest.mark.parametrize("text", ["", "mine", '{"job": "of another system"}'])
@pytest.mark.parametrize("name", ["_SUCCESS", "_RUN"])
def test_a_marker_of_another_program_is_not_replaced(tiny: Tiny, tmp_path: Path, name: str, text: str) -> None:
    """Spark and Hadoop write an empty _SUCCESS."""
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    refused = seqembed("run", data, "--model", tiny.bundle, "--out", out)
    assert (refused.exit_code, f"{name}: seqembed did not write it" in refused.output) == (6, True)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == text
    (out / name).unlink()
    (out / name).mkdir()
    assert seqembed("run", data, "--model", tiny.bundle, "--out", out).exit_code == 6


def test_a_disk_that_is_full_at_the_marker_leaves_no_record_that_says_complete(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    out, write = tmp_path / "out", Storage.write_json

    def full(storage: Storage, name: str, *rest: Any, **more: Any) -> None:
        if name == "_SUCCESS":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(storage, name, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write_json", full)
        failed = seqembed("run", data, "--model", tiny.bundle, "--out", out)
    assert (failed.exit_code, "No space left on device" in failed.output) == (6, True)
    assert sorted(path.name for path in out.iterdir()) == ["_RUN", "_history", "a.parquet"]
    assert not list((out / "_history").iterdir())
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert [record["complete"] for record in read_history(Storage.of(str(out)))] == [True]
