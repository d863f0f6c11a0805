"""The page of a training, in a real browser: odd names, wide data, few rows, and what it says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import Browser, check_page, open_browser

from seqembed.data.contract import ModelContract
from seqembed.data.pages.render import MAX_BYTES
from seqembed.exporter.card.limits import limits
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.job import train
from seqembed.trainer.output.summary import TrainSummary
from seqembed.trainer.page.write import write_page

HOSTILE = ("<script>alert(1)</script>", "温度センサー", "🙂 \"quoted\" & 'x'", "long " * 60, "<img src=//elsewhere/x>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(autouse=True)
def with_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqembed.trainer.job.write_page", write_page)


SMALL = {"steps": 2, "units": 4, "bidirectional": False, "kernels": 0, "pairs": 0}


class Notes(Progress):
    """Keeps the notes of a training."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def trained(path: Path, columns: dict[str, object], out: Path, **options: object) -> TrainSummary:
    """Train a small network on a table of columns for a moment."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path)
    job = TrainJob.from_options({"inputs": [str(path)], **SMALL, **options})
    notes = Notes()
    summary = train(job, out, progress=notes)
    assert not [line for line in notes.lines if "report.html" in line]
    return summary


def written(path: Path, columns: dict[str, object], out: Path, **options: object) -> Path:
    """Train on a table of columns for a moment; return its page."""
    trained(path, columns, out, **options)
    return out / "report.html"


def waves(num: int, seed: int, shortest: int = 3, longest: int = 40) -> list[list[float]]:
    """Return sequences of one feature."""
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, num)
    return [np.sin(np.arange(length) / 3 + random.normal()).tolist() for length in lengths]


def several(num: int, names: tuple[str, ...]) -> dict[str, object]:
    """Return an id and features of equal lengths in each row."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 12, num)
    return {"id": list(range(num))} | {name: [random.normal(size=n).tolist() for n in lengths] for name in names}


