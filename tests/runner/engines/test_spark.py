"""`--engine spark` on a real cluster of two executors: the same bytes, faults as a run reports them, workers that die.

`SEQEMBED_KILLS=60` kills more workers.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines_testing import Job, Killer, check_vectors
from s3_testing import KEY, SECRET, Store

import seqembed as seqembed_package
from child_runner import check_complete, check_finished, contents, visible
from seqembed.data.errors import BundleError, InputError, OutputError
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.engines.task import BundleReference
from seqembed.runner.job.make_parts import make_parts
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.plan import InputStates, plan_run
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import Tiny, done, events_bundle, seqembed, sequences, with_contract, write_sequences

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is missing: Spark needs 17 or later"),
    # pyspark 4.3 warns of every pandas from 3 on, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NUM_KILLS = int(os.environ.get("SEQEMBED_KILLS", "4"))
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
    data = tmp_path_factory.mktemp("many")
    for index in range(24 if NUM_KILLS <= 4 else 15 * NUM_KILLS):
        write_sequences(data / f"{index:03}.parquet", sequences(1500, seed=index, longest=60))
    return data


@pytest.mark.parametrize("name", ["telemetry", "transactions"])
def test_the_bytes_are_those_of_this_process(cluster: Any, jobs: dict[str, Job], tmp_path: Path, name: str) -> None:
    job = jobs[name]
    assert "parts made" in done(*job.words, "--out", tmp_path / "out", *SPARK).output
    check_finished(tmp_path / "out", contents(job.expected))
    assert "0 parts made" in done(*job.words, "--out", tmp_path / "out").output


def test_on_a_bucket(cluster: Any, store: Store, tiny: Tiny) -> None:
    for index in range(2):
        store.put(f"in/{index}.parquet", seed=index)
    given, out = (
        store.query(name).replace("s3://", f"s3://{KEY}:{SECRET.replace('/', '%2F')}@") for name in ("in", "out")
    )
    done("run", store / "in", "--model", tiny.bundle, "--out", store / "here")
    done("run", given, "--model", tiny.bundle, "--out", out, *SPARK)
    here, there = store.objects("here"), store.objects("out")
    assert sorted(name.split("/")[1] for name in there) == ["0.parquet", "1.parquet", "_RUN", "_SUCCESS"]
    for name in ("0.parquet", "1.parquet"):
        assert there[f"out/{name}"][0] == here[f"here/{name}"][0]


def test_faults_of_the_data_are_reported_once_as_by_a_local_run(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(60, seed=1, shortest=1)
    columns["x"][33][0] = float("inf")
    write_sequences(tmp_path / "in" / "a.parquet", columns)
    write_sequences(tmp_path / "in" / "b.parquet", sequences(60, seed=2))
    words = ("run", tmp_path / "in", "--model", tiny.bundle)
    local, there = seqembed(*words, "--out", tmp_path / "o1"), seqembed(*words, "--out", tmp_path / "o2", *SPARK)
    assert there.exit_code == local.exit_code == 3
    assert there.output == local.output
    assert not (tmp_path / "o2" / "_temporary").exists()
    done(*words, "--out", tmp_path / "o2", *SPARK, "--on-bad-row", "quarantine", "--overwrite")
    done(*words, "--out", tmp_path / "o3", "--on-bad-row", "quarantine")
    check_finished(tmp_path / "o2", contents(tmp_path / "o3"))


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
    """The directories of the first attempts cannot be written; the part is made by the next attempt, or refused."""
    from seqembed.runner.engines.spark import SparkEngine

    data, out = write_sequences(tmp_path / "in" / "a.parquet", sequences(60, seed=1)).parent, tmp_path / "out"
    content, output, options = read_bundle(tiny.bundle), OutputDirectory(str(out)), RunOptions(engine="spark")
    plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
    outcome = Outcome()
    first = last_attempt(cluster) + 2
    with output.lock(), SparkEngine(content, 1) as engine:
        output.begin({})
        for number in range(first, first + num_broken):
            (out / output.staging.directory / str(number)).write_text("in the way")
        make = (plan, engine, output, BundleReference.of(str(tiny.bundle), content), options, outcome)
        if num_broken < 4:
            make_parts(*make)
        else:
            with pytest.raises(OutputError, match="cannot write to the output directory .*worker on host"):
                make_parts(*make)
    assert list(visible(contents(out))) == (["a.parquet"] if num_broken < 4 else [])


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
    out, words = tmp_path / "out", ("run", many, "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    new = contents(tmp_path / "expected")
    command = [sys.executable, "-m", "seqembed", *words, "--out", out, *SPARK, "--address", "local[1]"]
    command = [str(word) for word in command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        while driver.poll() is None and len(list(out.glob("*.parquet"))) < 2:
            time.sleep(0.02)
        driver.send_signal(number)
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == code, said
    assert "Traceback" not in said
    assert "WARN" not in said
    if number != signal.SIGKILL:
        assert not (out / "_temporary").exists()
        assert not (out / "_lock").exists()
    check_complete(out, new)
    assert not (out / "_SUCCESS").exists()
    done(*words, "--out", out)
    check_finished(out, new)


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
