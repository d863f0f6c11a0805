"""Files not written by seqembed are never changed; its own files that are not finished parts are made again."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from child_runner import check_finished, contents
from seqembed.runner.output.parts import FOOTER_KEY, PartFooter
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences

DEEP = "[" * 200_000


@pytest.fixture
def words(tiny: Tiny, tmp_path: Path) -> tuple[object, ...]:
    for index, name in enumerate(("a.parquet", "_b.parquet")):
        write_sequences(tmp_path / "in" / name, sequences(20, seed=index))
    return ("--model", tiny.bundle, "--out", tmp_path / "out")


def text(path: Path) -> None:
    path.write_text("precious")


def empty(path: Path) -> None:
    path.touch()


def cut(path: Path) -> None:
    write_sequences(path, sequences(20, seed=5))
    path.write_bytes(path.read_bytes()[:-20])


def table(path: Path) -> None:
    write_sequences(path, {"id": ["users_file"]})


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["a.parquet", "_b.parquet"])
@pytest.mark.parametrize("make", [text, empty, cut, table, pipe])
def test_a_file_not_written_by_seqembed_is_never_replaced(
    words: tuple, tmp_path: Path, name: str, make: object
) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / name
    make(path)  # type: ignore[operator]
    before = path.lstat()
    for option in ([], ["--overwrite"], ["--prune"]):
        refused = seqembed("run", tmp_path / "in" / name, *words, *option)
        assert refused.exit_code == 6, refused.output
        assert f"{name} is a file that seqembed did not write" in refused.output
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.unlink()
    done("run", tmp_path / "in" / name, *words)


def test_a_part_whose_name_is_hidden_counts_as_finished(words: tuple, tmp_path: Path) -> None:
    for _ in range(2):
        done("run", tmp_path / "in" / "_b.parquet", *words)
    assert "0 parts made, 1 up to date" in done("run", tmp_path / "in" / "_b.parquet", *words).output


def rewritten(path: Path, change: object) -> None:
    """Write a part again with the same footer, but fewer rows or other columns."""
    table = pq.read_table(path)
    metadata = pq.read_metadata(path).metadata
    assert metadata is not None
    changed = change(table).replace_schema_metadata({FOOTER_KEY: metadata[FOOTER_KEY]})  # type: ignore[operator]
    pq.write_table(changed, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(0, 11),
        lambda table: table.slice(0, 0),
        lambda table: table.drop_columns(["embedding"]),
        lambda table: pa.concat_tables([table, table]),
        lambda table: table.rename_columns(["key", "embedding"]),
    ],
)
def test_a_part_that_differs_from_its_footer_is_made_again(words: tuple, tmp_path: Path, change: object) -> None:
    done("run", tmp_path / "in", *words)
    new = contents(tmp_path / "out")
    rewritten(tmp_path / "out" / "a.parquet", change)
    assert "1 part made" in done("run", tmp_path / "in", *words).output
    check_finished(tmp_path / "out", new)


def footers(part: Path) -> dict[str, str]:
    """Return invalid values for the footer key of a part."""
    metadata = pq.read_metadata(part).metadata
    assert metadata is not None
    footer = json.loads(metadata[FOOTER_KEY])
    return {
        "null": "null",
        "number": "17",
        "text": '"seqembed"',
        "list": "[]",
        "deep": DEEP,
        "not JSON": "{",
        "nothing": "",
        "huge number": '{"counts": 1e999}',
        "rows": json.dumps(footer | {"counts": footer["counts"] | {"rows_embedded": 19}}),
        "negative": json.dumps(footer | {"counts": footer["counts"] | {"rows_in": -20}}),
        "true": json.dumps(footer | {"counts": footer["counts"] | {"steps": True}}),
        "more": json.dumps(footer | {"counts": footer["counts"] | {"rows_dreamt": 1}}),
        "no counts": json.dumps(footer | {"counts": None}),
        "invalid key": json.dumps(footer | {"model_sha256": None}),
        "invalid options": json.dumps(footer | {"options": 5}),
    }


def test_parts_with_invalid_footers_are_made_again(words: tuple, tmp_path: Path) -> None:
    done("run", tmp_path / "in", *words)
    new, part = contents(tmp_path / "out"), tmp_path / "out" / "a.parquet"
    rows = pq.read_table(part)
    for name, invalid in footers(part).items():
        pq.write_table(rows.replace_schema_metadata({FOOTER_KEY: invalid.encode()}), part)
        with pytest.raises(ValueError, match="."):
            PartFooter.from_json(invalid)
        done("inspect", tmp_path / "out")
        assert "1 part made" in done("run", tmp_path / "in", *words).output, name
        check_finished(tmp_path / "out", new)


@pytest.mark.parametrize("invalid", ["null", "17", "[]", DEEP, "{", "", '{"rows_in": 20}', "\xff"])
@pytest.mark.parametrize("marker", ["_SUCCESS", "_RUN"])
def test_invalid_markers_are_written_again(words: tuple, tmp_path: Path, marker: str, invalid: str) -> None:
    done("run", tmp_path / "in", *words)
    new = contents(tmp_path / "out")
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    (tmp_path / "out" / marker).write_bytes(invalid.encode("latin-1"))
    done("inspect", tmp_path / "out")
    done("run", tmp_path / "in", *words)
    check_finished(tmp_path / "out", new)
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["rows_in"] == success["rows_in"]


@pytest.mark.parametrize("change", [{"rows_embedded": 1}, {"rows_in": 40, "rows_embedded": 40}, {"parts": []}])
def test_a_marker_whose_totals_do_not_add_up_is_written_again(words: tuple, tmp_path: Path, change: dict) -> None:
    done("run", tmp_path / "in", *words)
    marker = tmp_path / "out" / "_SUCCESS"
    success = json.loads(marker.read_text())
    marker.write_text(json.dumps(success | change))
    done("run", tmp_path / "in", *words)
    assert {name: json.loads(marker.read_text())[name] for name in change} == {name: success[name] for name in change}


def test_a_quarantine_file_does_not_replace_a_file_of_others(words: tuple, tmp_path: Path) -> None:
    columns = sequences(20, seed=0)
    columns["x"][3] = [float("inf")]
    columns["y"][3] = [1.0]
    write_sequences(tmp_path / "in" / "a.parquet", columns)
    users_file = tmp_path / "out" / "_quarantine" / "a.parquet"
    users_file.parent.mkdir(parents=True)
    for make in (text, table):
        users_file.unlink(missing_ok=True)
        make(users_file)
        before = users_file.read_bytes()
        refused = seqembed("run", tmp_path / "in", *words, "--on-bad-row", "quarantine")
        assert refused.exit_code == 6, refused.output
        assert "_quarantine/a.parquet is a file that seqembed did not write" in refused.output
        assert users_file.read_bytes() == before
    users_file.unlink()
    said = done("run", tmp_path / "in", *words, "--on-bad-row", "quarantine").output
    assert f"quarantined rows, with reasons: {users_file}" in said
    assert "BAD ROWS 1: ±inf, or a number beyond float32's range" in said


def test_a_part_without_its_quarantine_file_is_made_again(words: tuple, tmp_path: Path) -> None:
    columns = sequences(20, seed=0, shortest=1)
    columns["x"][3] = [float("inf")] * len(columns["x"][3])
    write_sequences(tmp_path / "in" / "a.parquet", columns)
    run = ("run", tmp_path / "in", *words, "--on-bad-row", "quarantine")
    done(*run)
    new = contents(tmp_path / "out")
    aside = tmp_path / "out" / "_quarantine" / "a.parquet"
    for spoil in (aside.unlink, lambda: rewritten(aside, lambda table: table.slice(0, 0))):
        spoil()
        done(*run)
        check_finished(tmp_path / "out", new)


def test_files_of_others_in_temporary_and_dangling_links_are_kept(words: tuple, tmp_path: Path) -> None:
    users_file = tmp_path / "out" / "_temporary" / "0" / "task" / "mine.txt"
    users_file.parent.mkdir(parents=True)
    users_file.write_text("precious")
    (tmp_path / "out" / "_temporary" / "0123456789ab").mkdir()
    for _ in range(2):
        done("run", tmp_path / "in", *words)
        assert users_file.read_text() == "precious"
        assert os.listdir(tmp_path / "out" / "_temporary") == ["0"]
    (tmp_path / "out" / "a.parquet").unlink()
    (tmp_path / "out" / "a.parquet").symlink_to(tmp_path / "nowhere")
    refused = seqembed("run", tmp_path / "in" / "a.parquet", *words)
    assert (refused.exit_code, "a.parquet is a file that seqembed did not write" in refused.output) == (6, True)
