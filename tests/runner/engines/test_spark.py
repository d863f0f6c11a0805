"""`--engine spark` on a real cluster of two executors: the same bytes, faults as a run reports them, workers that die.

`SEQEMBED_KILLS=60` kills more workers.
"""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from column_types import columns
from engine_laws import (
    NUM_KILLS,
    check_broken_disk,
    check_bucket,
    check_errors,
    check_faults_of_data,
    check_first_fault,
    check_hard_names,
    check_killed_workers,
    check_lack_of_memory,
    check_same_bytes,
    check_scores,
)
from engines_testing import ON_SPARK, Job, Killer, check_vectors
from s3_testing import Store

import seqembed as seqembed_package
from child_runner import check_finished, contents
from seqembed.data.errors import BundleError, InputError, UsageError
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.group.plan import GroupInputs, plan_group
from seqembed.runner.group.progress import Stages, show_events
from seqembed.runner.job.plan import InputStates
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import Tiny, done, events_bundle, seqembed, with_contract

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = ON_SPARK

SPARK = ("--engine", "spark")
GROUPED = {
    *(
        "float16",
        "float64",
        "string",
        "large_string",
        "latin_1",
        "binary",
        "uuid",
        "decimal128",
        "decimal256",
        "date32",
    ),
    *("time64", "timestamp_ns", "timestamp_zone", "duration", "struct", "list"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session with two executors, each a process with a CPU, as `--address` would start it."""
    from seqembed.runner.engines.spark import start_session

    session = start_session(1, "local-cluster[2,1,1024]", tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.mark.parametrize("name", ["telemetry", "transactions"])
def test_the_bytes_are_those_of_this_process(cluster: Any, jobs: dict[str, Job], tmp_path: Path, name: str) -> None:
    check_same_bytes(jobs[name], tmp_path / "out", SPARK)


def test_scores_are_those_of_this_process(cluster: Any, scored: Path, tmp_path: Path) -> None:
    check_scores(scored, tmp_path, SPARK)


def test_on_a_bucket(cluster: Any, store: Store, tiny: Tiny) -> None:
    check_bucket(store, tiny, SPARK)


def test_faults_of_the_data_are_reported_once_as_by_a_local_run(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_faults_of_data(tiny, tmp_path, SPARK)


def test_of_several_bad_files_the_first_is_reported(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_first_fault(tiny, tmp_path, SPARK)


def last_attempt(session: Any) -> int:
    """Return the number of the last task attempt of Spark."""
    from seqembed.runner.engines.spark import map_in_arrow

    def number(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"number": pa.array([TaskContext.get().taskAttemptId()], pa.int64())})

    return map_in_arrow(session.range(0, 1, 1, 1), number, "number bigint").collect()[0].number


@pytest.mark.parametrize("num_broken", [1, 4])
def test_a_broken_disk_of_a_worker(cluster: Any, tiny: Tiny, tmp_path: Path, num_broken: int) -> None:
    from seqembed.runner.engines.spark_engine import SparkEngine

    check_broken_disk(tiny, tmp_path, SparkEngine, "spark", last_attempt(cluster) + 2, num_broken)


@pytest.mark.parametrize("title", ["pyspark.daemon", "CoarseGrainedExecutorBackend"])
def test_workers_that_are_killed_lose_no_part(
    cluster: Any,
    many: Job,
    tmp_path: Path,
    title: str,
    record_property: Callable[[str, object], None],
) -> None:
    # An executor takes its Python workers along, and some seconds to be replaced.
    often = (NUM_KILLS, 0.2) if title == "pyspark.daemon" else (max(1, NUM_KILLS // 5), 2.0)
    for name, figure in check_killed_workers(many, tmp_path, SPARK, title, *often).items():
        record_property(name, figure)


def test_a_worker_without_memory(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_lack_of_memory(tiny, tmp_path, SPARK, "pyspark.daemon", 200 << 20)


def test_an_address_beside_a_session(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    words = ("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "out", *SPARK)
    refused = seqembed(*words, "--address", "spark://192.0.2.1:7077")
    assert (refused.exit_code, "has a Spark session already. Omit --address" in refused.output) == (2, True)
    refused = seqembed(*words, "--address", "")
    assert (refused.exit_code, "--address must not be empty" in refused.output) == (2, True)


def test_more_threads_than_spark_reserves_are_warned_of(
    cluster: Any, tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (threads, said) in enumerate(
        ((1, ""), (2, "2 threads, and the Spark session reserves spark.task.cpus = 1"))
    ):
        seqembed_package.run(
            tiny.data, model=tiny.bundle, out=tmp_path / str(number), engine="spark", threads=threads, progress="none"
        )
        assert said in caplog.text and ("spark.task.cpus" in caplog.text) == bool(said)
    assert (tmp_path / "0" / "train.parquet").read_bytes() == (tmp_path / "1" / "train.parquet").read_bytes()
    caplog.clear()
    seqembed_package.spark.embed(cluster.read.parquet(str(tiny.data)), tiny.bundle, threads=3)
    assert "start the session with spark.task.cpus = 3" in caplog.text


def test_an_engine_that_cannot_start(tiny: Tiny, tmp_path: Path) -> None:
    words = ["run", str(tiny.data), "--model", str(tiny.bundle), "--out", str(tmp_path / "out"), *SPARK]
    command = [sys.executable, "-m", "seqembed", *words]
    (tmp_path / "bin").mkdir()
    for path, more, code, said in (
        (str(tmp_path / "bin"), [], 2, "--engine spark needs Java 17 or later, and no `java` is on the PATH"),
        (
            os.environ["PATH"],
            ["--address", "nonsense://host"],
            6,
            "no Spark session could be started at nonsense://host",
        ),
    ):
        environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"} | {"PATH": path}
        ended = subprocess.run([*command, *more], capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == code, ended.stderr
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr) < 1000
    assert not (tmp_path / "out").exists()


def test_rows_of_a_frame_keep_their_partitions(cluster: Any, jobs: dict[str, Job], tmp_path: Path) -> None:
    job = jobs["telemetry"]
    _, data, _, model, *_ = job.words
    frame = cluster.read.parquet(str(data)).repartition(3, "id").sortWithinPartitions("id")
    rows = seqembed_package.spark.embed(frame, model, keep="device")
    assert rows.columns == ["id", "device", "embedding"]
    number = "spark_partition_id()"
    before = frame.selectExpr("id", f"{number} as p").toArrow()
    after = rows.selectExpr("id", "device", "embedding", f"{number} as p").toArrow()
    assert after.select(["id", "p"]).to_pylist() == before.select(["id", "p"]).to_pylist()
    expected = pa.concat_tables(pq.ParquetFile(path).read() for path in sorted(job.expected.glob("*.parquet")))
    check_vectors(after.drop_columns(["p"]).sort_by("id"), expected.sort_by("id"))
    with pytest.raises(InputError, match="no column 'nosuch'"):
        seqembed_package.spark.embed(frame, model, keep="nosuch")
    with pytest.raises(UsageError, match="keep id: that column is in the output already"):
        seqembed_package.spark.embed(frame, model, keep="id")
    with pytest.raises(InputError, match="found Table; expected a DataFrame of Spark"):
        seqembed_package.spark.embed(expected, model)
    with pytest.raises(UsageError, match="threads must be at least 1, was 0"):
        seqembed_package.spark.embed(frame, model, threads=0)
    with pytest.raises(UsageError, match="on_bad_row must be fail or null, was 'quarantine'"):
        seqembed_package.spark.embed(frame, model, on_bad_row="quarantine")  # type: ignore[arg-type]
    none = seqembed_package.spark.embed(frame.filter("false").repartition(4), model).toArrow()
    assert (none.num_rows, none.column_names) == (0, ["id", "embedding"])


def test_columns_with_hard_names(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    def embedded(table: pa.Table, model: Path, keep: list[str]) -> pa.Table:
        return seqembed_package.spark.embed(cluster.createDataFrame(table).coalesce(1), model, keep).toArrow()

    check_hard_names(tiny, tmp_path, embedded)


def test_errors_of_a_bundle_with_a_decoder(cluster: Any, scored: Path) -> None:
    def embedded(table: pa.Table) -> pa.Table:
        return seqembed_package.spark.embed(cluster.createDataFrame(table).coalesce(1), scored).toArrow()

    check_errors(scored, embedded)


def test_events_must_be_grouped(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    events = pa.table({"id": ["a", "b", "a"], "x": [1.0, 2.0, 3.0], "y": [0.5, 0.0, -1.0]})
    pq.write_table(events, tmp_path / "events.parquet")
    frame = cluster.read.parquet(str(tmp_path / "events.parquet"))
    with pytest.raises(InputError, match="single events.*seqembed group"):
        seqembed_package.spark.embed(frame, bundle)
    grouped = frame.coalesce(1).groupBy("id").agg({"x": "collect_list", "y": "collect_list"})
    grouped = grouped.withColumnsRenamed({"collect_list(x)": "x", "collect_list(y)": "y"})
    found = seqembed_package.spark.embed(grouped, bundle).toArrow().sort_by("id")
    ordered = pa.table({"id": ["a", "a", "b"], "x": [1.0, 3.0, 2.0], "y": [0.5, -1.0, 0.0]})
    check_vectors(found, seqembed_package.load(bundle).embed_table(ordered))


def test_times_with_a_zone_are_instants_whatever_the_zone_of_the_session(cluster: Any, tmp_path: Path) -> None:
    from events_testing import transactions, untrained_run, write_nested

    path, model = write_nested(tmp_path / "in.parquet", transactions(30, seed=0)), tmp_path / "encoder.onnx"
    untrained_run(tmp_path / "run", path, "nested")
    done("export", tmp_path / "run", "--out", model)
    zone = cluster.conf.get("spark.sql.session.timeZone")
    try:
        cluster.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        frame = cluster.read.parquet(str(path))
        found = seqembed_package.spark.embed(frame, model).toArrow()
        assert seqembed_package.spark.embed(frame.limit(0), model).count() == 0
    finally:
        cluster.conf.set("spark.sql.session.timeZone", zone)
    check_vectors(found.sort_by("id"), seqembed_package.load(model).embed_table(pq.read_table(path)).sort_by("id"))


def test_a_model_of_int8_is_refused(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    int8 = with_contract(tiny.bundle, tmp_path / "int8.onnx", precision="int8")
    frame = cluster.read.parquet(str(tiny.data))
    with pytest.raises(BundleError):
        seqembed_package.spark.embed(frame, int8)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of events, with columns of every type."""
    root, random = tmp_path_factory.mktemp("days") / "in", np.random.default_rng(0)
    kinds = pa.table({f"c_{name}": values for name, values in columns(6).items() if name in GROUPED})
    for day in range(3):
        events = pa.concat_tables([kinds] * 600)
        for name, most in (("time", 900), ("id", 40)):
            events = events.add_column(0, name, pa.array(random.integers(0, most, len(events))))
        root.mkdir(exist_ok=True)
        pq.write_table(events, root / f"{day}.parquet", row_group_size=700)
    return root


def test_events_are_grouped_into_the_bytes_of_this_process(cluster: Any, days: Path, tmp_path: Path) -> None:
    """More buckets than ids, so that some are empty."""
    words = ("group", days, "--buckets", 64, "--deduplicate", "time,c_string", "--max-length", 200)
    done(*words, "--out", tmp_path / "expected")
    assert "64 buckets made" in done(*words, "--out", tmp_path / "out", *SPARK).output
    check_finished(tmp_path / "out", contents(tmp_path / "expected"))
    assert "0 buckets made, 64 up to date" in done(*words, "--out", tmp_path / "out").output


def test_a_late_file_changes_the_same_buckets(cluster: Any, days: Path, tmp_path: Path) -> None:
    early, words = tmp_path / "early", ("--buckets", 64, "--out", tmp_path / "out")
    early.mkdir()
    for name in ("0.parquet", "1.parquet"):
        shutil.copy(days / name, early / name)
    done("group", early, *words)
    late = pq.read_table(days / "2.parquet")
    pq.write_table(late.filter(pc.less(late["id"], 3)), early / "2.parquet")
    made = done("group", early, *words, *SPARK).output
    assert "3 buckets made, 61 up to date" in made
    done("group", early, "--buckets", 64, "--out", tmp_path / "expected")
    check_finished(tmp_path / "out", contents(tmp_path / "expected"))


def test_faults_of_events_are_those_of_this_process(cluster: Any, days: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(days, bad)
    events = pq.read_table(bad / "1.parquet")
    ids = events["id"].to_pylist()
    ids[2345] = None
    pq.write_table(events.set_column(0, "id", pa.array(ids)), bad / "1.parquet", row_group_size=700)
    words = ("group", bad, "--buckets", 2)
    here, there = seqembed(*words, "--out", tmp_path / "o1"), seqembed(*words, "--out", tmp_path / "o2", *SPARK)
    assert here.exit_code == there.exit_code == 3
    assert here.output.splitlines()[-1] == there.output.splitlines()[-1]
    assert "1.parquet: row 2345: no id" in there.output
    assert not list((tmp_path / "o2").glob("bucket*"))
    dropping = (*words, "--on-bad-row", "drop")
    done(*dropping, "--out", tmp_path / "o2", *SPARK)
    done(*dropping, "--out", tmp_path / "o1")
    check_finished(tmp_path / "o2", contents(tmp_path / "o1"))


def test_buckets_whose_worker_has_a_broken_disk_are_made_again(
    cluster: Any, days: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from seqembed.runner.group.spark import make_on_spark, open_session

    out, options = OutputDirectory(str(tmp_path / "out")), GroupOptions(buckets=2, engine="spark")
    plan = plan_group(GroupInputs(InputStates.find([str(days)])), out, options)
    with caplog.at_level("INFO"), out.lock():
        out.begin({})
        staged = tmp_path / "out" / out.staging.directory
        # The next attempts: this test's own, 3 that count files, 3 that read them, and those of the 2 buckets.
        for number in range(last_attempt(cluster) + 8, last_attempt(cluster) + 9):
            (staged / str(number)).write_text("in the way")
        made: list[str] = []
        with show_events("none", 0, sys.stderr) as progress:
            session = open_session(options)
            make_on_spark(session, plan, out.staging, options, progress, lambda part: made.append(part.name))
    assert sorted(made) == ["bucket-00000.parquet", "bucket-00001.parquet"]
    assert f"attempt 1 of 4 failed: {out.given}: cannot write to the output directory" in caplog.text


class Told:
    """What a progress bar would show."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def advance(self, what: str, events: int) -> None:
        self.events.append((what, events))


def test_progress_while_events_move(cluster: Any, tmp_path: Path) -> None:
    from seqembed.runner.group.spark import make_on_spark, open_session

    numbers = np.random.default_rng(0)
    for day in range(8):
        events = {name: numbers.integers(0, 500, 40_000) for name in ("id", "time")} | {"x": np.zeros(40_000)}
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(pa.table(events), tmp_path / "in" / f"{day}.parquet")
    out, options, told = OutputDirectory(str(tmp_path / "out")), GroupOptions(buckets=6, engine="spark"), Told()
    plan = plan_group(GroupInputs(InputStates.find([str(tmp_path / "in")])), out, options)
    with out.lock():
        out.begin({})
        make_on_spark(open_session(options), plan, out.staging, options, told, lambda part: None)
    assert all(events > 0 for _, events in told.events)
    totals = Counter({what: sum(events for each, events in told.events if each == what) for what, _ in told.events})
    assert totals == {"reading": 320_000, "moving": 320_000, "writing": 320_000}
    assert list(dict.fromkeys(what for what, _ in told.events)) == ["reading", "moving", "writing"]
    assert len([what for what, _ in told.events if what == "moving"]) > 1, "all at once"


def test_stages_that_start_anew_are_not_counted_twice() -> None:
    told = Told()
    stages = Stages(told, {"moving": 100, "writing": 10})
    for shares in ([], [0.5], [1.0, 0.2], [0.3], [0.6, 0.1], [1.0, 0.9]):
        stages.follow(shares)
    stages.finish()
    stages.finish()
    assert told.events == [("moving", 50), ("moving", 50), ("writing", 2), ("writing", 7), ("writing", 1)]


@pytest.mark.parametrize("title", ["pyspark.daemon", "CoarseGrainedExecutorBackend"])
def test_killed_workers_lose_no_event(
    cluster: Any, days: Path, tmp_path: Path, title: str, record_property: Callable[[str, object], None]
) -> None:
    words = ("group", days, "--buckets", 24, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    expected, start = contents(tmp_path / "expected"), time.monotonic()
    num = 1 if NUM_KILLS <= 4 else NUM_KILLS if title == "pyspark.daemon" else NUM_KILLS // 5
    num_kills = num_jobs = 0
    while num_kills < num:
        assert num_jobs <= num  # a job may end before its first kill, but not all of them
        with Killer(title, min(2, num - num_kills), 0.4) as killer:
            done(*words, "--out", tmp_path / "out", *SPARK)
        check_finished(tmp_path / "out", expected)
        shutil.rmtree(tmp_path / "out")
        num_kills, num_jobs = num_kills + killer.num_kills, num_jobs + 1
    for name, figure in (("kills", num_kills), ("jobs", num_jobs), ("seconds", round(time.monotonic() - start))):
        record_property(name, figure)
