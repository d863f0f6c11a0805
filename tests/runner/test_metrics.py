"""Metrics of a run for Prometheus, its dashboard, and the log in JSON: the documented names, whatever happens."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families

import seqembed
from seqembed.data.display.events import COMMAND_EVENTS, EVENTS, emit, json_lines
from seqembed.runner.metrics.names import GROUP_METRICS, METRICS
from seqembed_testing import Tiny, done, sequences, write_sequences
from seqembed_testing import seqembed as command

RUNNER = Path(__file__).parents[2] / "runner"
Labels = frozenset[tuple[str, str]]


def read(path: Path) -> dict[str, dict[Labels, float]]:
    """Return name → labels but `out` → number, by the client's own parser."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            labels = frozenset((name, value) for name, value in sample.labels.items() if name != "out")
            assert "out" in sample.labels
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def number(found: dict[str, dict[Labels, float]], name: str, **labels: str) -> float:
    return found[f"seqembed_run_{name}"][frozenset(labels.items())]


def checked_by_promtool(path: Path) -> None:
    """Have the file checked by Prometheus' own tool, where it is installed."""
    if (promtool := os.environ.get("PROMTOOL") or shutil.which("promtool")) is not None:
        with path.open() as text:
            ended = subprocess.run([promtool, "check", "metrics"], stdin=text, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.fixture
def words(tiny: Tiny, tmp_path: Path) -> list[object]:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(200, seed=2, shortest=1))
    return ["run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out"]


def test_a_run_writes_all_its_metrics(words: list[object], tmp_path: Path) -> None:
    columns = sequences(100, seed=3, shortest=1)
    columns["x"][4][0] = float("inf")
    write_sequences(tmp_path / "in" / "b.parquet", columns)
    path = tmp_path / "seqembed.prom"
    done(*words, "--metrics", path, "--on-bad-row", "null")
    found = read(path)
    assert found.keys() == {metric.name for metric in METRICS}
    assert number(found, "exit_code") == 0
    assert number(found, "last_success_timestamp_seconds") == number(found, "finish_timestamp_seconds")
    assert [number(found, "rows", fate=fate) for fate in ("embedded", "null", "quarantined")] == [299, 1, 0]
    assert sum(found["seqembed_run_bad_rows"].values()) == 1
    assert number(found, "parts", state="made") == 2
    assert number(found, "drift_alarmed") == 0
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    for measure in success["drift"]["measures"]:
        labels = {"measure": measure["name"], "feature": measure["feature"] or ""}
        assert number(found, "drift_value", **labels) == measure["value"]
        assert (number(found, "drift_threshold_ratio", **labels) > 1) == measure["alarmed"]
    ((info, _),) = found["seqembed_run_info"].items()
    assert dict(info)["model_sha256"] == success["model_sha256"]
    assert f'out="{tmp_path / "out"}"' in path.read_text()
    checked_by_promtool(path)
    done(*words, "--metrics", path, "--on-bad-row", "null")
    assert number(read(path), "parts", state="skipped") == 2  # with nothing to do, too
    assert [name for name in os.listdir(tmp_path) if name.startswith("seqembed.prom")] == ["seqembed.prom"]


def test_a_failed_run_leaves_its_code_and_the_time_of_the_last_success(words: list[object], tmp_path: Path) -> None:
    path = tmp_path / "seqembed.prom"
    words += ["--metrics", path]
    done(*words)
    success = number(read(path), "last_success_timestamp_seconds")
    for _ in range(2):
        write_sequences(tmp_path / "in" / "b.parquet", {"id": ["q"], "x": [[1.0]], "y": [[float("inf")]]})
        assert command(*words).exit_code == 3
        found = read(path)
        assert found.keys() == {metric.name for metric in METRICS if metric.always}
        assert number(found, "exit_code") == 3
        assert number(found, "last_success_timestamp_seconds") == success < number(found, "finish_timestamp_seconds")
    checked_by_promtool(path)
    (tmp_path / "in" / "b.parquet").unlink()
    done(*words, "--prune")
    assert number(read(path), "last_success_timestamp_seconds") > success


