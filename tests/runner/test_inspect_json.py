"""`seqembed inspect --json` prints what the text says, as one object; tables of the text fit into 80 columns."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqembed as package
from seqembed.data.display.tables import WIDTH, aligned, columns_of, cut
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences


def facts_of(*words: object) -> dict:
    """Return the object that `inspect --json` prints."""
    return json.loads(done("inspect", *words, "--json").stdout)


@pytest.fixture
def out(tiny: Tiny, tmp_path: Path) -> Path:
    """Return an output directory of two parts, one of which has lost its input."""
    for name in ("a", "b"):
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(9, seed=1))
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    (tmp_path / "in" / "b.parquet").unlink()
    return tmp_path / "out"


def test_a_bundle(tiny: Tiny) -> None:
    facts = facts_of(tiny.bundle)
    assert (facts["kind"], facts["source"]) == ("bundle", str(tiny.bundle))
    assert facts["bytes"] == tiny.bundle.stat().st_size and len(facts["sha256"]) == 64
    assert [one["name"] for one in facts["inputs"]] == ["values", "lengths"]
    assert facts["inputs"][0]["shape"] == ["batch", "time", 2]
    assert facts["outputs"][0]["name"] == "embedding" and facts["embedding_dim"] == 6
    assert [one["name"] for one in facts["features"]] == ["x", "y"] and facts["features"][0]["missing_share"] > 0
    assert facts["trained_on"]["sequences"] + facts["trained_on"]["empty"] > 0
    assert facts["golden"]["sequences"] == 5 and facts["golden"]["difference_on_this_host"] < 1e-5
    assert facts["parity"]["max_difference"] <= facts["parity"]["tolerance"]


def test_a_run_directory_finished_or_not(tiny: Tiny, tmp_path: Path) -> None:
    facts = facts_of(tiny.run)
    assert (facts["kind"], facts["finished"], facts["architecture"]["cell"]) == ("run", True, "gru")
    assert facts["training"]["loss"] > 0 and facts["training"]["baseline_loss"] > 0
    assert facts["next"].startswith("seqembed export ")
    run = Path(shutil.copytree(tiny.run, tmp_path / "run"))
    (run / "contract.json").unlink()
    assert facts_of(run) == {"kind": "run", "source": str(run), "next": None, "finished": False}


def test_an_output_directory_says_what_a_rerun_would_do(out: Path) -> None:
    facts = facts_of(out)
    assert (facts["kind"], facts["parts"], facts["rows_in"]) == ("output", 2, 18)
    assert facts["rows_in"] == facts["rows_embedded"] + facts["rows_null"] + facts["rows_quarantined"]
    assert facts["statistics"]["features"]["x"]["count"] > 0 and "exact" not in facts["statistics"]
    assert facts["last_run"]["rows_made"] == 18 and len(facts["models"]) == 1
    rerun = facts["rerun"]
    assert (rerun["problem"], rerun["complete"], rerun["orphaned"], rerun["make"]) == (None, 1, 1, 0)
    assert rerun["parts"] == [{"state": "orphaned (its input no longer exists)", "name": "b.parquet"}]


def test_damage_of_an_output_directory_is_a_problem_in_it(out: Path) -> None:
    (out / "_RUN").write_text("{")
    (out / "_SUCCESS").write_text("{")
    facts = facts_of(out)
    assert "damaged" in facts["rerun"]["problem"]
    assert (facts["last_run"], facts["unfinished"]) == (None, "damaged")


def test_directories_of_outputs_and_of_grouped_events(out: Path, tmp_path: Path) -> None:
    facts = facts_of(tmp_path)
    assert (facts["kind"], facts["directories"]) == ("outputs", [str(out)])
    events = pa.table({"id": ["a", "b", "a"], "at": pa.array([1, 2, 3], pa.timestamp("s")), "x": [1.0, 2.0, 3.0]})
    pq.write_table(events, tmp_path / "events.parquet")
    done("group", tmp_path / "events.parquet", "--id", "id", "--time", "at", "--out", tmp_path / "grouped")
    facts = facts_of(tmp_path / "grouped")
    assert (facts["kind"], facts["events"], facts["ids"], facts["longest"]) == ("grouped", 3, 2, 2)
    assert facts["inputs"] == {"problem": None, "unchanged": 1, "changed": 0, "new": 0, "gone": 0}
    assert facts["finished"] and facts["next"].startswith("seqembed train ")


def test_data_and_why_they_cannot_be_read(tmp_path: Path) -> None:
    path = write_sequences(tmp_path / "in.parquet", sequences(50, seed=0, shortest=2, longest=9))
    facts = facts_of(path, "--label", "label")
    assert (facts["kind"], facts["files"], facts["rows"], facts["problem"]) == ("data", 1, 50, None)
    assert {"name": "x", "type": "list<element: float>"} in facts["columns"]
    assert (facts["layout"], facts["features"], facts["lengths"]["longest"]) == ("nested", ["x", "y"], 9)
    assert {"name": "label", "reason": "the label"} in facts["left_out"]
    refused = facts_of(path, "--id", "customer")
    assert "no column 'customer'" in refused["problem"] and refused["next"] is None


def test_an_error_is_no_object(tmp_path: Path) -> None:
    result = seqembed("inspect", tmp_path / "nothing", "--json")
    assert result.exit_code == 3 and result.stdout == ""


def test_python_has_the_same_facts(tiny: Tiny) -> None:
    shown = package.inspect(tiny.run)
    assert shown.facts == facts_of(tiny.run) and shown.kind == shown.facts["kind"]


def test_tables_of_any_names_fit_into_80_columns(tmp_path: Path, tiny: Tiny) -> None:
    names = ["x", "温度センサー" * 9, "a name of many words " * 9, "e\u0301te\u0301"]
    rows = [(name, "-0.0001234", "1.234e+10", "99.9%", "") for name in names]
    lines = list(aligned(("feature", "mean", "std", "missing", "never"), rows))
    assert len(lines) == 5 and {columns_of(line) for line in lines} == {max(map(columns_of, lines))}
    assert max(map(columns_of, lines)) <= WIDTH and "never" not in lines[0]
    assert cut("abcdefghij", 5).count("…") == 1 and list(aligned(("a", "b"), [])) == []
    said = done("inspect", tiny.run).output.splitlines()
    table = [line for line in said if line.startswith("  ")]
    assert len(table) > 2 and max(map(columns_of, table)) <= WIDTH


def test_statistics_of_an_output_align(out: Path) -> None:
    said = done("inspect", out).output.splitlines()
    start = next(index for index, line in enumerate(said) if line.startswith("  feature "))
    heads, *features = said[start : start + 3]
    for word in ("mean", "missing", "outside"):
        end = heads.index(word) + len(word)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in features)
