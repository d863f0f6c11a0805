"""`seqembed run --report` writes a page about the run, in a real browser: it never fails the run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
from browser import PHONE, Browser, check_page, open_browser
from s3_testing import Store

import seqembed
from seqembed.data.drift.drift import Drift, DriftMeasure
from seqembed.data.pages.charts import Chart, Shape, bars, cells, curve
from seqembed.data.pages.numbers import data_size, number, percent, seconds, shortened
from seqembed.data.pages.scales import Scale, linear, logarithmic, within
from seqembed.runner.output.history import HISTORY, MAX_RUNS
from seqembed.runner.page.history import history_charts
from seqembed.runner.page.write import REPORT
from seqembed_testing import Tiny, done, sequences, write_sequences
from seqembed_testing import seqembed as command


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def run(tiny: Tiny, root: Path, **options: object) -> seqembed.RunReport:
    return seqembed.run(root / "in", model=tiny.bundle, out=root / "out", progress="none", **options)


def page_of(root: Path) -> str:
    return (root / "out" / REPORT).read_text(encoding="utf-8")


def add_history(out: Path, num: int) -> None:
    """Copy the only record of a history to earlier days."""
    (first,) = (out / HISTORY).iterdir()
    record = json.loads(first.read_text())
    for days in range(1, num + 1):
        then = datetime(2026, 1, 31, tzinfo=UTC) - timedelta(days=days)
        record["time"] = f"{then:%Y-%m-%dT%H:%M:%SZ}"
        (out / HISTORY / f"{then:%Y%m%dT%H%M%S.%f}Z-{days:012x}.json").write_text(json.dumps(record))


def test_a_run_with_bad_rows_drift_and_history_is_shown(tiny: Tiny, tmp_path: Path, browser: Browser) -> None:
    write_sequences(tmp_path / "in" / "<script>.parquet", sequences(40, seed=1))
    run(tiny, tmp_path, report=True, on_bad_row="quarantine")
    check_page(browser, tmp_path / "out" / REPORT, ["No earlier run is remembered here.", "All 6 measures are within"])
    add_history(tmp_path / "out", MAX_RUNS + 5)
    columns = sequences(300, seed=2, shortest=2)
    columns["x"] = [[7.25] * len(row) for row in columns["x"]]
    columns["y"][3] = [float("inf")] * len(columns["x"][3])
    columns["y"][5] = columns["y"][5][1:]
    write_sequences(tmp_path / "in" / "новый день 新.parquet", columns)
    run(tiny, tmp_path, report=True, on_bad_row="quarantine")
    texts = [
        "340 rows",
        "Drift.",
        "Bad rows.",
        "ragged",
        "±inf",
        "The only part made took",
        "1 part up to date",
    ]
    texts += [f"The last {MAX_RUNS} runs", "moved beyond a threshold of drift", "Rows per second", "Padding"]
    check_page(browser, tmp_path / "out" / REPORT, texts)
    browser.show(tmp_path / "out" / REPORT, PHONE)
    wide = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.run(wide), "a table that the check of hints looks at"
    legends = browser.run("return [...document.querySelectorAll('.legend li')].map(e => e.innerText)")
    assert "alarm" in legends, "a line to compare with is named where nothing is drawn"
    assert "новый день 新" in page_of(tmp_path)
    assert ds.dataset(tmp_path / "out", format="parquet").to_table().num_rows == 338, "readers of Parquet skip the page"


def test_the_page_is_made_once_and_equal_input_gives_equal_bytes(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    run(tiny, tmp_path)
    path = tmp_path / "out" / REPORT
    assert not path.exists(), "only where it is asked for"
    marker = (tmp_path / "out" / "_SUCCESS").read_bytes()
    run(tiny, tmp_path, report=True)
    before, when = path.read_bytes(), path.stat().st_mtime_ns
    run(tiny, tmp_path, report=True)
    assert path.stat().st_mtime_ns == when, "nothing to do changes no byte"
    path.unlink()
    run(tiny, tmp_path, report=True)
    assert path.read_bytes() == before and (tmp_path / "out" / "_SUCCESS").read_bytes() == marker
    assert not (tmp_path / "out" / "_temporary").exists()


def test_a_slice_and_a_refused_run_have_a_page_that_says_so(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    columns = sequences(300, seed=2, shortest=2)
    columns["x"] = [[7.25] * len(row) for row in columns["x"]]
    write_sequences(tmp_path / "in" / "b.parquet", columns)
    run(tiny, tmp_path, report=True, only=["a.parquet"])
    assert "A slice." in page_of(tmp_path) and "20 rows" in page_of(tmp_path)
    with pytest.raises(seqembed.DriftError):
        run(tiny, tmp_path, report=True, fail_on_drift=True)
    assert "Refused." in page_of(tmp_path) and "320 rows" in page_of(tmp_path)
    assert "Run again without --fail-on-drift to accept" in page_of(tmp_path) and "to withdraw them" in page_of(
        tmp_path
    )
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_page_that_cannot_be_made_is_a_warning(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / REPORT).write_text("notes of the user")
    assert run(tiny, tmp_path, report=True).num_made == 1
    assert page_of(tmp_path) == "notes of the user" and "was not written by seqembed" in caplog.text
    (tmp_path / "out" / REPORT).unlink()
    (tmp_path / "out" / "_SUCCESS").write_text(
        json.dumps(json.loads((tmp_path / "out" / "_SUCCESS").read_text()) | {"drift": 5, "slowest_parts": "edited"})
    )
    assert run(tiny, tmp_path, report=True).num_made == 0
    assert not (tmp_path / "out" / REPORT).exists() and "TypeError" in caplog.text
    monkeypatch.setattr("seqembed.runner.page.write.find_spec", lambda name: None)
    with pytest.raises(seqembed.UsageError, match=r"pip install 'seqembed\[report\]'"):
        run(tiny, tmp_path, report=True)


def test_an_object_store_gets_the_page_too(tiny: Tiny, tmp_path: Path, store: Store) -> None:
    data = write_sequences(tmp_path / "a.parquet", sequences(20, seed=1))
    out = f"s3://{store.bucket}/out"
    for _ in range(2):
        seqembed.run(data, model=tiny.bundle, out=out, progress="none", report=True)
    assert b"20 rows" in store.read(f"{store.bucket}/out/{REPORT}")
    assert not [name for name in store.names("out") if "_temporary" in name]


def test_the_command_has_the_option(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--report")
    assert "20 rows" in page_of(tmp_path)
    slow = json.loads((tmp_path / "out" / "_SUCCESS").read_text())["slowest_parts"]
    assert [(one["name"], one["rows_in"]) for one in slow] == [("a.parquet", 20)] and slow[0]["seconds"] >= 0
    assert command("inspect", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (12_345, "12,345"), (-0.5, "−0.500"), (0.99961, "1.00"), (1234.5, "1,234"), (2e-5, "2.00 × 10⁻⁵"),
        (1.5e9, "1.50 × 10⁹"), (float("nan"), "–"), (None, "–"), (float("-inf"), "−∞"),
    ],
)  # fmt: skip
def test_numbers_have_sensible_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_shares_sizes_and_times_are_short() -> None:
    assert [percent(x) for x in (0, 1e-5, 0.0123, 0.5, 0.961, 0.99999, 1)] == [
        "0%", "<0.1%", "1.2%", "50%", "96.1%", ">99.9%", "100%",
    ]  # fmt: skip
    assert [seconds(x) for x in (0.04, 59, 61, 3661)] == ["0.0 s", "59 s", "1 min 1 s", "1 h 1 min"]
    assert data_size(5 << 30) == "5 GiB"
    assert shortened("first\nname " * 9, 12) == "first n…name"


@pytest.mark.parametrize("values", [[3, 3], [0.001, 0.0012], [-5, 1e9], [np.nan], []])
def test_scales_hold_their_values_and_label_a_few_numbers(values: list[float]) -> None:
    for scale in (linear(values), linear(values, whole=True), linear(values, zero=True, widened=True)):
        known = [value for value in values if not np.isnan(value)]
        assert all(-1e-6 <= place <= 100 + 1e-6 for place in scale.at(known)) and scale.low < scale.high
        assert 1 <= len(scale.ticks) <= 12 and len({tick.text for tick in scale.ticks}) == len(scale.ticks)


def test_a_logarithmic_scale_labels_round_numbers() -> None:
    assert [tick.text for tick in logarithmic([1, 1000]).ticks] == ["1", "10", "100", "1,000"]
    assert within(1).ticks[0].text == "1" and [tick.text for tick in within(1200).ticks] == ["1", "1,200"]


def test_long_curves_are_thinned_and_gaps_stay_gaps() -> None:
    steps = np.sin(np.arange(100_000.0))
    steps[500:99_000] = np.nan
    path = curve(np.arange(len(steps)), steps, Scale(0, 1e5, ()), Scale(-1, 1, ()))
    assert len(path) < 12_000 and path.count("M") >= 2 and "nan" not in path
    assert cells([True, True, False, True]) == "M0 0H500V1000H0zM750 0H1000V1000H750z"
    assert len(cells([True, False] * 50_000)) < 12_000 and cells([True] * 100_000) == "M0 0H1000V1000H0z"
    assert bars([0, 1, 2], [0, 1], Scale(0, 1, ()), Scale(0, 2, ())) == "M500 1000V0H1000V1000z"
    named = Chart("t", "d", (Shape("", "dots c8", "others"), Shape("", "dots c1", "a")))
    assert [shape.name for shape in named.legend] == ["a", "others"]


@pytest.mark.parametrize(("farthest", "says"), [(50.0, "; 1 point cut at 10 thresholds"), (9.0, "")])
def test_the_history_says_where_thresholds_are_cut(farthest: float, says: str) -> None:
    records = [
        {"time": f"2026-11-2{n}T00:00:00Z", "rows_in": 5, "rows_made": 0, "drift": Drift.of([moved], 5).to_json()}
        for n, moved in enumerate(
            DriftMeasure("lengths", None, value, 0.1, value > 0.1) for value in (0.05, farthest / 10)
        )
    ]
    chart = history_charts(records)[-1]
    assert chart.title == f"1 of 2 runs moved beyond a threshold of drift{says}"
    assert ("10 or more" in chart.description) == bool(says)
