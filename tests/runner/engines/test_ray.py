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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_laws import (
    NUM_KILLS,
    check_broken_disk,
    check_bucket,
    check_drift,
    check_errors,
    check_faults_of_data,
    check_first_fault,
    check_hard_names,
    check_killed_workers,
    check_lack_of_memory,
    check_same_bytes,
    check_scores,
    check_stop_in_mid_part,
    check_stopped_driver,
)
from engines_testing import Job, Watcher, check_vectors, descendants
from pytest import MonkeyPatch
from s3_testing import Store

import seqembed as seqembed_package
from child_runner import check_finished, contents, visible
from seqembed.data.errors import BundleError, InputError, UsageError
from seqembed_testing import Tiny, done, seqembed, with_contract

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

RAY = ("--engine", "ray")
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each; this process is connected to them."""
    from seqembed.runner.engines import ray as engine  # sets the environment before Ray reads it

    assert engine.ray is ray
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory,
        MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", directory)
        Path(directory, "ray").mkdir()  # there the address of the cluster is noted, instead of in that of this user
        head = {**NODE, "include_dashboard": False, "temp_dir": directory}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(**NODE)
        ray.init(cluster.address, configure_logging=False, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize("name", ["telemetry", "transactions"])
def test_the_bytes_are_those_of_this_process(cluster: Any, jobs: dict[str, Job], tmp_path: Path, name: str) -> None:
    check_same_bytes(jobs[name], tmp_path / "out", RAY)
    assert len(visible(contents(jobs[name].expected))) == (4 if name == "telemetry" else 8)


def test_drift_is_that_of_this_process(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_drift(tiny, tmp_path, RAY)


def test_scores_are_those_of_this_process(cluster: Any, scored: Path, tmp_path: Path) -> None:
    check_scores(scored, tmp_path, RAY)


def test_on_a_bucket(cluster: Any, store: Store, tiny: Tiny) -> None:
    check_bucket(store, tiny, RAY)


def test_faults_of_the_data_are_reported_once_as_by_a_local_run(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_faults_of_data(tiny, tmp_path, RAY)


def test_of_several_bad_files_the_first_is_reported(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_first_fault(tiny, tmp_path, RAY)


@pytest.mark.parametrize("num_broken", [1, 4])
def test_a_broken_disk_of_a_worker(cluster: Any, tiny: Tiny, tmp_path: Path, num_broken: int) -> None:
    from seqembed.runner.engines.ray import RayEngine

    check_broken_disk(tiny, tmp_path, RayEngine, "ray", 1, num_broken)


def test_workers_that_are_killed_lose_no_part(
    cluster: Any, many: Job, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for name, figure in check_killed_workers(many, tmp_path, RAY, "ray::_attempt", NUM_KILLS, 0.3).items():
        record_property(name, figure)


def test_a_worker_without_memory(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_lack_of_memory(tiny, tmp_path, RAY, "ray::", 200 << 20)


def test_a_node_that_goes_away(cluster: Any, many: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    node = cluster.add_node(**NODE)
    raylet = node.all_processes["raylet"][0].process.pid
    with Watcher(lambda: len(list(out.glob("*.parquet"))) >= 3, lambda: os.kill(raylet, signal.SIGKILL)) as watcher:
        done(*many.words, "--out", out, *RAY)
    assert watcher.has_acted
    cluster.remove_node(node)
    check_finished(out, contents(many.expected))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_driver_that_is_stopped(cluster: Any, many: Job, tmp_path: Path, number: signal.Signals, code: int) -> None:
    check_stopped_driver(many, tmp_path, RAY, cluster.address, (number, code), again=RAY)


def test_a_driver_that_is_stopped_while_it_waits(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    check_stop_in_mid_part(tiny, tmp_path, (*RAY, "--address", cluster.address))


def test_a_ray_started_here_that_dies(many: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "seqembed", *map(str, many.words), "--out", str(out), *RAY]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"TMPDIR": tempfile.mkdtemp(prefix="r")}  # a short path, for Ray's sockets
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as driver:
        while driver.poll() is None and not (out / "_RUN").exists():
            time.sleep(0.005)  # until the parts are begun; their workers take a second to start
        assert driver.poll() is None, driver.communicate()[0]
        (raylet,) = {*descendants("seqembed-ray-")} & {*descendants("/raylet/raylet ")}
        os.kill(raylet, signal.SIGKILL)
        said, _ = driver.communicate(timeout=120)
    assert "error: the Ray that was started here died" in said and "finished parts are kept. Run again." in said
    assert driver.returncode in (6, -signal.SIGSEGV), said  # threads of Ray may crash when all is said and tidied up
    assert not (out / "_temporary").exists() and not (out / "_lock").exists() and not (out / "_SUCCESS").exists()
    Path(environment["TMPDIR"]).rmdir()  # nothing is left there
    done(*many.words, "--out", out)
    check_finished(out, contents(many.expected))


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
    with pytest.raises(UsageError, match="keep id: that column is in the output already"):
        seqembed_package.ray.embed(ray.data.read_parquet(str(data)), model, keep=["id"])
    with pytest.raises(UsageError, match="on_bad_row must be fail or null, was 'quarantine'"):
        seqembed_package.ray.embed(ray.data.read_parquet(str(data)), model, on_bad_row="quarantine")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads must be"):
        seqembed_package.ray.embed(ray.data.read_parquet(str(data)), model, threads=0)
    with pytest.raises(InputError, match=r"found Table; expected a ray\.data\.Dataset"):
        seqembed_package.ray.embed(found, model)
    none = seqembed_package.ray.embed(ray.data.from_arrow(pq.read_table(data).slice(0, 0)), model, workers=(1, 2))
    assert none.count() == 0
    for nothing in (ray.data.from_items([]), ray.data.read_parquet(str(data)).limit(0).materialize()):  # no columns
        assert seqembed_package.ray.embed(nothing, model, keep="device").count() == 0
    events = ray.data.read_parquet(str(jobs["transactions"].words[1]))
    with pytest.raises(InputError, match="single events"):
        seqembed_package.ray.embed(events, jobs["transactions"].words[3])
    int8 = with_contract(model, tmp_path / "int8.onnx", precision="int8")
    with pytest.raises(BundleError):
        seqembed_package.ray.embed(rows, int8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning")
def test_errors_of_a_bundle_with_a_decoder(cluster: Any, scored: Path) -> None:
    def embedded(table: pa.Table) -> pa.Table:
        return pa.concat_tables(ray.get(seqembed_package.ray.embed(ray.data.from_arrow(table), scored).to_arrow_refs()))

    check_errors(scored, embedded)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_columns_with_hard_names(cluster: Any, tiny: Tiny, tmp_path: Path) -> None:
    def embedded(table: pa.Table, model: Path, keep: list[str]) -> pa.Table:
        rows = seqembed_package.ray.embed(ray.data.from_arrow(table), model, keep)
        return pa.concat_tables(ray.get(rows.to_arrow_refs()))

    check_hard_names(tiny, tmp_path, embedded)


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
