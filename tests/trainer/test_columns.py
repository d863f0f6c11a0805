"""Notes of `seqembed train` about columns, and errors that are found before TensorFlow is loaded."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed_testing import done, seqembed, sequences, write_events, write_sequences

pytestmark = pytest.mark.usefixtures("eager_steps")
ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", 0, "--units", 2, "--forward-only", "--objective", "reconstruct", "--progress", "plain"]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Return events as pandas writes a filtered frame, with codes, times in milliseconds and a constant."""
    num = 400
    frame = pd.DataFrame(
        {
            "id": [k // 8 for k in range(num)],
            "x": [k % 17 / 3 for k in range(num)],
            "code": [k % 5 for k in range(num)],
            "at_ms": [1_764_000_000_000 + 11 * k for k in range(num)],
            "still": [1_764_000_000_000] * num,
            "shop": ["a"] * num,
            "day": pd.to_datetime(["2026-01-01"] * num),
        },
        index=[k + 3 for k in range(num)],
    )
    frame.to_parquet(tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


def test_every_column_and_hints_are_printed(events: Path, tmp_path: Path) -> None:
    shown = done("train", events, "--out", tmp_path / "run", *QUICK).stderr
    said = " ".join(shown.split())
    for text in (
        "4 features: x, code, at_ms, still",
        "an index of pandas: __index_level_0__",
        "the id: id",
        "timestamp[us]; pass --time to order the steps by it and to learn from it: day",
        "too little to learn from, as noted above: shop",
        "features that are constant and carry no information: still",
        "'at_ms': 400 distinct values become 1 in float32",
        "pass the column as --time",
        "code (5 values). If they are codes, pass --categorical code",
    ):
        assert text in said, shown
    assert max(map(len, shown.splitlines())) <= 100
    assert "about" not in shown, "no time is promised that was not measured"


def test_ids_in_several_event_files_are_refused_and_shared_row_ids_are_counted(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        write_events(tmp_path / "days" / f"day={day}" / "e.parquet", 20, seed=day)
    refused = seqembed("train", tmp_path / "days", "--out", tmp_path / "run", *QUICK)
    assert refused.exit_code == 3, refused.output
    assert "20 of 20 ids (100.0%) have events in more than one of 3 files" in refused.output
    assert not (tmp_path / "run").exists()
    columns = sequences(40, seed=0, shortest=2)
    columns["id"] = ["twice", *columns["id"][1:-1], "twice"]
    shown = done("train", write_sequences(tmp_path / "in.parquet", columns), "--out", tmp_path / "run", *QUICK).stderr
    assert "1 of 39 ids (2.6%) occur in more than one row; each row is a separate sequence" in shown


def test_a_ragged_list_of_tags_suggests_features(tmp_path: Path) -> None:
    columns = sequences(40, seed=0, shortest=2, longest=9)
    data = tmp_path / "in.parquet"
    table = {"id": columns["id"], "x": columns["x"], "y": columns["y"], "tags": [["a", "b", "c"]] * 40}
    pq.write_table(pa.table(table), data)
    result = seqembed("train", data, "--out", tmp_path / "run", "--min-count", 1, *QUICK)
    assert result.exit_code == 3
    assert "'tags' has 3" in result.output and "such as --features x,y" in result.output
    done("train", data, "--out", tmp_path / "run", "--features", "x,y", *QUICK)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "DATA", "--id", "user", "--out", "OUT"], "no column 'user'"),
        (["train", "missing.parquet", "--out", "OUT"], "no such file"),
        (["train", "DATA", "--features", "z", "--out", "OUT"], "no column 'z'"),
        (["train", "DATA", "--out", "HELD"], "already holds a run"),
        (["export", "model.keras", "--data", "DATA", "--id", "user", "--out", "OUT.onnx"], "no column 'user'"),
    ],
)
def test_column_errors_are_found_before_tensorflow_is_loaded(tmp_path: Path, command: list, message: str) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(9, seed=0))
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "contract.json").write_text("{}")
    (tmp_path / "model.keras").write_text("")
    paths = {"DATA": data, "HELD": tmp_path / "held", "model.keras": tmp_path / "model.keras"}
    paths |= {"OUT": tmp_path / "out", "OUT.onnx": tmp_path / "out.onnx"}
    words = [str(paths.get(word, word)) for word in command]
    code = (
        f"import sys\nfrom seqembed.runner.cli import main\ntry: main({words!r})\n"
        "finally: assert not {'tensorflow', 'keras'} & sys.modules.keys(), 'TensorFlow was loaded'"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (3, 6) and message in ended.stderr, ended.stderr
    assert not (tmp_path / "out").exists()


def test_evaluation_checks_both_splits_before_embedding(tiny, tmp_path: Path) -> None:
    train = write_sequences(tmp_path / "train.parquet", sequences(30, seed=0))
    test = write_sequences(tmp_path / "test.parquet", sequences(30, seed=1))
    table = pq.read_table(test)
    pq.write_table(table.rename_columns(["name", *table.column_names[1:]]), test)
    result = seqembed("evaluate", "--model", tiny.bundle, "--train", train, "--test", test, "--label", "label")
    assert result.exit_code == 3 and "test.parquet: no column 'id'" in result.output
    assert "row" not in result.stderr.split("test.parquet")[0], "nothing was embedded before"


def test_the_suggested_features_are_all_columns_of_equal_length(tmp_path: Path) -> None:
    columns = sequences(40, seed=0, shortest=4, longest=9)
    page = [["a" if value is None or value < 0 else "b" for value in row] for row in columns["x"]]
    tags = [["a", "b", "c"]] * 40
    for index, table in enumerate(({"tags": tags, "x": columns["x"], "page": page}, {"page": page, "tags": tags})):
        data = tmp_path / "in.parquet"
        pq.write_table(pa.table({"id": columns["id"], **table, **({} if index == 0 else {"y": columns["y"]})}), data)
        result = seqembed("train", data, "--out", tmp_path / "run", "--min-count", 1, *QUICK)
        assert result.exit_code == 3
        assert f"such as --features {('x,page', 'y,page')[index]}. Else" in result.output, result.output


def test_columns_are_reported_without_progress_too(tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(40, seed=0, shortest=2))
    shown = done("train", data, "--out", tmp_path / "run", *QUICK, "--progress", "none").stderr
    assert "2 features: x, y" in shown and "one value per row, not per step: label" in shown, shown
    assert "epoch" not in shown
