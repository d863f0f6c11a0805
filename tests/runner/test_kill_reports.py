"""Kill `seqembed run` while it writes its page, its history or its metrics: the rerun is right, with no leftovers."""

import json
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from child_runner import KILLED, ChildRunner, check_complete, check_finished, contents, fresh_copy
from seqembed_testing import Tiny, done, sequences, write_sequences

STEPS = (
    *("part synced", "after rename or removal", "history written", "before _SUCCESS", "after _SUCCESS"),
    *("page begun", "page written", "metrics begun", "metrics staged", "metrics written"),
)
NUM_ROWS = 70


def figures(metrics: Path) -> dict[str, float]:
    """Return the metrics without labels beyond the output directory."""
    families = text_string_to_metric_families(metrics.read_text())
    return {one.name: one.value for family in families for one in family.samples if one.labels.keys() == {"out"}}


def check_reports(out: Path, metrics: Path) -> None:
    """Check that what there is of reports is complete, and that the success marker is true."""
    if (out / "_SUCCESS").exists():
        assert json.loads((out / "_SUCCESS").read_text())["rows_in"] == NUM_ROWS
        assert (out / "a.parquet").exists() and (out / "b.parquet").exists()
    if (out / "_report.html").exists():
        assert (out / "_report.html").read_text().rstrip().endswith("</html>")
    if metrics.exists():
        assert figures(metrics)["seqembed_run_exit_code"] == 0
    made = [json.loads(path.read_text())["rows_made"] for path in (out / "_history").glob("*")]
    assert sum(made) <= NUM_ROWS, "rows of a run are in the history twice"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_call_of_a_step_the_rerun_has_the_page_and_the_metrics(
    tiny: Tiny, child_runner: ChildRunner, tmp_path: Path, step: str
) -> None:
    data, out, directory = tmp_path / "in", tmp_path / "out", tmp_path / "metrics"
    directory.mkdir()
    metrics = directory / "run.prom"
    write_sequences(data / "a.parquet", sequences(40, seed=1))
    words = ("run", data, "--model", tiny.bundle, "--threads", 1, "--report", "--metrics", metrics)
    done(*words, "--out", tmp_path / "before")
    write_sequences(data / "b.parquet", sequences(30, seed=2))
    done(*words, "--out", fresh_copy(tmp_path / "before", tmp_path / "expected"))
    old, new = contents(tmp_path / "before"), contents(tmp_path / "expected")
    for number in range(1, 100):
        ended = child_runner.run(*words, "--out", fresh_copy(tmp_path / "before", out), step=step, number=number)
        if ended.code != KILLED:
            break
        check_complete(out, old, new)
        check_reports(out, metrics)
        for left in directory.glob("run.prom.*"):
            os.utime(left, (0, 0))  # a younger one may be that of a run that is still writing
        done(*words, "--out", out)
        check_finished(out, new)
        check_reports(out, metrics)
        assert "70 rows" in (out / "_report.html").read_text()  # and not the page of the run before
        assert [path.name for path in directory.iterdir()] == ["run.prom"]
    assert ended.code == 0, ended.output
    assert number > 1, "the run never came by this step"
