"""Tasks and reports can be sent to any process; workers make parts, and only the driver publishes them."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines_testing import ProcessEngine

from child_runner import contents
from seqembed.data.contract import ModelContract
from seqembed.data.decode.nested import decode_nested
from seqembed.data.errors import (
    BadFileError,
    BadRowError,
    ChangedInputError,
    InputError,
    OutputError,
    SeqembedError,
    UsageError,
)
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.local import LocalEngine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.pipeline import Pipeline
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.job.make_parts import make_parts
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.plan import InputStates, RunPlan, plan_run
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.staging import StagedPart
from seqembed_testing import Tiny, done, events_bundle, sequences, with_contract, write_events, write_sequences


class UnreliableEngine(LocalEngine):
    """Attempts every part twice, and damages some staged files, as a failing disk would.

    Attributes:
        lost: Numbers of the attempts whose part is truncated after it was reported.
    """

    lost: tuple[int, ...] = ()

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        twice = [replace(task, attempt=number) for task in tasks for number in (1, 2)]
        for report in super().map(twice):
            for file in report.files:
                if report.attempt in self.lost and file.name == report.name:
                    path = Path(twice[0].staging.storage.at(file.staged))
                    path.write_bytes(path.read_bytes()[:-1])
            yield report


class BackwardEngine(LocalEngine):
    """Reports the last part first, two at a time, as workers may that race.

    Attributes:
        begun: Names of all parts it was given.
    """

    def __init__(self, *of_local_engine: Any) -> None:
        super().__init__(*of_local_engine)
        self.begun: list[str] = []

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        tasks = iter(tasks)
        while some := list(islice(tasks, 2)):
            self.begun += [task.name for task in some]
            yield from super().map(reversed(some))


class Rows:
    """Sequences of a table in memory."""

    name, first_row = "rows", 0

    def __init__(self, table: pa.Table, contract: ModelContract) -> None:
        (self.batch,) = table.combine_chunks().to_batches()
        self.contract = contract

    def columns(self) -> pa.Schema:
        return self.batch.schema

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        policy = self.contract.length_policy
        yield decode_nested(self.batch.slice(0, limit), self.contract.schema, policy, {}, 0)

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        return [self.batch.slice(start, end - start) for start, end in spans]

    def fingerprint(self) -> str:
        return str(hash(self.batch.num_rows))


def planned(
    bundle: Path, data: Path, out: Path, options: RunOptions
) -> tuple[RunPlan, OutputDirectory, BundleReference]:
    content, output = read_bundle(bundle), OutputDirectory(str(out))
    plan = plan_run(InputStates.find([str(data)]), output, bundle_sha256(content), options)
    return plan, output, BundleReference.of(str(bundle), content)


def task_of(bundle: Path, data: Path, out: Path, **options: object) -> PartTask:
    """Return the task of the only file of `data`."""
    chosen = RunOptions(**options)
    plan, output, reference = planned(bundle, data, out, chosen)
    (part,) = plan.parts
    return PartTask(
        part.name, part.file, part.fingerprint, part.content, part.key, output.staging, reference, chosen, chosen.limit
    )


def run_with(engine: Engine, bundle: Path, data: Path, out: Path, options: RunOptions) -> Outcome:
    plan, output, reference = planned(bundle, data, out, options)
    outcome = Outcome()
    with engine, output.lock():
        output.begin({})
        make_parts(plan, engine, output, reference, options, outcome)
    return outcome


def parts(out: Path) -> dict[str, bytes]:
    return {name: text for name, text in contents(out).items() if name.endswith(".parquet")}


def with_bad_rows(seed: int, num: int = 60) -> dict[str, list]:
    columns = sequences(num, seed, shortest=1)
    for row in range(0, num, 9):
        columns["x"][row][0] = float("inf")
    return columns


@pytest.mark.parametrize("layout", ["nested", "events"])
def test_other_processes_make_the_same_bytes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    data, out, bundle = tmp_path / "in", tmp_path / "out", tiny.bundle
    if layout == "nested":
        write_sequences(data / "day=1" / "a.parquet", sequences(90, seed=1), row_group_size=40)
        write_sequences(data / "b.parquet", with_bad_rows(2))
    else:
        bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
        for name in "ab":
            write_events(data / f"{name}.parquet", 50, seed=1, prefix=name)
    keep, threads = ("label",), 2
    monkeypatch.chdir(bundle.parent)
    options = RunOptions(keep=keep, threads=threads, on_bad_row="quarantine")
    engine = ProcessEngine()
    outcome = run_with(engine, Path(bundle.name), data, out, options)
    words = ("--model", bundle, "--keep", "label", "--threads", 2, "--on-bad-row", "quarantine")
    done("run", data, *words, "--out", tmp_path / "here")
    assert parts(out) == parts(tmp_path / "here")
    assert sorted(outcome.made) == [task.name for task in engine.tasks]
    if layout == "nested":
        assert outcome.quarantined == ["_quarantine/b.parquet"]
        assert sum(outcome.reasons.values()) == 7
        assert outcome.ids.result().num_shared > 0
    for task in engine.tasks:
        assert len(pickle.dumps(task)) < 4096
        assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("lost", "finished"), [((), True), ((1,), True), ((2,), True), ((1, 2), False)], ids=["none", "1", "2", "both"]
)
def test_the_first_complete_attempt_is_published_and_others_are_removed(
    tiny: Tiny, tmp_path: Path, lost: tuple[int, ...], finished: bool
) -> None:
    data, out = tmp_path / "in", tmp_path / "out"
    write_sequences(data / "a.parquet", with_bad_rows(1))
    write_sequences(data / "b.parquet", sequences(30, seed=2))
    words = ("--model", tiny.bundle, "--on-bad-row", "quarantine", "--threads", 1)
    done("run", data, *words, "--out", tmp_path / "undisturbed")
    plan, output, reference = planned(tiny.bundle, data, out, RunOptions(on_bad_row="quarantine", threads=1))
    engine, outcome = UnreliableEngine(Encoder.open(tiny.bundle), 1), Outcome()
    engine.lost = lost
    with engine, output.lock():
        output.begin({})
        if finished:
            make_parts(plan, engine, output, reference, RunOptions(on_bad_row="quarantine", threads=1), outcome)
        else:
            with pytest.raises(OutputError, match="a.parquet: no complete staged file of this part was found"):
                make_parts(plan, engine, output, reference, RunOptions(on_bad_row="quarantine", threads=1), outcome)
        assert not [path for path in (out / "_temporary").rglob("*") if path.is_file()]
    assert parts(out) == (parts(tmp_path / "undisturbed") if finished else {})
    if finished:
        assert sum(counts.rows_in for counts in outcome.made.values()) == 90
        assert outcome.quarantined == ["_quarantine/a.parquet"]
        assert sum(outcome.reasons.values()) == 7


@pytest.mark.parametrize(("bad", "begun"), [("bc", "ab"), ("cd", "abcd"), ("b", "ab"), ("f", "abcdef")])
def test_of_several_bad_files_the_first_is_reported_whoever_reports_first(
    tiny: Tiny, tmp_path: Path, bad: str, begun: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No part is begun once a fault is known, and those in progress are published."""
    data, out = tmp_path / "in", tmp_path / "out"
    for name in "abcdef":
        write_sequences(data / f"{name}.parquet", with_bad_rows(1) if name in bad else sequences(30, seed=2))
    engine = BackwardEngine(Encoder.open(tiny.bundle), 1)
    with caplog.at_level("INFO"), pytest.raises(BadRowError, match=rf"^{bad[0]}.parquet: row 0 \(id 's0'\)"):
        run_with(engine, tiny.bundle, data, out, RunOptions(threads=1))
    assert engine.begun == [f"{name}.parquet" for name in begun]
    waited = bad[0] in "bdf" or bad == "cd"
    assert ("failed; parts before it are still being made" in caplog.text) == waited
    assert set(parts(out)) <= {f"{name}.parquet" for name in begun if name not in bad}
    assert {f"{name}.parquet" for name in begun if name < bad[0]} <= set(parts(out))


