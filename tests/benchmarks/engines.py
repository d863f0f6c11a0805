"""Engines against each other: two workers and one, an engine's overhead, and the driver's memory for many parts.

    python tests/benchmarks/engines.py scaling --engine ray --rounds 5
    python tests/benchmarks/engines.py overhead --engine spark --rounds 5
    python tests/benchmarks/engines.py parts --num 100000

`scaling` and `overhead` time the parts alone, on engines that are started and warm, in turns, so that a machine that
others use, too, disturbs both sides alike. Two workers cannot scale better than the host's two cores do, so `scaling`
also times two processes without any engine, which make all parts each, beside one of them. `parts` plans and accounts
for real files; one part is really made, and its report stands for the others.
"""

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.local import LocalEngine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.job.make_parts import make_parts
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.plan import InputStates, plan_run
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.staging import StagedPart
from seqembed.runner.report import peak_rss_bytes


def model_and_data(root: Path, rows: int, files: int, units: int) -> tuple[Path, Path]:
    """Write telemetry and an untrained LSTM of it, in another process, since TensorFlow takes memory."""
    words = ["make", "--rows", rows, "--files", files, "--units", units, "--out", root]
    subprocess.run([sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return root / "encoder.onnx", root / "in"


def make(arguments: argparse.Namespace, _: Path) -> None:
    """Write the model and the data."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from events_testing import untrained_run

    from seqembed_testing import done

    root = Path(arguments.out)
    done("sample", "telemetry", "--out", root / "small", "--rows", 200)
    done("sample", "telemetry", "--out", root / "in", "--rows", arguments.rows, "--files", arguments.files)
    small = {"units": arguments.units, "embedding_dim": 128}
    untrained_run(root / "run", next((root / "small").iterdir()), "nested", time=None, **small)
    done("export", root / "run", "--out", root / "encoder.onnx")


def seconds(model: Path, data: Path, engine: Engine) -> float:
    """Return the wall time of making all parts with a started engine."""
    content, options = read_bundle(model), RunOptions(threads=1)
    with tempfile.TemporaryDirectory() as directory:
        output = OutputDirectory(f"{directory}/out")
        plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
        with output.lock():
            output.begin({})
            start = time.perf_counter()
            make_parts(plan, engine, output, BundleReference.of(str(model), content), options, Outcome())
            return time.perf_counter() - start


def ray_engine(content: bytes, workers: int) -> Engine:
    """Start Ray with some CPUs on this host."""
    from seqembed.runner.engines import ray as module

    module.usable_cores = lambda: workers
    return module.RayEngine(content, 1)


def spark_engine(content: bytes, workers: int) -> Engine:
    """Start Spark with some CPUs on this host."""
    from seqembed.runner.engines.spark_engine import SparkEngine

    return SparkEngine(content, 1, f"local[{workers}]")


START: dict[str, Callable[[bytes, int], Engine]] = {"ray": ray_engine, "spark": spark_engine}


def warm_seconds(model: Path, data: Path, engine: str, workers: int) -> float:
    """Start an engine, load the model in its workers, and time the parts."""
    with START[engine](read_bundle(model), workers) as started:
        seconds(model, data, started)
        return seconds(model, data, started)


def at_once(model: Path, data: Path, start: Barrier, took: "Queue[float]") -> None:
    """Time the parts in this process with one thread, once all processes are ready."""
    with LocalEngine(Encoder.open(model), 1) as local:
        seconds(model, data, local)
        start.wait()
        took.put(seconds(model, data, local))


def process_seconds(model: Path, data: Path, num: int) -> float:
    """Return the mean wall time of some processes that make all parts each, at the same time, without any engine."""
    context = multiprocessing.get_context("spawn")
    start, took = context.Barrier(num), context.Queue()
    processes = [context.Process(target=at_once, args=(model, data, start, took)) for _ in range(num)]
    for process in processes:
        process.start()
    found = [took.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return statistics.mean(found)


def scaling(arguments: argparse.Namespace, root: Path) -> None:
    """Print how much faster two workers are than one, and two processes without an engine."""
    model, data = model_and_data(root, arguments.rows, 8, arguments.units)
    ratios, bounds = [], []
    for _ in range(arguments.rounds):
        one, two = (warm_seconds(model, data, arguments.engine, workers) for workers in (1, 2))
        alone, beside = (process_seconds(model, data, num) for num in (1, 2))
        ratios.append(one / two)
        bounds.append(2 * alone / beside)
        print(f"1 worker {one:.2f} s, 2 workers {two:.2f} s: {ratios[-1]:.2f}; processes {bounds[-1]:.2f}", flush=True)
    print(f"{arguments.engine}: two workers are {statistics.median(ratios):.2f} times as fast as one (median),")
    print(f"two processes of the same host {statistics.median(bounds):.2f} times as fast as one")


def overhead(arguments: argparse.Namespace, root: Path) -> None:
    """Print how much longer one worker takes than a thread of this process."""
    model, data = model_and_data(root, arguments.rows, 8, arguments.units)
    ratios = []
    with ExitStack() as stack:
        local = stack.enter_context(LocalEngine(Encoder.open(model), 1))
        remote = stack.enter_context(START[arguments.engine](read_bundle(model), 1))
        seconds(model, data, remote)
        for _ in range(arguments.rounds):
            here, there = seconds(model, data, local), seconds(model, data, remote)
            ratios.append(there / here)
            print(f"local {here:.2f} s, {arguments.engine} {there:.2f} s: {there / here - 1:+.1%}", flush=True)
    print(f"{arguments.engine}: one worker takes {statistics.median(ratios) - 1:+.1%} (median)")


class Repeating(Engine):
    """Makes the first part, and reports copies of it for the others."""

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield a report of each task."""
        waiting = iter(tasks)
        task = next(waiting)
        first, storage = make_part(task), task.staging.storage
        (file,) = first.files
        content = Path(storage.at(file.staged)).read_bytes()
        yield first
        for task in waiting:
            staged = task.staging.staged_name(task.name, task.attempt)
            Path(storage.at(staged)).write_bytes(content)
            yield replace(first, name=task.name, files=(replace(file, name=task.name, staged=staged),))

    def close(self) -> None:
        """Do nothing."""


def parts(arguments: argparse.Namespace, root: Path) -> None:
    """Print time and memory of a driver that plans and tracks many parts."""
    model, data = model_and_data(root, 4, 1, 8)
    (source,) = data.iterdir()
    for index in range(arguments.num):
        shutil.copyfile(source, data / f"{index:07}.parquet")
    source.unlink()
    print(f"memory before {peak_rss_bytes() / 2**20:,.0f} MiB", flush=True)
    content, options = read_bundle(model), RunOptions(threads=1)
    output, start = OutputDirectory(str(root / "out")), time.perf_counter()
    plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
    print(
        f"{len(plan.parts):,} parts planned in {time.perf_counter() - start:.1f} s, {peak_rss_bytes() / 2**20:,.0f} MiB"
    )
    with output.lock(), Repeating() as engine:
        output.begin({})
        start = time.perf_counter()
        make_parts(plan, engine, output, BundleReference.of(str(model), content), options, Outcome())
    took = time.perf_counter() - start
    print(f"tracked and published in {took:.1f} s, peak memory {peak_rss_bytes() / 2**20:,.0f} MiB")


def main() -> None:
    """Run one of the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scaling", "overhead", "parts", "make"])
    parser.add_argument("--engine", choices=list(START), default="ray")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--num", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=8, help="of `make`")
    parser.add_argument("--out", default=".", help="of `make`: where model and data go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seqembed-engines-") as directory:
        {"scaling": scaling, "overhead": overhead, "parts": parts, "make": make}[arguments.what](
            arguments, Path(directory)
        )


if __name__ == "__main__":
    main()
