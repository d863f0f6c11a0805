"""Drift: each run compares its rows with the training data, however they were divided, and may fail on it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqembed
from seqembed.data.contract import ModelContract
from seqembed.data.drift.compare import drift_of
from seqembed.data.drift.drift import Drift, DriftMeasure
from seqembed.data.errors import BundleError
from seqembed.data.schema.schema import Feature
from seqembed.runner.bundle.contract_check import check_contract
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.output.history import MAX_RUNS, read_history
from seqembed.runner.output.storage import Storage
from seqembed_testing import Tiny, done, sequences, with_contract, write_sequences
from seqembed_testing import seqembed as command

Columns = dict[str, list]


def run(tiny: Tiny, root: Path, **options: object) -> seqembed.RunReport:
    return seqembed.run(root / "in", model=tiny.bundle, out=root / "out", progress="none", **options)


def drift(tiny: Tiny, root: Path, columns: Columns) -> Drift:
    write_sequences(root / "in" / "a.parquet", columns)
    found = run(tiny, root).drift
    assert found is not None
    return found


def alarms(found: Drift) -> set[tuple[str, str | None]]:
    return {(measure.name, measure.feature) for measure in found.alarms}


def changed(columns: Columns, name: str, change: Callable[[float], float | None]) -> Columns:
    return columns | {name: [[None if v is None else change(v) for v in row] for row in columns[name]]}


def marker(out: Path) -> dict:
    return json.loads((out / "_SUCCESS").read_text())


@pytest.mark.parametrize("num", [1, 3, 10, 400])
def test_rows_like_those_of_the_training_raise_no_alarm_few_or_many(tiny: Tiny, tmp_path: Path, num: int) -> None:
    found = drift(tiny, tmp_path, sequences(num, seed=num + 1, shortest=1))
    assert (found.alarmed, found.sequences) == (False, num)
    assert len(found.measures) == 6  # lengths, embeddings, values and missing of x and y
    assert [m.moved for m in found.measures] == sorted((m.moved for m in found.measures), reverse=True)


def test_no_row_at_all_is_not_compared(tiny: Tiny, tmp_path: Path) -> None:
    found = drift(tiny, tmp_path, sequences(5, seed=1, longest=0))
    assert found == Drift((), 0)
    assert "no sequence to compare" in found.line()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: changed(rows, "x", lambda v: v + 1), ("values", "x")),
        (lambda rows: changed(rows, "y", lambda v: 3 * v), ("values", "y")),
        (lambda rows: changed(rows, "x", lambda v: None if v > 0.5 else v), ("missing", "x")),
        (lambda rows: changed(rows, "y", lambda v: 0.25), ("stuck", "y")),
        (lambda rows: sequences(300, seed=8, shortest=15), ("lengths", None)),
    ],
)
def test_each_kind_of_drift_is_named(
    tiny: Tiny, tmp_path: Path, change: Callable[[Columns], Columns], expected: tuple[str, str | None]
) -> None:
    found = drift(tiny, tmp_path, change(sequences(300, seed=3, shortest=1)))
    assert expected in alarms(found)
    first = found.measures[0]
    assert first.alarmed and str(first) in found.line()
    if expected[0] != "lengths":
        assert first.feature in (expected[1], "embedding")


def test_a_stuck_feature_is_reported_once(tiny: Tiny, tmp_path: Path) -> None:
    usual = sequences(300, seed=3, shortest=1)
    found = drift(tiny, tmp_path, changed(usual, "y", lambda v: 0.25))
    of_y = [(measure.name, measure.alarmed) for measure in found.measures if measure.feature == "y"]
    assert of_y == [("stuck", True), ("missing", False)]
    assert len(found.measures) == 6  # lengths, embeddings, values of x, missing of x and y, and this
    assert found.line().startswith(f"drift: {len(found.alarms)} of 6 measures moved: y is 0.25")
    assert "y, mean" not in found.line()
    shown = done("inspect", tmp_path / "out").output
    assert found.line() in shown


def test_stored_drift_of_older_runs_with_two_measures_of_a_stuck_feature_is_still_read() -> None:
    both = Drift.of([DriftMeasure(name, "y", 2.0, 1.0, True, 0.5, 0.25) for name in ("stuck", "values")], 9)
    assert Drift.from_json(json.loads(json.dumps(both.to_json()))) == both
    assert both.line() == "drift: 2 of 2 measures moved: y is 0.25 throughout; y, mean 0.25, in training 0.5"


def test_a_mean_of_clipped_values_is_not_shown(tiny: Tiny, tmp_path: Path) -> None:
    found = drift(tiny, tmp_path, changed(sequences(300, seed=3, shortest=1), "x", lambda v: 1e6 + v))
    moved = next(measure for measure in found.alarms if measure.name == "values")
    assert (moved.feature, moved.observed) == ("x", None)
    assert str(moved).startswith("x, values far outside those of the training, whose mean is ")


def test_equal_embeddings_always_alarm(tiny: Tiny, tmp_path: Path) -> None:
    found = drift(tiny, tmp_path, {"id": list(range(30)), "x": [[0.1, 0.2]] * 30, "y": [[0.3, 0.1]] * 30})
    assert found.measures[0].name == "stuck" and "all embeddings are equal" in found.line()


def test_a_feature_named_embedding_is_not_taken_for_the_vectors() -> None:
    stuck = DriftMeasure("stuck", "embedding", 1.0, 1.0, True, 3.5, 0.25)
    assert str(stuck) == "embedding is 0.25 throughout"
    assert str(DriftMeasure("stuck", "embedding", 1.0, 1.0, True)) == "all embeddings are equal"
    quiet = Drift((DriftMeasure("values", "embedding", 0.1, 0.2, False),), 9)
    assert quiet.line().endswith("farthest values of embedding at 50% of its threshold")


def test_drift_is_the_same_however_rows_are_divided_and_skipped_parts_count(tiny: Tiny, tmp_path: Path) -> None:
    columns = changed(sequences(400, seed=5, shortest=1), "x", lambda v: v + 0.7)
    one, two = tmp_path / "one", tmp_path / "two"
    expected = drift(tiny, one, columns)
    assert ("values", "x") in alarms(expected)
    table = pq.read_table(one / "in" / "a.parquet")
    (two / "in").mkdir(parents=True)
    pq.write_table(table.slice(0, 150), two / "in" / "a.parquet")
    first = run(tiny, two)
    assert first.drift != expected
    pq.write_table(table.slice(150).take(pa.array(np.arange(249, -1, -1))), two / "in" / "b.parquet")
    second = run(tiny, two)
    assert second.num_made == 1 and second.drift is not None
    for mine, other in zip(second.drift.measures, expected.measures, strict=True):
        assert (mine.name, mine.feature) == (other.name, other.feature)
        # Embeddings depend on their batch in the last bits; all else is exact.
        assert mine.value == (pytest.approx(other.value, rel=1e-3) if mine.name == "embeddings" else other.value)
    assert Drift.from_json(marker(two / "out")["drift"]) == second.drift
    again = run(tiny, two)
    assert (again.num_made, again.drift) == (0, second.drift)


def test_a_run_that_fails_on_drift_keeps_its_parts_and_is_finished_without_the_option(
    tiny: Tiny, tmp_path: Path
) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", changed(sequences(200, 4), "x", lambda v: v + 2))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out)
    for _ in range(2):
        failed = command(*words, "--fail-on-drift")
        assert failed.exit_code == 5
        assert "x, mean 1.9" in failed.output and "without --fail-on-drift" in failed.output
        assert not (out / "_SUCCESS").exists()
        said = done("inspect", out).output
        assert "or --fail-on-drift ended it" in said and "x, mean 1.9" in said
        # The history holds only the measures that moved farthest.
        assert "moved beyond" in said and " of 6 measures" not in said and " of 6 measures moved" in failed.output
    part = (out / "a.parquet").stat().st_mtime_ns
    with pytest.raises(seqembed.DriftError) as error:
        run(tiny, tmp_path, fail_on_drift=True)
    assert ("values", "x") in alarms(error.value.drift)
    accepted = done(*words).output
    assert "0 parts made" in accepted and "drift: " in accepted and " moved: " in accepted
    assert (out / "a.parquet").stat().st_mtime_ns == part
    assert marker(out)["drift"]["alarmed"] and "x, mean 1.9" in done("inspect", out).output
    before = (out / "_SUCCESS").read_bytes()
    assert command(*words, "--fail-on-drift").exit_code == 5  # the rows are as they were, and so is the marker
    assert (out / "_SUCCESS").read_bytes() == before
    assert [record["complete"] for record in read_history(Storage.of(str(out)))] == [False, False, False, True]


def test_a_run_without_drift_passes_the_gate(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(200, seed=6))
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out", "--fail-on-drift")
    assert "drift: none in" in done(*words).output
    assert "drift: none in" in done(*words).output  # up to date
    assert not marker(tmp_path / "out")["drift"]["alarmed"]


def test_a_limit_and_a_slice_compare_their_own_rows(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "good" / "a.parquet", sequences(300, seed=2, shortest=1))
    bad = changed(sequences(300, seed=3, shortest=1), "y", lambda v: v - 2)
    write_sequences(tmp_path / "in" / "worse" / "a.parquet", bad)
    limited = seqembed.run(tmp_path / "in", model=tiny.bundle, out=tmp_path / "few", limit=250, progress="none")
    assert limited.drift is not None and (limited.drift.sequences, limited.drift.alarmed) == (250, False)
    assert run(tiny, tmp_path, only="good", fail_on_drift=True).num_made == 1
    with pytest.raises(seqembed.DriftError, match="of y|y, mean"):
        run(tiny, tmp_path, only="worse", fail_on_drift=True)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    report = run(tiny, tmp_path, only="good")  # the marker is about all parts
    assert report.drift is not None and not report.drift.alarmed
    assert marker(tmp_path / "out")["drift"]["sequences"] == 600 and marker(tmp_path / "out")["drift"]["alarmed"]


def test_a_bundle_without_thresholds_still_runs_but_has_no_gate(tiny: Tiny, tmp_path: Path) -> None:
    training = json.loads((tiny.run / "contract.json").read_text())["training"]
    assert training["noise"] is None
    write_sequences(tmp_path / "in" / "a.parquet", sequences(50, seed=5))
    bundle = with_contract(tiny.bundle, tmp_path / "bare.onnx", training=training)
    out = tmp_path / "out"
    refused = command("run", tmp_path / "in", "--model", bundle, "--out", out, "--fail-on-drift")
    assert refused.exit_code == 4 and "Export the model again" in refused.output and not out.exists()
    assert "drift" not in done("run", tmp_path / "in", "--model", bundle, "--out", out).output
    assert marker(out)["drift"] is None


def contract_of(tiny: Tiny) -> ModelContract:
    return Encoder.open(tiny.bundle).contract


def test_the_training_data_itself_has_not_moved(tiny: Tiny) -> None:
    contract = contract_of(tiny)
    assert contract.training.statistics is not None
    found = drift_of(contract.training.statistics, contract)
    assert found is not None and not found.alarmed
    assert max(measure.value for measure in found.measures) < 0.03


def test_times_between_events_are_gaps_in_seconds(tiny: Tiny) -> None:
    contract = contract_of(tiny)
    features = Feature("x", "time", "since_previous", "time"), *contract.schema.features[1:]
    contract = replace(contract, schema=replace(contract.schema, features=features))
    training = contract.training.statistics
    found = drift_of(training, contract)
    assert found is not None and training is not None
    (gaps,) = (measure for measure in found.measures if measure.name == "gaps")
    assert gaps.feature == "x" and gaps.expected == gaps.observed == pytest.approx(np.expm1(training.mean[0]), rel=1e-5)
    assert [measure.feature for measure in found.measures if measure.name == "values"] == ["y"]


def days(first: int, last: int, moved_hours: int = 0) -> Columns:
    """Return sequences that lie within a day each, between 8 and 18 o'clock, 40 a day."""
    random, columns = np.random.default_rng(first), {name: [] for name in ("id", "time", "x")}
    for day in range(first, last + 1):
        for index in range(40):
            seconds = 8 * 3600 + np.cumsum(random.exponential(600, 5)) + random.uniform(0, 6 * 3600)
            start = datetime(2026, 11, day) + timedelta(hours=moved_hours)
            columns["id"].append(f"{day}-{index}")
            columns["time"].append([start + timedelta(seconds=float(second)) for second in seconds])
            columns["x"].append(random.normal(size=5).tolist())
    return columns


