"""No name leads out of the output directory: dots, absolute names, links, and escaped slashes."""

from pathlib import Path

import pytest

from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory next to the output with a file that must not change."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "p.parquet").write_text("precious")
    (tmp_path / "elsewhere" / "_SUCCESS").write_text("precious")
    return tmp_path / "elsewhere"


def test_a_linked_directory_in_the_output_is_refused(tiny: Tiny, tmp_path: Path, elsewhere: Path) -> None:
    for name in ("day=1", "_quarantine", "_temporary"):
        out = tmp_path / f"out{name}"
        out.mkdir()
        (out / name).symlink_to(elsewhere)
        bad = sequences(5, seed=1)
        bad["id"][0] = None
        write_sequences(tmp_path / "in" / "day=1" / "p.parquet", bad)
        options = ["--on-bad-row", "quarantine"]
        result = seqembed("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, *options)
        assert result.exit_code == 6, result.output
        assert "a symbolic link leads out of the output directory" in " ".join(result.output.split())
        assert tree(elsewhere) == {"p.parquet": b"precious", "_SUCCESS": b"precious"}


def test_a_name_that_begins_like_the_output_is_outside_it(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out-of-bounds").mkdir()
    (tmp_path / "out" / "day=1").symlink_to(tmp_path / "out-of-bounds")
    write_sequences(tmp_path / "in" / "day=1" / "p.parquet", sequences(5, seed=1))
    result = seqembed("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    assert result.exit_code == 6, result.output
    assert not tree(tmp_path / "out-of-bounds")


def test_linked_files_in_the_output_are_not_followed(tiny: Tiny, tmp_path: Path, elsewhere: Path) -> None:
    data = write_sequences(tmp_path / "in" / "p.parquet", sequences(5, seed=1))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("p.parquet", "_SUCCESS"):
        (out / name).symlink_to(elsewhere / name)
    refused = seqembed("run", data, "--model", tiny.bundle, "--out", out)
    assert refused.exit_code == 6, refused.output
    assert "p.parquet is a file that seqembed did not write" in refused.output
    (out / "p.parquet").unlink()
    refused = seqembed("run", data, "--model", tiny.bundle, "--out", out)
    assert refused.exit_code == 6 and "_SUCCESS: seqembed did not write it" in refused.output
    (elsewhere / "_SUCCESS").write_text('{"seqembed": "0.1.0"}')
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert not (out / "_SUCCESS").is_symlink()
    assert tree(elsewhere) == {"p.parquet": b"precious", "_SUCCESS": b'{"seqembed": "0.1.0"}'}


def test_a_linked_lock_file_is_refused(tiny: Tiny, tmp_path: Path, elsewhere: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(5, seed=1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_lock").symlink_to(elsewhere / "p.parquet")
    result = seqembed("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    assert result.exit_code == 6, result.output
    assert tree(elsewhere)["p.parquet"] == b"precious"


def test_an_output_directory_may_itself_be_a_link(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(5, seed=1))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "link")
    assert (tmp_path / "real" / "in.parquet").exists()


def test_dots_and_escaped_slashes_stay_names(tiny: Tiny, tmp_path: Path) -> None:
    for name in ("day=%2F..%2F..%2Fup/p.parquet", "%2e%2e/q.parquet", "..day/r.parquet", "day=../s.parquet"):
        write_sequences(tmp_path / "deep" / "in" / name, sequences(5, seed=1))
    out = tmp_path / "deep" / "deeper" / "out"
    done("run", tmp_path / "deep" / "in", "--model", tiny.bundle, "--out", out)
    parts = sorted(str(path.relative_to(out)) for path in out.rglob("*.parquet"))
    assert parts == ["%2e%2e/q.parquet", "day=%2F..%2F..%2Fup/p.parquet", "day=../s.parquet"]
    assert len(list(tmp_path.rglob("*.parquet"))) == 4 + 3


@pytest.mark.parametrize("given", ["../in/p.parquet", "../in", "../in/*.parquet", "../*/p.parquet", "./../in/../in"])
def test_inputs_named_from_below_keep_their_own_names(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    write_sequences(tmp_path / "in" / "p.parquet", sequences(5, seed=1))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done("run", given, "--model", tiny.bundle, "--out", "out")
    parts = [str(path.relative_to(tmp_path)) for path in (tmp_path / "here").rglob("*.parquet")]
    assert parts == ["here/out/" + ("in/p.parquet" if given.startswith("../*") else "p.parquet")]


def test_links_in_the_input_are_followed_once(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "far" / "p.parquet", sequences(5, seed=1))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "day=1").symlink_to(tmp_path / "far")
    command = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*command)
    assert (tmp_path / "out" / "day=1" / "p.parquet").exists()
    for name in ("again", "and-again"):
        (tmp_path / "far" / name).symlink_to(tmp_path / "in")
    circle = seqembed(*command)
    assert circle.exit_code == 3, circle.output
    assert "a link to a directory that is also read itself" in " ".join(circle.output.split())
    done("run", tmp_path / "in" / "day=*" / "*.parquet", *command[2:], "--overwrite")  # a glob is not recursive


def test_a_dangling_link_is_a_file_that_cannot_be_read(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "p.parquet", sequences(5, seed=1))
    (tmp_path / "in" / "gone.parquet").symlink_to(tmp_path / "nowhere")
    command = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    result = seqembed(*command)
    assert (result.exit_code, "gone.parquet: cannot be read" in result.output) == (3, True), result.output
    assert "SKIPPED FILE gone.parquet" in done(*command, "--on-bad-file", "skip").output