def test_a_run_that_fails_on_drift_has_its_measures(words: list[object], tmp_path: Path) -> None:
    columns = sequences(200, seed=2, shortest=1)
    columns["x"] = [[None if v is None else 4.5 for v in row] for row in columns["x"]]
    write_sequences(tmp_path / "in" / "a.parquet", columns)
    path = tmp_path / "seqembed.prom"
    assert command(*words, "--metrics", path, "--fail-on-drift").exit_code == 5
    found = read(path)
    assert (number(found, "exit_code"), number(found, "drift_alarmed")) == (5, 1)
    assert number(found, "drift_threshold_ratio", measure="stuck", feature="x") == float("inf")
    assert number(found, "last_success_timestamp_seconds") == 0  # so that an alert on its age fires
    checked_by_promtool(path)


@pytest.mark.parametrize("text", ["\0", "PAR1", "my_metric 5\n", "# TYPE"])
def test_a_file_of_others_is_not_replaced(words: list[object], tmp_path: Path, text: str) -> None:
    path = tmp_path / "seqembed.prom"
    path.write_text(text)
    for place in (path, tmp_path / "in" / "a.parquet"):
        ended = command(*words, "--metrics", place)
        assert ended.exit_code == 6
        assert "is not a file of metrics that seqembed wrote, so it is not replaced" in ended.output
    assert path.read_text() == text
    assert not (tmp_path / "out").exists()


def test_a_link_is_followed_and_leftovers_of_killed_runs_are_removed(words: list[object], tmp_path: Path) -> None:
    (tmp_path / "seqembed.prom").symlink_to(tmp_path / "real.prom")
    old, new = tmp_path / "real.prom.12.34", tmp_path / "real.prom.56.78"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    done(*words, "--metrics", tmp_path / "seqembed.prom")
    assert (tmp_path / "seqembed.prom").is_symlink()
    assert number(read(tmp_path / "real.prom"), "exit_code") == 0
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("text", ["", "# HELP seqembed_run_x\nx NaN\n", "# HELP seqembed_run_{out="])
def test_a_damaged_file_is_replaced(words: list[object], tmp_path: Path, text: str) -> None:
    path = tmp_path / "seqembed.prom"
    path.write_text(text)
    assert command(*words, "--metrics", path, "--keep", "nothing").exit_code == 3
    assert number(read(path), "last_success_timestamp_seconds") == 0
    done(*words, "--metrics", path)
    assert number(read(path), "exit_code") == 0


