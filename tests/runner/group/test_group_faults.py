"""Signals and faults of the host: clean exits, buckets complete or absent, and a rerun that finishes."""

import signal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from grouping_testing import write_days

from child_runner import ChildRunner, check_finished, contents, visible
from seqembed.data.errors import HostError, OutputError
from seqembed.runner.group import sort
from seqembed_testing import done

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SCHEMA = pa.schema([("id", pa.int64()), ("time", pa.int64()), ("x", pa.float64())])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    root, random = tmp_path_factory.mktemp("faults") / "in", np.random.default_rng(0)
    days = [
        [{"id": int(k), "time": int(t), "x": random.random()} for k, t in random.integers(0, 2_000, (20_000, 2))]
        for _ in range(2)
    ]
    write_days(root, days, SCHEMA)
    return ("group", root, "--buckets", 3, "--threads", 1, "--progress", "none", "--out")


@pytest.fixture(scope="module")
def new(words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done(*words, out)
    return contents(out)


@pytest.mark.parametrize(
    ("number", "step", "call"),
    [
        (signal.SIGTERM, "locked", 1),
        (signal.SIGTERM, "spilled", 1),
        (signal.SIGTERM, "chunk read", 2),
        (signal.SIGINT, "chunk read", 3),
        (signal.SIGINT, "bucket staged", 2),
        (signal.SIGTERM, "before _SUCCESS", 1),
    ],
)
def test_a_stopped_job_cleans_up_and_the_rerun_finishes(
    child_runner: ChildRunner,
    words: tuple[object, ...],
    new: dict[str, bytes],
    tmp_path: Path,
    number: signal.Signals,
    step: str,
    call: int,
) -> None:
    out = tmp_path / "out"
    ended = child_runner.run(*words, out, step=step, number=call, signal=number)
    assert ended.code == CODES[number], ended.output
    assert "Traceback" not in ended.output
    assert not (out / "_temporary").exists()
    assert not (out / "_lock").exists()
    assert set(visible(contents(out)).items()) <= set(new.items())
    done(*words, out)
    check_finished(out, new)


@pytest.mark.parametrize("num_bytes", [2_000, 200_000])
def test_a_full_disk_ends_with_6_and_the_rerun_finishes(
    child_runner: ChildRunner, words: tuple[object, ...], new: dict[str, bytes], tmp_path: Path, num_bytes: int
) -> None:
    out = tmp_path / "out"
    ended = child_runner.run(*words, out, prepare=f"limit_file_size({num_bytes})")
    assert ended.code == 6, ended.output
    assert "cannot write to the output directory" in ended.output
    assert not (out / "_temporary").exists()
    assert set(visible(contents(out)).items()) <= set(new.items())
    done(*words, out)
    check_finished(out, new)


@pytest.mark.parametrize(
    ("raised", "error", "said"),
    [
        (duckdb.OutOfMemoryException("failed to offload: max_temp_directory_size"), OutputError, "Free space"),
        (duckdb.IOException("No space left on device"), OutputError, "Free space"),
        (duckdb.InterruptException("INTERRUPT Error: Interrupted!"), KeyboardInterrupt, ""),
        (RuntimeError("Query interrupted"), KeyboardInterrupt, ""),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_errors_of_duckdb_are_explained(raised: Exception, error: type[BaseException], said: str) -> None:
    found = sort._explained(raised, [])
    assert isinstance(found, error)
    assert said in str(found)
    assert sort._explained(raised, [SystemExit(143)]).args == (143,)


def test_too_little_memory_to_sort_is_said_in_terms_of_the_option(tmp_path: Path) -> None:
    num = 400_000
    events = pa.record_batch({"c0": np.arange(num), "c1": np.zeros(num, np.int64), "number": np.arange(num)})
    with sort.Sorter(tmp_path, 2 * 10**6, 1) as sorter, pytest.raises(HostError, match="Pass more --memory") as ended:
        list(sorter.ordered(iter([events]), events.schema, 24.0))
    assert ended.value.exit_code == 6