def timed(columns: Columns) -> Columns:
    return columns | {"time": pa.array(columns["time"], pa.list_(pa.timestamp("us")))}


@pytest.mark.usefixtures("quick_training")
def test_a_single_day_is_no_drift_but_another_time_of_day_and_an_unknown_weekday_are(tmp_path: Path) -> None:
    """Nightly runs hold the events of a day each; 2026-11-02 is a Monday, and the model knows Monday to Friday."""
    week, next_week = days(2, 6), days(9, 13)
    data = write_sequences(tmp_path / "weeks.parquet", timed({name: week[name] + next_week[name] for name in week}))
    small = ("--steps", 2, "--units", 4, "--decoder-units", 4, "--kernels", 0, "--progress", "none")
    done("train", data, "--time", "time", "--out", tmp_path / "run", *small)
    done("export", tmp_path / "run", "--out", tmp_path / "encoder.onnx")

    def found(name: str, columns: Columns) -> set[str | None]:
        write_sequences(tmp_path / name / "a.parquet", timed(columns))
        out = tmp_path / f"{name}-out"
        drift = seqembed.run(tmp_path / name, model=tmp_path / "encoder.onnx", out=out, progress="none").drift
        assert drift is not None
        return {measure.feature for measure in drift.alarms}

    for day in range(16, 21):
        assert found(f"day-{day}", days(day, day)) == set()
    assert {"time.day_sin", "time.day_cos"} <= found("moved", days(18, 18, moved_hours=10))
    assert {"time.week_sin", "time.week_cos"} & found("saturday", days(21, 21))


