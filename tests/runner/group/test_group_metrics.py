"""Metrics of a grouping for Prometheus: whatever happens, and each event accounted for."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

import seqembed
from seqembed.runner.metrics.names import GROUP_METRICS
from seqembed_testing import Tiny, done
from seqembed_testing import seqembed as command

Numbers = dict[tuple[str, ...], float]


def read(path: Path, out: Path) -> Numbers:
    """Return name and labels but `out` → number, by the client's own parser."""
    found: Numbers = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            assert sample.labels.pop("out") == str(out)
            found[sample.name.removeprefix("seqembed_group_"), *sample.labels.values()] = sample.value
    return found


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """Group ten events, of which some have no id, no time, come twice, lie outside the span, or beyond the maximum."""
    columns = {
        "id": [1, 1, 1, 1, 2, 2, None, 3, 3, 4],
        "time": [1, 2, 3, 3, 5, 99, 1, None, 2, 7],
        "x": [0.5] * 10,
    }
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in" / "a.parquet")
    options = ["--until", 50, "--deduplicate", "time", "--max-length", 2, "--on-bad-row", "drop", "--buckets", 2]
    return ["group", tmp_path / "in", "--out", tmp_path / "out", *options, "--metrics", tmp_path / "group.prom"]


def test_every_event_is_in_the_metrics(words: list[object], tmp_path: Path) -> None:
    done(*words)
    found = read(tmp_path / "group.prom", tmp_path / "out")
    assert {name for name, *_ in found} == {metric.name.removeprefix("seqembed_group_") for metric in GROUP_METRICS}
    fates = {fate: number for (name, *labels), number in found.items() if name == "events" for fate in labels}
    assert fates == {"grouped": 5, "without_id": 1, "without_time": 1, "outside": 1, "repeated": 1, "truncated": 1}
    for (name, *labels), number in (
        (("exit_code",), 0),
        (("ids",), 4),
        (("longest_events",), 2),
        (("buckets", "made"), 2),
        (("buckets", "skipped"), 0),
        (("files",), 1),
        (("pruned_files",), 0),
        (("info", seqembed.__version__), 1),
    ):
        assert found[name, *labels] == number, name
    assert found["last_success_timestamp_seconds",] == found["finish_timestamp_seconds",] > 1.7e9
    done(*words)  # with nothing to do
    again = read(tmp_path / "group.prom", tmp_path / "out")
    assert (again["buckets", "made"], again["buckets", "skipped"]) == (0, 2)
    assert again["last_success_timestamp_seconds",] > found["last_success_timestamp_seconds",]


def test_a_failed_grouping_keeps_the_time_of_the_last_success(words: list[object], tmp_path: Path) -> None:
    done(*words)
    before = read(tmp_path / "group.prom", tmp_path / "out")
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1 nothing else")
    assert command(*words).exit_code == 3
    found = read(tmp_path / "group.prom", tmp_path / "out")
    always = {metric.name.removeprefix("seqembed_group_") for metric in GROUP_METRICS if metric.always}
    assert {name for name, *_ in found} == always
    assert found["exit_code",] == 3
    assert found["last_success_timestamp_seconds",] == before["last_success_timestamp_seconds",]


def test_a_file_of_a_run_is_not_replaced(words: list[object], tiny: Tiny, tmp_path: Path) -> None:
    metrics = ("--metrics", tmp_path / "group.prom")
    done("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "vectors", *metrics)
    before = (tmp_path / "group.prom").read_text()
    refused = command(*words)
    assert (refused.exit_code, "group.prom: holds the metrics of another command" in refused.output) == (6, True)
    assert (tmp_path / "group.prom").read_text() == before
    assert not (tmp_path / "out").exists()


def test_from_python_and_without_writing_in_a_dry_run(words: list[object], tmp_path: Path) -> None:
    path = tmp_path / "python.prom"
    options = {"on_bad_row": "drop", "buckets": 2, "progress": "none"}
    seqembed.group(tmp_path / "in", out=tmp_path / "other", metrics=path, dry_run=True, **options)  # type: ignore[call-overload]
    assert not path.exists()
    seqembed.group(tmp_path / "in", out=tmp_path / "other", metrics=path, **options)  # type: ignore[call-overload]
    assert read(path, tmp_path / "other")["events", "grouped"] == 8