def test_names_of_any_script_are_text_and_one_feature_is_mostly_missing(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    columns = several(60, HOSTILE)
    columns["id"] = [f"<b>{row}</b> 編号" for row in range(60)]
    columns["label"] = [f"<i>{row % 50}</i>" for row in range(60)]
    columns[HOSTILE[1]] = [[None] * (len(row) - 1) + row[-1:] for row in columns[HOSTILE[1]]]
    table = pa.table(columns)
    place = table.schema.get_field_index(HOSTILE[2])
    field = table.schema.field(place).with_metadata({"unit": "km/h"})
    page = written(
        tmp_path / "odd.parquet", table.cast(table.schema.set(place, field)), tmp_path / "run", label="label"
    )
    texts = [*HOSTILE[:3], "<b>", "編号", "<i>", "km/h", "Mostly missing.", "Nothing held out.", "5 features"]
    check_page(browser, page, texts)


def test_three_hundred_features_and_a_thousand_labels_stay_small(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    columns = several(40, tuple(f"sensor {index} of a machine with a long name" for index in range(300)))
    columns["label"] = [f"label {row} {'long ' * 40}" for row in range(40)]
    page = written(tmp_path / "wide.parquet", columns, tmp_path / "run", label="label")
    assert page.stat().st_size < MAX_BYTES * 0.6
    check_page(browser, page, ["300 features", "284 more features", "284 more rows", "other labels"])


def test_three_rows_and_two_numbers_have_a_page_without_labels(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    columns = {"id": [1, 2, 3], "x": [[1.0, 2.0, 3.0], [2.0], [3.0, 1.0]]}
    page = written(tmp_path / "three.parquet", columns, tmp_path / "run")
    check_page(browser, page, ["3 sequences in vectors of 2 numbers", "1 feature", "all that they hold"])


def test_a_label_of_numbers_is_an_ordered_scale_and_equal_trainings_have_equal_pages(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    columns = {"id": list(range(60)), "x": waves(60, seed=5, longest=20)}
    columns["level"] = [None, *(float(np.mean(row)) for row in columns["x"][1:])]
    options = {"label": "level", "decoder": "positional", "bidirectional": True, "kernels": None, "pairs": None}
    page, again = (written(tmp_path / "numbers.parquet", columns, tmp_path / name, **options) for name in ("a", "b"))
    assert page.read_bytes() == again.read_bytes()
    texts = ["The mean of the 5 nearest sequences explains", "always the mean", "no label", "coloured by level"]
    check_page(browser, page, texts)
    assert (
        'class="dots s1"' in (html := page.read_text(encoding="utf-8"))
        and "By label" not in html
        and 'differs">' not in html
    )
    assert DECODERS["positional"] in html and DECODERS["autoregressive"] not in html


def test_categories_are_shown_by_name_beside_what_is_trivial(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    random = np.random.default_rng(0)
    rows = [random.choice(["card", "cash", "transfer"], size=n).tolist() for n in random.integers(3, 12, 40)]
    columns = {"id": list(range(40)), "kind": rows, "group": [row % 2 for row in range(40)]}
    page = written(tmp_path / "events.parquet", columns, tmp_path / "run", label="group")
    check_page(
        browser, page, ["card", "cash", "transfer", "steps right", "the most frequent value", "1 categorical field"]
    )


NUMBERS = ("More numbers than sequences.", "More numbers than values.")
DECODERS = {
    "autoregressive": "from the vector and from what it wrote before (the first 120 steps",
    "positional": "writes from the vector alone",
}


@pytest.mark.parametrize(
    ("options", "num", "lengths", "present", "absent"),
    [
        # A vector of 32 numbers, from fewer sequences, from fewer values, and from enough of both.
        (
            {"objective": "contrast", "embedding_dim": 32},
            20,
            (40, 40),
            ["share of views distinguished", NUMBERS[0]],
            ["Two typical sequences", NUMBERS[1]],
        ),
        (
            {"task": "predict", "embedding_dim": 32},
            80,
            (3, 3),
            ["The model predicts", NUMBERS[1]],
            ["Two typical sequences", NUMBERS[0]],
        ),
        (
            {"epochs": 0, "steps": None, "embedding_dim": 32},
            40,
            (40, 40),
            ["Untrained.", "The model is untrained."],
            ["batches the loss", *NUMBERS],
        ),
        # It writes a step after the other: few, since each takes a twentieth of a second.
        (
            {"decoder": "autoregressive"},
            30,
            (3, 12),
            ["Two typical sequences", "autoregressive", DECODERS["autoregressive"]],
            ["nan", DECODERS["positional"]],
        ),
    ],
)
def test_every_kind_of_training_has_a_page(
    tmp_path: Path,
    eager_steps: None,
    options: dict[str, object],
    num: int,
    lengths: tuple[int, int],
    present: list[str],
    absent: list[str],
) -> None:
    columns = {"id": list(range(num)), "x": waves(num, 1, *lengths)}
    html = written(tmp_path / "data.parquet", columns, tmp_path / "run", **options).read_text(encoding="utf-8")
    assert [text for text in present if text not in html] == []
    assert [text for text in absent if text in html] == []


def test_a_page_that_cannot_be_made_does_not_cost_the_training(
    tmp_path: Path, eager_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqembed.trainer.page.page.render", lambda *names, **values: 1 / 0)
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"id": list(range(20)), "x": waves(20, seed=3)}), path)
    notes = Notes()
    train(TrainJob.from_options({"inputs": [str(path)], **SMALL}), tmp_path / "run", progress=notes)
    assert (tmp_path / "run" / "contract.json").exists()
    assert [line for line in notes.lines if line.startswith("report.html is not written: ZeroDivisionError")]
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_training_on_three_weekdays_says_which_are_missing(
    tmp_path: Path, browser: Browser, eager_steps: None
) -> None:
    monday = np.datetime64("2026-11-23T00:00", "s")
    times = [[monday + np.timedelta64(3600 * (row + 3 * step), "s") for step in range(20)] for row in range(12)]
    columns = {"id": list(range(12)), "time": times, "x": [[1.0, *np.sin(range(19)).tolist()]] * 12}
    # Without pairs, the features that are shown, of good and of bad reconstructions, include a gap.
    summary = trained(tmp_path / "days.parquet", columns, tmp_path / "run", time="time")
    page = tmp_path / "run" / "report.html"
    check_page(browser, page, ["Not all of the week.", "hardly any events on Thursday to Sunday.", "time.week_sin"])
    shown = page.read_text().split("Typical")[1]
    panels = [shown.index(f">{name}<") for name in ("x", "time.since_previous (log1p of seconds)")]
    assert panels == sorted(panels)  # the user's own column first, and no time without its unit
    assert "log1p of seconds, computed from the time" in page.read_text()
    assert any("hardly any events on Thursday to Sunday" in warning for warning in summary.warnings)
    assert "on Thursday to Sunday" in " ".join(summary.lines())
    contract = ModelContract.from_json((tmp_path / "run" / "contract.json").read_text(), "contract.json")
    assert sum(contract.training.profile.week_hours) == 12 * 20 - 20 * summary.history["num_validation"]
    assert any("Thursday to Sunday" in line for line in limits(contract, None))
