"""Options of engines that are refused before anything starts, and what a worker reports."""

import subprocess
import sys
from pathlib import Path

import pytest

from seqembed.data.errors import HostError, OutputError, SeqembedError
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.engines.worker import MAX_ATTEMPTS, FailedAttempt, attempt_part, next_attempt, seqembed_version
from seqembed.runner.job.plan import InputStates, plan_run
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import Tiny, seqembed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "ray", "--limit", 5), "--limit cannot be combined with --engine ray"),
        (("--engine", "spark", "--limit", 5), "depends on the parts before it"),
        (("--address", "host:1"), "Pass --engine ray or --engine spark with it"),
        (("--engine", "dask"), "'local', 'ray', 'spark'"),
    ],
)
def test_options_that_do_not_fit(tiny: Tiny, tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    refused = seqembed("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "out", *words)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("spark", "pyspark")])
def test_an_engine_without_its_extra(tmp_path: Path, engine: str, library: str) -> None:
    words = ["run", "x.parquet", "--model", "m.onnx", "--out", str(tmp_path / "out"), "--engine", engine]
    code = f"import sys; sys.modules['{library}'] = None\nfrom seqembed.runner.cli import main; main({words})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert f"pip install 'seqembed[{engine}]'" in ended.stderr


def test_a_local_run_imports_neither_ray_nor_spark(tiny: Tiny, tmp_path: Path) -> None:
    words = ["run", str(tiny.data), "--model", str(tiny.bundle), "--out", str(tmp_path / "out"), "--progress", "none"]
    code = "import sys\nfrom seqembed.runner.cli import main\n"
    code += f"main({words}, standalone_mode=False)\nassert not {{'ray', 'pyspark'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.fixture
def task(tiny: Tiny, tmp_path: Path) -> PartTask:
    output, options = OutputDirectory(str(tmp_path / "out")), RunOptions(threads=1, engine="ray")
    (part,) = plan_run(InputStates.find([str(tiny.data)]), output, "0" * 64, options).parts
    made_of = part.fingerprint, part.content, part.key, output.staging
    return PartTask(
        part.name, part.file, *made_of, BundleReference.of(str(tiny.bundle), tiny.bundle.read_bytes()), options
    )


def test_what_a_worker_lacks_is_reported(task: PartTask, tiny: Tiny, tmp_path: Path) -> None:
    def lacks_memory() -> bytes:
        raise MemoryError

    def fails() -> bytes:
        raise KeyError("a bug")

    report = attempt_part(task, seqembed_version(), lacks_memory)
    assert isinstance(report, FailedAttempt)
    assert isinstance(report.error, HostError)
    assert "lacks memory" in str(report.error)
    report = attempt_part(task, "0.0.1", tiny.bundle.read_bytes)
    assert isinstance(report, FailedAttempt)
    assert "the driver has 0.0.1. Install the same version" in str(report.error)
    report = attempt_part(task, seqembed_version(), fails)
    assert isinstance(report, FailedAttempt)
    assert type(report.error) is SeqembedError
    assert "KeyError: 'a bug'" in str(report.error)
    with pytest.raises(SeqembedError, match="met a bug"):
        next_attempt(task, report.error)


def test_attempts_have_numbers_and_end(task: PartTask) -> None:
    error, numbers = OutputError("no room"), []
    with pytest.raises(OutputError, match="no room"):
        while True:
            numbers.append(task.attempt)
            task = next_attempt(task, error)
    assert numbers == list(range(1, MAX_ATTEMPTS + 1))


def test_an_address_is_not_recorded(tmp_path: Path) -> None:
    options = RunOptions(engine="spark", address="sc://host/;token=s3cret")
    assert "s3cret" not in str(options.record())
    assert RunOptions(**{**options.record(), "keep": ()}).num_threads == 1
