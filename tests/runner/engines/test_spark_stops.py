"""`--engine spark` on a Spark of its own that is stopped, in its start and later, or whose Java dies."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_laws import check_stop_in_mid_part, check_stopped_driver
from engines_testing import ON_SPARK, Job, descendants

from child_runner import check_finished, contents
from seqembed_testing import Tiny, done

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = ON_SPARK

SIGNALS = [(signal.SIGINT, 130)] + ([(signal.SIGKILL, -9)] if "SEQEMBED_KILLS" in os.environ else [])
SPARK = ("--engine", "spark")
# In the command line of the Java of a session that a run starts.
JAVA = f"spark.seqembed.directory={tempfile.gettempdir()}/seqembed-spark-"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_driver_that_is_stopped(many: Job, tmp_path: Path, number: signal.Signals, code: int) -> None:
    check_stopped_driver(many, tmp_path, SPARK, "local[1]", (number, code), seconds=120)


def test_a_driver_that_is_stopped_while_it_waits(tiny: Tiny, tmp_path: Path) -> None:
    check_stop_in_mid_part(tiny, tmp_path, (*SPARK, "--address", "local[1]"), seconds=120)


def started(command: list[str], until: Callable[[], object]) -> subprocess.Popen[str]:
    """Start a run, and wait until something holds."""
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while driver.poll() is None and not until():
        time.sleep(0.02)
    return driver


@pytest.fixture
def command(many: Job, tmp_path: Path) -> list[str]:
    """A run on a Spark of its own."""
    words = [*many.words, "--out", tmp_path / "out", *SPARK, "--address", "local[1]"]
    return [sys.executable, "-m", "seqembed", *map(str, words)]


def test_a_java_that_dies(command: list[str], many: Job, tmp_path: Path) -> None:
    others = {*descendants(JAVA)}  # pyspark keeps that of this process
    with started(command, lambda: list((tmp_path / "out").glob("*.parquet"))) as driver:
        for process in {*descendants(JAVA)} - others:
            os.kill(process, signal.SIGKILL)
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 6, said
    assert said.startswith("error: Spark ended, or is out of reach (")
    assert said.endswith("finished parts are kept. Run again.\n")
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "_temporary").exists()
    assert not (tmp_path / "out" / "_lock").exists()
    done(*many.words, "--out", tmp_path / "out")
    check_finished(tmp_path / "out", contents(many.expected))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_start_that_is_stopped_leaves_no_java(command: list[str], number: signal.Signals, code: int) -> None:
    others = {*descendants(JAVA)}
    with started(command, lambda: {*descendants(JAVA)} - others) as driver:
        driver.send_signal(number)
        said, _ = driver.communicate(timeout=120)
    assert driver.returncode == code, said
    assert "Traceback" not in said
    assert {*descendants(JAVA)} <= others


def test_a_session_is_closed_after_a_call_that_a_signal_ended() -> None:
    """The reply to that call is still to come: the calls that close the session must not take it for theirs."""
    script = """
import signal
from seqembed.runner.engines.spark import OpenSession
with OpenSession(1, "local[1]") as session:
    signal.signal(signal.SIGALRM, lambda *_: exit(143))
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    session.spark._jvm.java.lang.Thread.sleep(2_000)
"""
    others = {*descendants(JAVA)}
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 143, done.stdout
    assert "Traceback" not in done.stdout
    assert {*descendants(JAVA)} <= others


SCRIPTS = {
    "run": """
import sys, seqembed
inputs, model, out = sys.argv[1:]
seqembed.run(inputs, model=model, out=out, engine="spark", address="local[1]", progress="none")
""",
    "embed": """
import os, sys, time, pathlib, seqembed
from pyspark.sql import SparkSession
inputs, model, out = sys.argv[1:]
os.environ["PYSPARK_PYTHON"] = sys.executable
settings = {"spark.local.dir": os.environ["TMPDIR"], "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false"}
session = SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
seqembed.spark.embed(session.read.parquet(inputs), model).write.parquet(out + "/done.parquet")
time.sleep(600)
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_a_user_that_is_terminated_leaves_no_file(many: Job, tmp_path: Path, name: str) -> None:
    """Python does not clean up after a signal that a script does not handle; Java does."""
    _, inputs, _, model, *_ = map(str, many.words)
    (tmp_path / "files").mkdir()
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPTS[name], inputs, model, str(tmp_path / "out")],
        env=os.environ | {"TMPDIR": str(tmp_path / "files")},
        stderr=subprocess.DEVNULL,
    )
    with script:
        while script.poll() is None and not list((tmp_path / "out").glob("**/*.parquet")):
            time.sleep(0.02)
        assert list((tmp_path / "files").glob("**/*.onnx"))  # what Spark sends to workers
        script.terminate()
        assert script.wait(timeout=60) in (143, -signal.SIGTERM)
    for _ in range(600):  # until Java has ended
        if not list((tmp_path / "files").iterdir()):
            break
        time.sleep(0.1)
    assert [str(path) for path in (tmp_path / "files").glob("**/*")] == []
