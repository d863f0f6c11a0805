"""`seqembed inspect` on other kinds of files names the kind and the command for it."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed_testing import Tiny, done, seqembed, sequences, write_events, write_sequences


def test_pipes_devices_and_a_missing_bucket_are_input_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for given, what in ((tmp_path / "pipe", "a pipe"), ("/dev/null", "a device"), ("s3://", "no bucket")):
        result = seqembed("inspect", given)
        assert result.exit_code == 3 and what in result.output, result.output


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("encoder.keras", "a Keras model (.keras), not a bundle. Make one with `seqembed export"),
        ("contract.json", "the contract of a run directory"),
        ("config.toml", "a text file"),
        (b'{"a": 1}', "a JSON file"),
        (b"{not json", "a text file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"PK\x03\x04" + bytes(99), "a damaged zip archive"),
        ("M\u00fcller, ".encode() * 9999, "a text file"),
        (b"", "an empty file"),
    ],
    ids=str,
)
def test_the_kind_of_a_file_that_is_not_a_model_is_named(
    tiny: Tiny, tmp_path: Path, content: object, what: str
) -> None:
    path = tmp_path / "given"
    path.write_bytes(content if isinstance(content, bytes) else (tiny.run / str(content)).read_bytes())
    result = seqembed("inspect", path)
    assert result.exit_code == 4 and what in result.output and "protobuf" not in result.output, result.output


def test_a_damaged_contract_of_a_run_asks_for_training(tiny: Tiny, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny.run, tmp_path / "run"))
    text = (run / "contract.json").read_text()
    for damaged in (
        text[:-9],
        text.replace('"embedding_dim": 6', '"embedding_dim": -6'),
        "{}",
        '{"format_version": 0}',
    ):
        (run / "contract.json").write_text(damaged)
        for command in (["inspect", run], ["export", run, "--out", tmp_path / "e.onnx"]):
            result = seqembed(*command)
            assert result.exit_code == 4, result.output
            assert "rain again" in result.output or "train again" in result.output, result.output
            assert "xport the model again" not in result.output, result.output


def test_a_directory_of_outputs_and_inputs_is_not_an_output(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(9, seed=1))
    for name in ("one", "two"):
        done("run", data, "--model", tiny.bundle, "--out", tmp_path / "deep" / name)
    said = done("inspect", tmp_path).output
    assert "2 output directories of seqembed below it" in said and "_SUCCESS" not in said, said
    assert f"  {tmp_path}/deep/two" in said and "Other Parquet files below it: 1, such as in.parquet" in said
    assert "finished parts: 1" in done("inspect", tmp_path / "deep" / "one").output


def test_data_marked_complete_by_spark_are_data(tmp_path: Path) -> None:
    write_sequences(tmp_path / "in.parquet", sequences(9, seed=1))
    (tmp_path / "_SUCCESS").touch()
    assert "Parquet data" in done("inspect", tmp_path).output


def test_a_glob_names_data(tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(tmp_path / f"day={name}" / "in.parquet", sequences(9, seed=1))
    said = done("inspect", tmp_path / "day=*" / "*.parquet").output
    assert "2 files, 18 rows" in said and f"seqembed train '{tmp_path}/day=*/*.parquet' --out" in said, said
    assert seqembed("inspect", tmp_path / "month=*").exit_code == 3


def test_a_training_that_would_be_refused_is_not_suggested(tmp_path: Path) -> None:
    for day in (1, 2):
        write_events(tmp_path / "days" / f"day={day}" / "e.parquet", 20, seed=day)
    said = done("inspect", tmp_path / "days").output
    assert "Not ready for training" in said and "20 of 20 ids (100.0%) have events in more than one of 2 files" in said
    assert "Next:" not in said and "Partition keys of the path, one value per file: day" in said, said
    columns = sequences(40, seed=0, shortest=4)
    table = {"id": columns["id"], "x": columns["x"], "y": columns["y"], "tags": [["a", "b", "c"]] * 40}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    said = done("inspect", tmp_path / "in.parquet").output
    assert "Next:" not in said and "row 0 (id 's0'): ragged" in said and "such as --features x,y" in said, said


def test_integers_that_may_be_codes_are_hinted_at(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "code": [[1, 2, 7], [7, 2]], "x": [[0.5, 1.5, 2.5], [3.5, 4.5]]}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    said = done("inspect", tmp_path / "in.parquet").output
    assert "code (3 values)" in said and "pass --categorical code" in said and "Next:" in said, said
