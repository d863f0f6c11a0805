"""`--engine ray` on a real cluster of two nodes: the same bytes, faults as a run reports them, workers that die.

`SEQEMBED_KILLS=60` kills more workers.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines_testing import Job, Killer, Watcher, check_vectors
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
from seqembed_testing import Tiny, done, seqembed, sequences, with_contract, write_sequences

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

NUM_KILLS = int(os.environ.get("SEQEMBED_KILLS", "4"))
RAY = ("--engine", "ray")
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each; this process is connected to them."""
    from seqembed.runner.engines import ray as engine  # sets the environment before Ray reads it

    assert engine.ray is ray
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory:
        head = {**NODE, "include_dashboard": False, "temp_dir": directory}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(**NODE)
        ray.init(cluster.address, configure_logging=False, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


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
    said = done(*job.words, "--out", tmp_path / "out", *RAY).output
    assert "parts made" in said
    check_finished(tmp_path / "out", contents(job.expected))
    assert len(visible(contents(job.expected))) == (4 if name == "telemetry" else 8)
    assert "0 parts made" in done(*job.words, "--out", tmp_path / "out").output


def test_on_a_bucket(cluster: Any, store: Store, tiny: Tiny) -> None:
    for index in range(2):
        store.put(f"in/{index}.parquet", seed=index)
    given, out = (
        store.query(name).replace("s3://", f"s3://{KEY}:{SECRET.replace('/', '%2F')}@") for name in ("in", "out")
    )
    done("run", store / "in", "--model", tiny.bundle, "--out", store / "here")
    done("run", given, "--model", tiny.bundle, "--out", out, *RAY)
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
    local, there = seqembed(*words, "--out", tmp_path / "o1"), seqembed(*words, "--out", tmp_path / "o2", *RAY)
    assert there.exit_code == local.exit_code == 3
    assert there.output == local.output
    assert "a.parquet: row 33 (id 's33')" in there.output
    assert not (tmp_path / "o2" / "_temporary").exists()
    done(*words, "--out", tmp_path / "o2", *RAY, "--on-bad-row", "quarantine", "--overwrite")
    done(*words, "--out", tmp_path / "o3", "--on-bad-row", "quarantine")
    check_finished(tmp_path / "o2", contents(tmp_path / "o3"))


@pytest.mark.parametrize("num_broken", [1, 4])
def test_a_broken_disk_of_a_worker(cluster: Any, tiny: Tiny, tmp_path: Path, num_broken: int) -> None:
    """The directories of the first attempts cannot be written; the part is made by the next attempt, or refused."""
    from seqembed.runner.engines.ray import RayEngine

    data, out = write_sequences(tmp_path / "in" / "a.parquet", sequences(60, seed=1)).parent, tmp_path / "out"
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "expected")
    content, output, options = read_bundle(tiny.bundle), OutputDirectory(str(out)), RunOptions(engine="ray")
    plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
    outcome = Outcome()
    with output.lock(), RayEngine(content, 1) as engine:
        output.begin({})
        for number in range(1, num_broken + 1):
            (out / output.staging.directory / str(number)).write_text("in the way")
        make = (plan, engine, output, BundleReference.of(str(tiny.bundle), content), options, outcome)
        if num_broken < 4:
            make_parts(*make)
        else:
            with pytest.raises(OutputError, match="cannot write to the output directory .*worker on host"):
                make_parts(*make)
    assert [name for name in visible(contents(out))] == (["a.parquet"] if num_broken < 4 else [])
    if num_broken < 4:
        assert (out / "a.parquet").read_bytes() == (tmp_path / "expected" / "a.parquet").read_bytes()


def test_workers_that_are_killed_lose_no_part(cluster: Any, tiny: Tiny, many: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "out", ("run", many, "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    with Killer("ray::_attempt", NUM_KILLS, 0.3 if NUM_KILLS <= 4 else 1.5) as killer:
        done(*words, "--out", out, *RAY)
    assert killer.num_kills >= NUM_KILLS / 2  # the run may end before the last one
    check_finished(out, contents(tmp_path / "expected"))


def test_a_node_that_goes_away(cluster: Any, tiny: Tiny, many: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "out", ("run", many, "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    node = cluster.add_node(**NODE)
    raylet = node.all_processes["raylet"][0].process.pid
    with Watcher(lambda: len(list(out.glob("*.parquet"))) >= 3, lambda: os.kill(raylet, signal.SIGKILL)) as watcher:
        done(*words, "--out", out, *RAY)
    assert watcher.has_acted
    cluster.remove_node(node)
    check_finished(out, contents(tmp_path / "expected"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_driver_that_is_stopped(
    cluster: Any, tiny: Tiny, many: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out, words = tmp_path / "out", ("run", many, "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", tmp_path / "expected")
    new = contents(tmp_path / "expected")
    command = [
        sys.executable,
        "-m",
        "seqembed",
        *map(str, words),
        "--out",
        str(out),
        *RAY,
        "--address",
        cluster.address,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        while driver.poll() is None and len(list(out.glob("*.parquet"))) < 2:
            time.sleep(0.02)
        driver.send_signal(number)
        said, _ = driver.communicate(timeout=60)
    assert driver.returncode == code, said
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert not (out / "_temporary").exists()
        assert not (out / "_lock").exists()
    check_complete(out, new)
    assert not (out / "_SUCCESS").exists()
    done(*words, "--out", out, *RAY)
    check_finished(out, new)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data 2.60 sets options of its own that it deprecates
def test_rows_of_a_dataset(cluster: Any, jobs: dict[str, Job], tmp_path: Path) -> None:
    job = jobs["telemetry"]
    _, data, _, model, *_ = job.words
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    rows = seqembed_package.ray.embed(ray.data.read_parquet(str(data)), model, keep=["device"], batch_size=50)
    found = pa.concat_tables(ray.get(rows.to_arrow_refs())).combine_chunks()
    expected = pa.concat_tables(pq.ParquetFile(path).read() for path in sorted(job.expected.glob("*.parquet")))
    assert found.column_names == ["id", "device", "embedding"]
    check_vectors(found, expected)
    with pytest.raises(InputError, match="no column 'nosuch'"):
        seqembed_package.ray.embed(ray.data.read_parquet(str(data)), model, keep=["nosuch"])
    events = ray.data.read_parquet(str(jobs["transactions"].words[1]))
    with pytest.raises(InputError, match="single events"):
        seqembed_package.ray.embed(events, jobs["transactions"].words[3])
    int8 = with_contract(model, tmp_path / "int8.onnx", precision="int8")
    with pytest.raises(BundleError):
        seqembed_package.ray.embed(rows, int8)


def test_a_cluster_that_is_not_there(tiny: Tiny, tmp_path: Path) -> None:
    words = ["run", str(tiny.data), "--model", str(tiny.bundle), "--out", str(tmp_path / "out"), *RAY]
    command = [sys.executable, "-m", "seqembed", *words, "--address", "127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 6
    assert "no Ray cluster answers at 127.0.0.1:1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_more_threads_than_a_node_has(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    refused = seqembed("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "out", *RAY, "--threads", 7)
    assert refused.exit_code == 2
    assert "the largest node of the Ray cluster has 1 CPUs" in refused.output
