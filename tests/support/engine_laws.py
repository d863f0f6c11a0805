"""What every engine beyond this process must do, on a real cluster: the tests of Ray and of Spark call these."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines_testing import Job, Killer, check_vectors, limited_memory
from s3_testing import KEY, SECRET, Store

import seqembed as seqembed_package
from child_runner import check_complete, check_finished, contents, visible
from seqembed.data.errors import OutputError
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.task import BundleReference
from seqembed.runner.job.make_parts import make_parts
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.plan import InputStates, plan_run
from seqembed.runner.options import EngineName, RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import Tiny, done, seqembed, sequences, with_contract, write_sequences

NUM_KILLS = int(os.environ.get("SEQEMBED_KILLS", "4"))
Figures = Counter[str]


def check_same_bytes(job: Job, out: Path, engine: Sequence[str]) -> None:
    """The parts are those of this process, byte for byte, which therefore has nothing left to make."""
    assert "parts made" in done(*job.words, "--out", out, *engine).output
    check_finished(out, contents(job.expected))
    assert "0 parts made" in done(*job.words, "--out", out).output


def check_drift(tiny: Tiny, directory: Path, engine: Sequence[str]) -> None:
    """Drift, its gate, metrics and events are those of this process, with parts that were skipped."""
    for index in range(3):
        write_sequences(directory / "in" / f"{index}.parquet", sequences(100, seed=index, shortest=1))
    words = ("run", directory / "in", "--model", tiny.bundle)
    assert seqembed(*words, "--out", directory / "here", "--fail-on-drift").exit_code == 0
    done(*words, "--out", directory / "there", "--only", "1.parquet")
    result = done(*words, "--out", directory / "there", "--log-format", "json", "--fail-on-drift", *engine)
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert sorted(each["name"] for each in events if each["event"] == "part") == ["0.parquet", "2.parquet"]
    here, there = (json.loads((directory / name / "_SUCCESS").read_text())["drift"] for name in ("here", "there"))
    assert here == there and here["sequences"] == 300
    write_sequences(directory / "in" / "3.parquet", {"id": list(range(400)), "x": [[9.0]] * 400, "y": [[0.1]] * 400})
    metrics = directory / "run.prom"
    failed = seqembed(*words, "--out", directory / "there", "--fail-on-drift", "--metrics", metrics, *engine)
    assert failed.exit_code == 5 and not (directory / "there" / "_SUCCESS").exists()
    assert f'seqembed_run_exit_code{{out="{directory / "there"}"}} 5.0' in metrics.read_text()


def check_scores(bundle: Path, directory: Path, engine: Sequence[str]) -> None:
    """Scores and their quantiles are those of this process, byte for byte, with rows that have none."""
    for index in range(3):
        columns = sequences(60, seed=index, shortest=1)
        columns["x"][7], columns["y"][7] = [None] * 5, [None] * 5
        columns["x"][8], columns["y"][8] = [], []
        write_sequences(directory / "in" / f"{index}.parquet", columns)
    words = ("run", directory / "in", "--model", bundle, "--score", "--keep", "label")
    done(*words, "--out", directory / "here")
    done(*words, "--out", directory / "there", *engine)
    check_finished(directory / "there", contents(directory / "here"))
    found = pq.read_table(directory / "there" / "0.parquet", columns=["score", "score_quantile"])
    assert [column.null_count for column in found.columns] == [2, 2]
    assert len(found["score"].unique()) == 59  # all known ones differ


def check_bucket(store: Store, tiny: Tiny, engine: Sequence[str]) -> None:
    """Workers read from a bucket and write to it, with the bytes of this process."""
    for index in range(2):
        store.put(f"in/{index}.parquet", seed=index)
    given, out = (
        store.query(name).replace("s3://", f"s3://{KEY}:{SECRET.replace('/', '%2F')}@") for name in ("in", "out")
    )
    done("run", store / "in", "--model", tiny.bundle, "--out", store / "here")
    done("run", given, "--model", tiny.bundle, "--out", out, *engine)
    here, there = store.objects("here"), store.objects("out")
    assert sorted(name.split("/")[1] for name in there) == ["0.parquet", "1.parquet", "_RUN", "_SUCCESS"]
    for name in ("0.parquet", "1.parquet"):
        assert there[f"out/{name}"][0] == here[f"here/{name}"][0]


def check_faults_of_data(tiny: Tiny, directory: Path, engine: Sequence[str]) -> None:
    """A bad row ends the run once, with the text and the code of a local run, or is quarantined alike."""
    columns = sequences(60, seed=1, shortest=1)
    columns["x"][33][0] = float("inf")
    write_sequences(directory / "in" / "a.parquet", columns)
    write_sequences(directory / "in" / "b.parquet", sequences(60, seed=2))
    words = ("run", directory / "in", "--model", tiny.bundle)
    local, there = (
        seqembed(*words, "--out", directory / "o1"),
        seqembed(*words, "--out", directory / "o2", *engine),
    )
    assert there.exit_code == local.exit_code == 3
    assert there.output == local.output
    assert "a.parquet: row 33 (id 's33')" in there.output
    assert not (directory / "o2" / "_temporary").exists()
    done(*words, "--out", directory / "o2", *engine, "--on-bad-row", "quarantine", "--overwrite")
    done(*words, "--out", directory / "o3", "--on-bad-row", "quarantine")
    check_finished(directory / "o2", contents(directory / "o3"))


def check_first_fault(tiny: Tiny, directory: Path, engine: Sequence[str]) -> None:
    """Of two bad files the one is reported that a local run reports, though its part takes longer to fail."""
    for name, num in (("a", 30), ("b", 20_000), ("c", 30)):
        columns = sequences(num, seed=1, shortest=1)
        if name != "a":
            columns["x"][-1][0] = float("inf")
        write_sequences(directory / "in" / f"{name}.parquet", columns)
    words = ("run", directory / "in", "--model", tiny.bundle, "--progress", "none")
    here, there = (seqembed(*words, "--out", directory / name, *more) for name, more in (("o1", ()), ("o2", engine)))
    assert here.exit_code == there.exit_code == 3
    assert "b.parquet: row 19999 (id 's19999')" in here.output
    assert here.output.splitlines()[-1] == there.output.splitlines()[-1]
    assert visible(contents(directory / "o2")) == visible(contents(directory / "o1"))
    assert not (directory / "o2" / "_temporary").exists()


def check_broken_disk(
    tiny: Tiny, directory: Path, kind: type[Engine], name: EngineName, first: int, num_broken: int
) -> None:
    """The directories of attempts cannot be written; the part is made by the next attempt, or refused after four.

    Args:
        tiny: The model.
        directory: Where to write.
        kind, name: The engine and its option.
        first: Number of the first attempt.
        num_broken: Attempts that fail.
    """
    data, out = write_sequences(directory / "in" / "a.parquet", sequences(60, seed=1)).parent, directory / "out"
    done("run", data, "--model", tiny.bundle, "--out", directory / "expected")
    content, output, options = read_bundle(tiny.bundle), OutputDirectory(str(out)), RunOptions(engine=name)
    plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
    with output.lock(), kind(content, 1) as engine:  # type: ignore[call-arg]
        output.begin({})
        for number in range(first, first + num_broken):
            (out / output.staging.directory / str(number)).write_text("in the way")
        make = (plan, engine, output, BundleReference.of(str(tiny.bundle), content), options, Outcome())
        if num_broken < 4:
            make_parts(*make)
        else:
            with pytest.raises(OutputError, match="cannot write to the output directory .*worker on host"):
                make_parts(*make)
    assert list(visible(contents(out))) == (["a.parquet"] if num_broken < 4 else [])
    if num_broken < 4:
        assert (out / "a.parquet").read_bytes() == (directory / "expected" / "a.parquet").read_bytes()


def check_lack_of_memory(tiny: Tiny, directory: Path, engine: Sequence[str], title: str, num_bytes: int) -> None:
    """A worker whose memory is limited, and which cannot hold a long sequence, is reported without a traceback.

    Args:
        tiny: The model.
        directory: Where to write.
        engine: Options of the engine.
        title: In the command line of the workers.
        num_bytes: What they may grow by.
    """
    for index, length in enumerate((20, 1_500_000, 20)):
        steps = np.zeros((2, length), np.float32)
        columns = {"id": ["s", "t"], "x": list(steps), "y": list(steps)}
        write_sequences(directory / "in" / f"{index}.parquet", columns, use_dictionary=False)
    words = ("run", directory / "in", "--model", tiny.bundle, "--progress", "none")
    done(*words, "--out", directory / "expected")
    for name in ("0.parquet", "2.parquet"):  # the workers load the model
        done(*words, "--out", directory / "before", "--only", name, *engine)

    with limited_memory(title, num_bytes):
        failed = seqembed(*words, "--out", directory / "out", *engine)
    assert failed.exit_code == 6, failed.output
    last = failed.output.splitlines()[-1]
    is_reported = last.startswith("error: 1.parquet: this host lacks memory beyond the ") and "(worker on host " in last
    # A thread of the engine itself may be the one that gets none, and ends the worker.
    is_lost = last.startswith("error: 1.parquet: the ") and "worker that made this part died" in last
    assert (is_reported and "give the process more" in last) or (is_lost and "give them more" in last), last
    assert "Traceback" not in failed.output
    # Those that were in progress when the last attempt failed are not waited for.
    assert {*visible(contents(directory / "out"))} <= {"0.parquet", "2.parquet"}
    assert not (directory / "out" / "_temporary").exists()
    done(*words, "--out", directory / "out", *engine)
    check_finished(directory / "out", contents(directory / "expected"))


def check_killed_workers(
    many: Job, directory: Path, engine: Sequence[str], title: str, num: int, pause_seconds: float
) -> Figures:
    """Workers that are killed in mid-part lose nothing, double nothing, and leave nothing behind.

    Args:
        many: A run of enough files.
        directory: Where to write.
        engine: Options of the engine.
        title: In the command line of the processes to kill.
        num: Processes to kill, up to 4 in a run.
        pause_seconds: Between two kills.

    Returns:
        Killed processes, runs, parts, attempts that the driver repeated, and seconds.
    """
    out, words, expected, figures = directory / "out", many.words, contents(many.expected), Figures()
    while figures["kills"] < num:
        assert figures["runs"] <= num, figures  # a run may end before its first kill, but not all of them
        start = time.monotonic()
        with Killer(title, min(4, num - figures["kills"]), pause_seconds) as killer:
            result = done(*words, "--out", out, *engine, "--log-format", "json")
        check_finished(out, expected)
        events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
        figures["kills"] += killer.num_kills
        figures["runs"] += 1
        figures["parts"] += sum(event["event"] == "part" for event in events)
        figures["repeated"] += sum(" failed: " in event.get("message", "") for event in events)
        figures["seconds"] += round(time.monotonic() - start)
        shutil.rmtree(out)
    return figures


def check_stopped_driver(
    many: Job,
    directory: Path,
    engine: Sequence[str],
    address: str,
    stop: tuple[signal.Signals, int],
    *,
    again: Sequence[str] = (),
    seconds: int = 60,
) -> None:
    """A driver stopped by a signal keeps its parts, says no traceback, and leaves a directory to be completed.

    Args:
        many: A run of enough files.
        directory: Where to write.
        engine: Options of the engine, without the address.
        address: Of the cluster.
        stop: Signal and expected exit code.
        again: Options of the run that completes the directory.
        seconds: Within which the driver ends.
    """
    out, words, new, (number, code) = directory / "out", many.words, contents(many.expected), stop
    command = [sys.executable, "-m", "seqembed", *map(str, words), "--out", str(out), *engine, "--address", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        while driver.poll() is None and len(list(out.glob("*.parquet"))) < 2:
            time.sleep(0.02)  # until the first parts are published
        driver.send_signal(number)
        said, _ = driver.communicate(timeout=seconds)
    assert driver.returncode == code, said
    assert "Traceback" not in said
    assert "WARN" not in said
    if number != signal.SIGKILL:
        assert not (out / "_temporary").exists()
        assert not (out / "_lock").exists()
    check_complete(out, new)
    assert not (out / "_SUCCESS").exists()
    done(*words, "--out", out, *again)
    check_finished(out, new)


def check_stop_in_mid_part(tiny: Tiny, directory: Path, engine: Sequence[str], *, seconds: int = 60) -> None:
    """A driver that waits for a long part ends soon after SIGTERM, with its code and a word, and leaves nothing behind.

    Args:
        tiny: The model.
        directory: Where to write.
        engine: Options of the engine, address included.
        seconds: Within which the driver ends.
    """
    table, out = pq.read_table(tiny.data, columns=["x", "y"]), directory / "out"
    table = pa.concat_tables([table] * (2_000_000 // table.num_rows))
    (directory / "in").mkdir()
    ids = pa.array(np.arange(table.num_rows)).cast("string")
    pq.write_table(table.append_column("id", ids), directory / "in" / "long.parquet", row_group_size=50_000)
    words = ("run", directory / "in", "--model", tiny.bundle, "--progress", "none", "--out", out, *engine)
    command = [sys.executable, "-m", "seqembed", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        while driver.poll() is None and not list(out.glob("_temporary/*/*/long.parquet")):
            time.sleep(0.02)  # until the worker writes
        time.sleep(0.2)  # and the driver waits for nothing else
        driver.send_signal(signal.SIGTERM)
        said, _ = driver.communicate(timeout=seconds)
    assert (driver.returncode, said) == (143, "terminated\n")
    assert [path.name for path in out.iterdir()] == ["_RUN"]


def check_errors(scored: Path, embedded: Callable[[pa.Table], pa.Table]) -> None:
    """A bundle with a decoder gives the reconstruction errors of this process, null where nothing is known.

    Args:
        scored: The bundle.
        embedded: Embeds a table on the engine.
    """
    columns = sequences(60, seed=5, shortest=1)
    columns["x"][7], columns["y"][7] = [None] * 5, [None] * 5
    columns["x"][8], columns["y"][8] = [], []
    table = pa.table({name: columns[name] for name in ("id", "x", "y")})
    expected, found = seqembed_package.load(scored).embed_table(table), embedded(table)
    assert found.column_names == ["id", "embedding", "reconstruction_error"]
    assert found.schema.field("reconstruction_error").type == pa.float32()
    errors = [rows["reconstruction_error"].to_pylist() for rows in (found, expected)]
    assert [number for number, error in enumerate(errors[0]) if error is None] == [7, 8]
    np.testing.assert_allclose(*(np.array(each, float) for each in errors), rtol=0, atol=1e-6)
    check_vectors(found.drop_columns(["reconstruction_error"]), expected.drop_columns(["reconstruction_error"]))


def check_hard_names(tiny: Tiny, directory: Path, embedded: Callable[[pa.Table, Path, list[str]], pa.Table]) -> None:
    """Columns may have any names, here with dots, backticks and spaces, and two that differ in case only.

    Args:
        tiny: A small model.
        directory: Where to write another of it.
        embedded: Embeds a table with a model on the engine, and keeps columns.
    """
    names = {"id": "page.id", "x": "page.type", "y": "a `b` c", "label": "Page.Type"}
    schema = json.loads(json.dumps(Encoder.open(tiny.bundle).contract.schema.to_json()))
    for feature in schema["features"]:
        feature["column"] = names[feature["column"]]
    model = with_contract(tiny.bundle, directory / "named.onnx", schema=schema | {"id": names["id"]})
    table = pq.read_table(tiny.data).select(list(names)).rename_columns(list(names.values()))
    expected = seqembed_package.load(model).embed_table(table, keep=["Page.Type", "a `b` c"])
    check_vectors(embedded(table, model, ["Page.Type", "a `b` c"]), expected)