def test_a_stopped_run_has_the_code_of_its_signal(words: list[object], tmp_path: Path) -> None:
    path = tmp_path / "seqembed.prom"
    code = (
        "import os, signal\n"
        "from seqembed.runner.output.directory import OutputDirectory\n"
        "def stop(*args): os.kill(os.getpid(), signal.SIGTERM); signal.sigtimedwait([], 1)\n"
        "OutputDirectory.begin = stop\n"
        "from seqembed.runner.cli import main\n"
        f"main({[str(word) for word in [*words, '--metrics', path]]})\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 143, ended.stderr
    assert number(read(path), "exit_code") == 143


def test_where_no_file_can_be_written_the_run_does_not_start(words: list[object], tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "where.prom", tmp_path, "s3://bucket/seqembed.prom"):
        result = command(*words, "--metrics", path)
        assert result.exit_code == 6 and "cannot write metrics there" in result.output
    assert not (tmp_path / "out").exists()


def test_without_the_extra_the_run_says_which_to_install(words: list[object], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        f"from seqembed.runner.cli import main; main({[str(word) for word in [*words, '--metrics', 'x.prom']]})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "pip install 'seqembed[metrics]'" in ended.stderr


def test_metrics_work_from_python_and_from_a_configuration_file(tiny: Tiny, tmp_path: Path, words: list) -> None:
    path, config = tmp_path / "python.prom", tmp_path / "night.toml"
    seqembed.run(words[1], model=tiny.bundle, out=tmp_path / "out", metrics=str(path), fail_on_drift=True)
    assert number(read(path), "exit_code") == 0
    config.write_text(f'[run]\nmetrics = "{tmp_path}/file.prom"\nfail-on-drift = true\n')
    done(*words, "--config", config)
    assert read(tmp_path / "file.prom").keys() == read(path).keys()


def table(heading: str) -> dict[str, str]:
    """Return the first two columns of the first table below a heading of the handbook."""
    text = (RUNNER / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = (line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `"))
    return {name.strip().strip("`"): meaning.strip() for name, meaning in rows}


def test_the_handbook_lists_the_metrics_and_the_events() -> None:
    shown = {metric.name: ", ".join(f"`{label}`" for label in metric.labels) for metric in METRICS}
    events = {name: ", ".join(f"`{field}`" for field in fields) for name, fields in EVENTS.items()}
    listed = table("Metrics and events")
    assert {name: listed[name] for name in shown} == shown
    assert {name: listed[name] for name in events} == events
    assert listed.keys() == shown.keys() | events.keys()


def test_the_handbook_lists_the_events_of_other_commands() -> None:
    text = (RUNNER / "README.md").read_text().split("## Events of other commands\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines() if "| `" in line]
    listed = {(command, event): fields for command, event, fields in rows}
    assert listed == {
        (command, event): ", ".join(f"`{field}`" for field in fields)
        for command, events in COMMAND_EVENTS.items()
        for event, fields in events.items()
    }


def test_the_dashboard_asks_for_documented_metrics_and_labels() -> None:
    dashboard = json.loads((RUNNER / "grafana.json").read_text())
    labels = {metric.name: {"out", *metric.labels} for metric in METRICS}
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries.append(dashboard["templating"]["list"][1]["query"])
    asked = {name for query in queries for name in re.findall(r"seqembed_\w+", query)}
    assert asked <= labels.keys() and len(asked) > 10
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            (name,) = re.findall(r"seqembed_\w+", target["expr"])
            used = re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
            used += re.findall(r"(\w+)=~", target["expr"])
            used += [each for group in re.findall(r"by \(([\w, ]+)\)", target["expr"]) for each in group.split(", ")]
            assert set(used) <= labels[name], target
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_handbook_lists_the_metrics_of_a_grouping() -> None:
    shown = {metric.name: ", ".join(f"`{label}`" for label in metric.labels) for metric in GROUP_METRICS}
    assert table("Metrics of a grouping") == shown


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_log_in_json_has_an_event_per_stage_and_part(words: list[object], tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "b.parquet", sequences(50, seed=3))
    result = command(*words, "--log-format", "json")
    assert result.exit_code == 0, result.output
    found = lines(result.stderr)
    names = [line["event"] for line in found]
    assert names == ["started", "planned", "checked", "part", "part", "drift", "finished"]
    for line in found:
        assert line.keys() == {"time", "event", *EVENTS[line["event"]]}, line
    assert {line["name"]: line["rows_in"] for line in found[3:5]} == {"a.parquet": 200, "b.parquet": 50}
    assert "rows in = " in result.stdout
    again = command(*words, "--log-format", "json")
    assert [line["event"] for line in lines(again.stderr)] == ["started", "planned", "drift", "finished"]


def test_a_dry_run_in_json_is_the_plan(words: list[object], tmp_path: Path) -> None:
    result = command(*words, "--log-format", "json", "--dry-run")
    assert result.exit_code == 0, result.output
    found = lines(result.stderr)
    assert [line["event"] for line in found] == ["started", "planned", "would"]
    assert (found[1]["parts_to_make"], found[1]["rows_to_read"]) == (1, 200)
    assert (found[2]["name"], found[2]["action"]) == ("a.parquet", "make")
    assert not (tmp_path / "out").exists()
    missing = command("run", tmp_path / "nothing", *words[2:], "--log-format", "json", "--dry-run")
    assert [line["event"] for line in lines(missing.stderr)] == ["started", "failed"]
    assert lines(missing.stderr)[-1]["exit_code"] == missing.exit_code == 3


def test_a_file_without_a_footer_that_is_passed_over_is_an_event_of_every_run(words: list, tmp_path: Path) -> None:
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1 nothing else")
    for _ in range(2):
        result = command(*words, "--log-format", "json", "--on-bad-file", "skip")
        assert result.exit_code == 0, result.output
        (found,) = [line for line in lines(result.stderr) if line["event"] == "unreadable"]
        assert found["name"] == "b.parquet" and found["reason"]


@pytest.mark.usefixtures("quick_training")
def test_training_export_and_grouping_have_an_event_per_stage(tiny: Tiny, tmp_path: Path) -> None:
    said = command("train", tiny.data, "--out", tmp_path / "run", "--steps", 2, "--units", 4, "--log-format", "json")
    found = staged("train", said)
    read = next(line for line in found if line["event"] == "read")
    assert (read["features"], read["fields"]) == (2, 0)
    assert found[-1]["num_steps"] == 2
    assert any("training sequence" in line["message"] for line in found if line["event"] == "message")
    assert "Sharding callback" not in said.stderr  # TensorFlow logs it at every save
    said = command("export", tmp_path / "run", "--out", tmp_path / "m.onnx", "--log-format", "json")
    assert staged("export", said)[-1]["bytes"] == (tmp_path / "m.onnx").stat().st_size
    events = {"id": [f"s{n % 20}" for n in range(60)], "t": list(range(60)), "x": [0.5] * 60}
    pq.write_table(pa.table(events), tmp_path / "events.parquet")
    options = ("--id", "id", "--time", "t", "--buckets", 2, "--log-format", "json")
    found = staged("group", command("group", tmp_path / "events.parquet", "--out", tmp_path / "grouped", *options))
    buckets = [line for line in found if line["event"] == "bucket"]
    assert len(buckets) == found[-1]["buckets_made"] == 2
    assert sum(line["ids"] for line in buckets) == found[-1]["ids"] == 20
    assert found[-1]["notes"] == []
    planned = command("group", tmp_path / "events.parquet", "--out", tmp_path / "new", *options, "--dry-run")
    would = [(line["event"], line.get("name"), line.get("action")) for line in lines(planned.stderr)]
    assert [event for event, *_ in would[:2]] == ["started", "planned"]
    assert would[2:] == [("would", f"bucket-0000{n}.parquet", "make") for n in (0, 1)]
    same = lines(command("group", tmp_path / "events.parquet", "--out", tmp_path / "grouped", *options).stderr)
    assert [(line["buckets_to_make"], line["events_to_read"]) for line in same if line["event"] == "planned"] == [
        (0, 0)
    ]
    again = command("group", tmp_path / "nothing", "--out", tmp_path / "grouped", *options)
    assert again.exit_code == lines(again.stderr)[-1]["exit_code"] == 3
    assert lines(again.stderr)[-1]["event"] == "failed"


def test_a_log_in_json_has_only_warnings_of_libraries() -> None:
    said = io.StringIO()
    with json_lines(said):
        logging.getLogger("tensorflow").info("Sharding callback duration: 86 microseconds")
        logging.getLogger("tensorflow").warning("out of memory soon")
        logging.getLogger("seqembed").info("120 training sequences")
        logging.getLogger("seqembedded").info("not one of ours")
        emit("read", sequences=120)
    events = [(line["event"], line.get("level"), line.get("message")) for line in lines(said.getvalue())]
    assert events == [
        ("message", "warning", "out of memory soon"),
        ("message", "info", "120 training sequences"),
        ("read", None, None),
    ]


def staged(name: str, result: Result) -> list[dict]:
    """Check that a command that succeeded wrote its documented events; return its lines."""
    assert result.exit_code == 0, result.output
    found = lines(result.stderr)
    assert {line["event"] for line in found} - {"message"} == COMMAND_EVENTS[name].keys() - {"would"}
    assert (found[0]["event"], found[-1]["event"]) == ("started", "finished")
    for line in found:
        assert line.keys() == {"time", "event", *({**EVENTS, **COMMAND_EVENTS[name]}[line["event"]])}, line
    return found


def test_an_error_is_the_last_line_of_a_log_in_json(words: list[object], tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "b.parquet", {"id": ["q"], "x": [[1.0]], "y": [[float("inf")]]})
    result = command(*words, "--log-format", "json")
    assert result.exit_code == 3
    last = lines(result.stderr)[-1]
    assert (last["event"], last["exit_code"], last["error"]) == ("failed", 3, "BadRowError")
    assert last.keys() == {"time", "event", *EVENTS["failed"]} and "b.parquet" in last["message"]


def test_a_handler_of_events_hears_a_run_from_python(tiny: Tiny, tmp_path: Path, words: list) -> None:
    heard: list[str] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    handler, logger = Hearing(), logging.getLogger("seqembed.events")
    logger.addHandler(handler)
    try:
        seqembed.run(words[1], model=tiny.bundle, out=tmp_path / "out", progress="none")
    finally:
        logger.removeHandler(handler)
    assert heard[0] == "started" and heard[-1] == "finished"
