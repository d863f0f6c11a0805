"""`--engine spark` on a real cluster of two executors: the same bytes, faults as a run reports them, workers that die.

`SEQEMBED_KILLS=60` kills more workers.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_laws import (
    NUM_KILLS,
    check_broken_disk,
    check_bucket,
    check_faults_of_data,
    check_same_bytes,
    check_stopped_driver,
    write_many,
)
from engines_testing import Job, Killer, check_vectors
from s3_testing import Store

import seqembed as seqembed_package
from child_runner import check_finished, contents
from seqembed.data.errors import BundleError, InputError
from seqembed_testing import Tiny, done, events_bundle, with_contract

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is missing: Spark needs 17 or later"),
    # pyspark 4.3 warns of every pandas from 3 on, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIGNALS = [(signal.SIGINT, 130)] + ([(signal.SIGKILL, -9)] if "SEQEMBED_KILLS" in os.environ else [])
SPARK = ("--engine", "spark")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session with two executors, each a process with a CPU, as `--address` would start it."""
    from seqembed.runner.engines.spark import start_session

    with pytest.MonkeyPatch.context() as patch:
        # Half the processor time of a short life: the first compiler alone, and one thread that collects garbage.
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        session = start_session(1, "local-cluster[2,1,1024]", tmp_path_factory.mktemp("spark"))
        yield session
        session.stop()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough files that every worker makes several."""
    return write_many(tmp_path_factory.mktemp("many"))


@pytest.mark.parametrize("name", ["telemetry", "transactions"])
def test_the_bytes_are_those_of_this_process(cluster: Any, jobs: dict[str, Job], tmp_path: Path, name: str) -> None:
    check_same_bytes(jobs[name], tmp_path / "out", SPARK)


def test_on_a_bucket(cluster: Any, store: Store, tiny: Tiny) -> None:
    check_bucket(store, tiny, SPARK)


def test_faults_of_the_data_are_reported_once_as_by_a_local_run(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_faults_of_data(tiny, tmp_path, SPARK)


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
    from seqembed.runner.engines.spark import SparkEngine

    check_broken_disk(tiny, tmp_path, SparkEngine, "spark", last_attempt(cluster) + 2, num_broken)


@pytest.mark.parametrize("title", ["pyspark.daemon", "CoarseGrainedExecutorBackend"])
def test_workers_that_are_killed_lose_no_part(cluster: Any, tiny: Tiny, many: Path, tmp_path: Path, title: str) -> None:
    out, words = tmp_path / "out", ("run", many, "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    num = NUM_KILLS if title == "pyspark.daemon" else 1
    with Killer(title, num, 0.2 if NUM_KILLS <= 4 else 1.5) as killer:
        done(*words, "--out", out, *SPARK)
    assert killer.num_kills >= num / 2  # the run may end before the last one
    check_finished(out, contents(tmp_path / "expected"))


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_driver_that_is_stopped(tiny: Tiny, many: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    check_stopped_driver(tiny, many, tmp_path, SPARK, "local[1]", (number, code), seconds=120)


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


def test_a_model_of_int8_is_refused(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    int8 = with_contract(tiny.bundle, tmp_path / "int8.onnx", precision="int8")
    frame = cluster.read.parquet(str(tiny.data))
    with pytest.raises(BundleError):
        seqembed_package.spark.embed(frame, int8)