def test_noise_that_does_not_fit_the_statistics_is_refused(tiny: Tiny) -> None:
    contract = contract_of(tiny)
    noise = contract.training.noise
    assert noise is not None
    other = replace(noise, factors={**noise.factors, "values": (1.0,)})
    with pytest.raises(BundleError, match="noise"):
        check_contract(replace(contract, training=replace(contract.training, noise=other)), "model")


@pytest.mark.parametrize(
    ("key", "value"), [("name", "other"), ("value", None), ("threshold", 0), ("alarmed", 1), ("feature", 3)]
)
def test_drift_that_was_edited_is_no_drift(key: str, value: object) -> None:
    measure = DriftMeasure("values", "x", 0.2, 0.1, True, 1.0, 2.0)
    whole = Drift.of([measure], 5)
    assert Drift.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    edited = whole.to_json()
    edited["measures"][0][key] = value
    with pytest.raises((ValueError, TypeError)):
        Drift.from_json(edited)


def test_the_history_keeps_the_last_runs_in_order(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "_history").mkdir(parents=True)
    (out / "_history" / "notes.txt").write_text("kept")
    for index in range(MAX_RUNS + 1):
        name = f"202601{index // 24 + 1:02}T{index % 24:02}0000.000000Z-0123456789ab.json"
        (out / "_history" / name).write_text(json.dumps({"time": f"{index}", "rows_in": index}))
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1, shortest=1))
    run(tiny, tmp_path)
    records = read_history(Storage.of(str(out)))
    assert len(records) == MAX_RUNS == len(list((out / "_history").glob("*.json")))
    assert (records[0]["rows_in"], records[-1]["rows_in"], records[-1]["complete"]) == (2, 20, True)
    assert records[-1]["drift"]["sequences"] == 20
    assert (out / "_history" / "notes.txt").exists()
    assert pq.read_table(out)["id"].to_pylist() == [f"s{index}" for index in range(20)]
    run(tiny, tmp_path)  # nothing to do leaves no record
    assert len(read_history(Storage.of(str(out)))) == MAX_RUNS
    assert "finished parts: 1\n" in done("inspect", out).output


def test_a_damaged_record_is_left_out(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    run(tiny, tmp_path)
    (record,) = (tmp_path / "out" / "_history").iterdir()
    record.write_text("[")
    assert read_history(Storage.of(str(tmp_path / "out"))) == []
