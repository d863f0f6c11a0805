"""Signals and faults of the host: clean exits, buckets complete or absent, and a rerun that finishes."""

import signal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from grouping_testing import write_days

import seqembed
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


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("locked", 1),
        ("spilled", 1),
        ("chunk read", 2),
        ("rows on disk", 2),
        ("bucket staged", 2),
        ("before _SUCCESS", 1),
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
        (duckdb.OutOfMemoryException("failed to allocate data of size 8.0 MiB"), HostError, "Pass more --memory"),
        (duckdb.OutOfMemoryException("failed to offload: max_temp_directory_size"), OutputError, "Free space"),
        (duckdb.IOException("No space left on device"), OutputError, "Free space"),
    ],
)
def test_what_duckdb_lacks_is_said_in_terms_of_options(
    raised: Exception, error: type, said: str, tmp_path: Path
) -> None:
    events = pa.record_batch({"c0": [1], "c1": [1], "number": [0]})

    with sort.Sorter(tmp_path, 10**8, 1) as sorter, pytest.raises(error, match=said):
        sorter._database = Failing(raised)  # type: ignore[assignment]
        list(sorter.ordered(iter([events]), events.schema, 24.0))
    assert seqembed.HostError.exit_code == 6


class Failing:
    """A connection whose query fails; a real one fails so only on a host without memory or disk."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def register(self, name: str, reader: object) -> None:
        """Accept a table."""

    def unregister(self, name: str) -> None:
        """Forget it."""

    def close(self) -> None:
        """End."""

    def sql(self, query: str) -> object:
        """Fail."""
        raise self._error