def report_of(task: PartTask) -> StagedPart:
    """Make a part, and pickle and unpickle its report."""
    report = make_part(task)
    received = pickle.loads(pickle.dumps(report))
    assert (type(received.fault), str(received.fault)) == (type(report.fault), str(report.fault))
    return received


def check_fault(report: StagedPart, kind: type[SeqembedError], text: str) -> None:
    assert type(report.fault) is kind
    assert text in str(report.fault)
    assert (report.files, report.footer) == ((), None)
    assert report.seconds > 0


def test_faults_of_the_input_are_reported_with_class_and_message(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bad = write_sequences(tmp_path / "bad.parquet", with_bad_rows(1))
    check_fault(report_of(task_of(tiny.bundle, bad, out)), BadRowError, "bad.parquet: row 0 (id 's0')")
    good = write_sequences(tmp_path / "good.parquet", sequences(30, seed=1))
    missing = task_of(tiny.bundle, good, out, keep=("nosuch",))
    check_fault(report_of(missing), InputError, "no column 'nosuch'")
    task = task_of(tiny.bundle, good, out)
    write_sequences(good, sequences(31, seed=1))
    check_fault(report_of(task), ChangedInputError, "the file changed while it was read")
    good.unlink()
    check_fault(report_of(task), ChangedInputError, "the file changed while it was read")
    # Damage from before the run was planned, with unchanged times.
    content = bytearray(bad.read_bytes())
    content[4:600] = bytes(596)
    bad.write_bytes(content)
    check_fault(report_of(task_of(tiny.bundle, bad, out)), BadFileError, "bad.parquet")


def test_faults_of_the_host_and_of_the_bundle_are_raised(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(30, seed=1))
    task = task_of(tiny.bundle, data, tmp_path / "out")
    (tmp_path / "out").write_text("a file where the directory should be")
    with pytest.raises(OutputError, match="cannot write to the output directory"):
        make_part(task)
    other = with_contract(tiny.bundle, tmp_path / "other.onnx", architecture={"name": "other"})
    with pytest.raises(SeqembedError, match="the bundle changed during the run"):
        make_part(replace(task, bundle=replace(task.bundle, path=str(other))))


def test_numbers_beyond_float16_are_a_fault_of_the_options(tiny: Tiny, tmp_path: Path) -> None:
    task = task_of(tiny.bundle, write_sequences(tmp_path / "in.parquet", sequences(9, seed=1)), tmp_path / "out")
    task = replace(task, options=RunOptions(dtype="float16", threads=1))
    encoder = Encoder.open(tiny.bundle)
    run = encoder.run
    encoder.run = lambda *batch: {name: array * np.float32(1e9) for name, array in run(*batch).items()}
    with Pipeline(encoder, 1) as pipeline:
        check_fault(make_part(task, pipeline), UsageError, "Run with --dtype float32")


def test_a_part_of_rows_in_memory_has_the_vectors_of_the_file(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(60, seed=1))
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "expected")
    encoder = Encoder.open(tiny.bundle)
    rows = Rows(pq.read_table(data), encoder.contract)
    task = replace(task_of(tiny.bundle, data, tmp_path / "out"), fingerprint=rows.fingerprint())
    with Pipeline(encoder, 1) as pipeline:
        report = make_part(task, pipeline, rows)
        changed = make_part(replace(task, fingerprint="another", attempt=2), pipeline, rows)
    (file,) = report.files
    made = pq.read_table(task.staging.storage.at(file.staged))
    assert made.equals(pq.read_table(tmp_path / "expected" / "in.parquet"))
    check_fault(changed, ChangedInputError, "rows: the file changed")


