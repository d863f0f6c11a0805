"""What a run says where something is not what it seems: the true state, and a remedy that works."""

import json
import shlex
from pathlib import Path

import onnx
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.contract import CONTRACT_KEY
from seqembed_testing import Tiny, contract_of, done, seqembed, sequences, with_contract, write_events, write_sequences


def test_a_history_that_is_a_file_of_others_is_met_before_the_work(tiny: Tiny, tmp_path: Path) -> None:
    data, out = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1)), tmp_path / "out"
    out.mkdir()
    (out / "_history").write_text("mine")
    refused = seqembed("run", data, "--model", tiny.bundle, "--out", out)
    assert refused.exit_code == 6
    assert "_history: a file that seqembed did not write" in refused.output
    assert [path.name for path in out.iterdir()] == ["_history"]
    (out / "_history").rename(tmp_path / "away")  # the remedy
    done("run", data, "--model", tiny.bundle, "--out", out)


def test_null_ids_are_bad_rows_and_not_repeated_ids(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(20, seed=1)
    columns["id"] = pa.array([None] * 20, pa.string())
    data = write_sequences(tmp_path / "in.parquet", columns)
    words = ("--on-bad-row", "null", "--max-bad-fraction", 1)
    said = done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", *words).output
    assert "BAD ROWS 20: the id is null" in said
    assert "in more than one row" not in said


def test_inspect_of_a_killed_run_names_one_thing_to_do(tiny: Tiny, tmp_path: Path) -> None:
    data, out = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1)), tmp_path / "out"
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert "A rerun would make nothing." in done("inspect", out).output
    (out / "_SUCCESS").unlink()
    said = done("inspect", out).output
    assert "A rerun would make no part, and write _SUCCESS." in said
    assert "Run it again" not in said and "make nothing" not in said
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert (out / "_SUCCESS").exists()


def test_a_bundle_of_a_newer_format_is_called_that_whatever_its_graph_has(tiny: Tiny, tmp_path: Path) -> None:
    model = onnx.load(tiny.bundle)
    model.graph.node[0].op_type = "OperatorOfTheFuture"
    for entry in model.metadata_props:
        if entry.key == CONTRACT_KEY:
            entry.value = json.dumps({**json.loads(entry.value), "format_version": 3})
    onnx.save(model, tmp_path / "newer.onnx")
    refused = seqembed("inspect", tmp_path / "newer.onnx")
    assert refused.exit_code == 4
    assert "contract format 3; this seqembed reads format" in refused.output
    assert "Install the seqembed version that made the file" in refused.output
    assert "damaged" not in refused.output


def test_raw_events_for_a_model_of_grouped_ones_get_the_line_that_groups_them(tiny: Tiny, tmp_path: Path) -> None:
    table = pq.read_table(write_events(tmp_path / "raw.parquet", 30, seed=2))
    pq.write_table(table.append_column("t", pa.array(range(len(table)))), tmp_path / "raw.parquet")
    schema = {**contract_of(onnx.load(tiny.bundle))["schema"], "time": "t"}
    model = with_contract(tiny.bundle, tmp_path / "grouped.onnx", schema=schema)
    refused = seqembed("run", tmp_path / "raw.parquet", "--model", model, "--out", tmp_path / "out", "--keep", "label")
    assert refused.exit_code == 3
    line = refused.output.split("pass the result: ")[1].strip()
    assert line.startswith("seqembed group ") and "timestamp" not in refused.output
    words = shlex.split(line)
    done(*words[1:-1], tmp_path / "grouped")
    done("run", tmp_path / "grouped", "--model", model, "--out", tmp_path / "out", "--keep", "label")
    assert set(pq.read_table(tmp_path / "out")["id"].to_pylist()) == set(table["id"].to_pylist())


def test_a_glob_without_parts_is_in_the_metrics_and_an_unknown_option_is_not(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    words = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--metrics", tmp_path / "run.prom")
    assert seqembed(*words, "--threads", 0).exit_code == 2
    assert not (tmp_path / "run.prom").exists()
    assert seqembed(*words, "--only", "zz*").exit_code == 2
    assert "} 2.0" in (tmp_path / "run.prom").read_text()