@pytest.mark.parametrize("layout", ["nested", "events"])
def test_slices_by_row_groups_have_the_rows_of_the_complete_file(tiny: Tiny, tmp_path: Path, layout: str) -> None:
    bundle, data = tiny.bundle, tmp_path / "in.parquet"
    if layout == "nested":
        write_sequences(data, with_bad_rows(1, num=100), row_group_size=23)
    else:
        bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
        ids, x = np.repeat(np.arange(100), 5), np.arange(500.0)
        x[::45] = np.inf
        pq.write_table(pa.table({"id": ids, "x": x, "y": -np.arange(500.0)}), data, row_group_size=115)
    task = task_of(bundle, data, tmp_path / "out", on_bad_row="quarantine", threads=1)
    made, aside = [], []
    bounds = [range(2), range(2, 3), range(3, 5), None]
    for number, row_groups in enumerate(bounds, start=1):
        report = make_part(replace(task, row_groups=row_groups, attempt=number))
        assert report.fault is None
        quarantined, part = report.files
        made.append(pq.read_table(task.staging.storage.at(part.staged)))
        aside.append(pq.read_table(task.staging.storage.at(quarantined.staged)))
    assert pa.concat_tables(aside[:3]).combine_chunks().equals(aside[3].combine_chunks())
    slices = pa.concat_tables(made[:3])
    assert slices["id"].to_pylist() == made[3]["id"].to_pylist()
    # Windows and batches differ, so the last bits of a vector may differ.
    vectors = [np.array(table["embedding"].to_pylist(), np.float32) for table in (slices, made[3])]
    np.testing.assert_allclose(*vectors, rtol=0, atol=2e-6)
    assert aside[-1]["row"].to_pylist()[-1] > 90


def test_a_reference_to_a_bundle_shows_no_credentials() -> None:
    reference = BundleReference("s3://me:s3cret@bucket/encoder.onnx", "0" * 64)
    assert "s3cret" not in repr(reference)
    assert "encoder.onnx" in repr(reference)
