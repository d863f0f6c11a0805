"""`run --only` makes a slice of the parts, leaves the rest alone, and marks the whole once no part is missing."""

import json
import shutil
from pathlib import Path

import pytest

import seqembed as package
from child_runner import KILLED, ChildRunner, fresh_copy
from seqembed_testing import Tiny, done, events_bundle, seqembed, sequences, with_contract, write_events
from seqembed_testing import write_sequences as write

DAYS = ("2026-11-19", "2026-11-20", "2026-11-21")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for index, day in enumerate(DAYS):
        for part in range(2):
            write(tmp_path / "lake" / f"day={day}" / f"part-{part}.parquet", sequences(9, seed=2 * index + part))
    return tmp_path / "lake"


def state(out: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in sorted(out.rglob("*.parquet")) if path.is_file()]
    return {str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def contents(out: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in state(out).items()}


def marker(out: Path) -> dict[str, object]:
    found = json.loads((out / "_SUCCESS").read_text())
    of_this_run = ["seconds", "rows_per_second", "padding_share", "peak_rss_bytes", "golden_difference", "rows_made"]
    of_this_run += ["slowest_parts", "parts_made", "parts_skipped", "options", "shared_ids"]
    return {name: found[name] for name in found if name not in of_this_run}


def test_slices_one_after_the_other_are_the_whole_run(tiny: Tiny, lake: Path, tmp_path: Path) -> None:
    options = ("--model", tiny.bundle, "--keep", "day")
    done("run", lake, *options, "--out", tmp_path / "whole")
    words = ("run", lake, *options, "--out", tmp_path / "out")
    said = done(*words, "--only", "day=2026-11-2*").output
    assert "36 rows in = " in said
    assert "4 parts made" in said
    assert "outside --only, day=2026-11-19/part-0.parquet and 1 more not finished: no _SUCCESS" in said
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert "the last run made a slice" in done("inspect", tmp_path / "out").output
    before = state(tmp_path / "out")
    assert set(before) == {f"day={day}/part-{part}.parquet" for day in DAYS[1:] for part in range(2)}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert "0 parts made, 4 up to date" in done(*words, "--only", "day=2026-11-2*").output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == files
    done(*words, "--only", f"day={DAYS[0]}/part-0.parquet", "--only", f"day={DAYS[0]}/part-1*")
    assert {name: state(tmp_path / "out")[name] for name in before} == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert marker(tmp_path / "out") == marker(tmp_path / "whole")
    # The whole run finds nothing to do, and changes no byte.
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert "0 parts made, 6 up to date" in done(*words).output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == files


def test_what_lies_outside_the_slice_is_neither_made_nor_replaced_nor_pruned(
    tiny: Tiny, lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("run", lake, "--model", tiny.bundle, "--out", out)
    done(*words)
    before = state(out)
    for day in DAYS[:2]:
        write(lake / f"day={day}" / "part-0.parquet", sequences(5, seed=77))
        (lake / f"day={day}" / "part-1.parquet").unlink()
    slice_words = (*words, "--only", f"day={DAYS[0]}/", "--prune")
    plan = done(*slice_words, "--dry-run").output
    assert f"day={DAYS[1]}" not in plan
    assert "1 of 1 part would be made" in plan
    said = done(*slice_words).output
    assert f"day={DAYS[0]}/part-1.parquet: its input no longer exists; the part was removed" in said
    assert f"day={DAYS[1]}" not in said
    after = state(out)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {f"day={DAYS[0]}/part-0.parquet", f"day={DAYS[0]}/part-1.parquet"}
    # No part is missing, so the marker is that of all parts: one outside whose input is gone, and is left, included.
    assert marker(out)["orphans"] == [f"day={DAYS[1]}/part-1.parquet"]
    assert marker(out)["rows_in"] == 5 + 9 + 18
    assert "1 part made, 3 up to date" in done(*words, "--prune").output
    assert "0 parts made, 1 up to date" in done(*slice_words).output


def test_a_slice_of_which_all_inputs_are_gone_is_pruned(tiny: Tiny, lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("run", lake, "--model", tiny.bundle, "--out", out)
    done(*words)
    shutil.rmtree(lake / f"day={DAYS[0]}")
    said = done(*words, "--only", f"day={DAYS[0]}").output
    assert said.count("its input no longer exists; the part was kept") == 2
    done(*words, "--only", f"day={DAYS[0]}", "--prune")
    assert set(state(out)) == {f"day={day}/part-{part}.parquet" for day in DAYS[1:] for part in range(2)}
    assert (marker(out)["rows_in"], marker(out)["orphans"]) == (36, [])
    assert seqembed(*words, "--only", f"day={DAYS[0]}").exit_code == 2


def test_a_new_part_outside_means_no_marker(tiny: Tiny, lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("run", lake, "--model", tiny.bundle, "--out", out)
    done(*words)
    write(lake / "day=2026-11-22" / "part-0.parquet", sequences(4, seed=8))
    # Nothing is to do in the slice: the marker of the whole run stays as it was.
    content = (out / "_SUCCESS").read_bytes()
    done(*words, "--only", "day=2026-11-19")
    assert (out / "_SUCCESS").read_bytes() == content
    write(lake / f"day={DAYS[0]}" / "part-0.parquet", sequences(4, seed=9))
    report = package.run(lake, model=tiny.bundle, out=out, only="day=2026-11-19", progress="none")
    assert report.unfinished == ("day=2026-11-22/part-0.parquet",)
    assert (report.num_made, report.counts.rows_in) == (1, 13)
    assert not (out / "_SUCCESS").exists()
    done(*words)
    assert marker(out)["rows_in"] == 4 + 4 + 9 * 5


@pytest.mark.parametrize(
    ("glob", "num"),
    [("day=2026-11-20", 2), ("day=2026-11-20/", 2), ("*/part-0.parquet", 3), ("**/part-1.parquet", 3), ("**", 6)]
    + [("day=2026-11-[12][09]/part-?.parquet", 4), ("*", 6)],
)
def test_a_glob_is_compared_with_the_place_from_its_start(
    tiny: Tiny, lake: Path, tmp_path: Path, glob: str, num: int
) -> None:
    plan = package.run(lake, model=tiny.bundle, out=tmp_path / "out", only=[glob], dry_run=True)
    assert len(plan.to_make) == num


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "day=2027*"), "--only day=2027*: no part's path matches. The paths of the parts are day=2026-"),
        (("--only", "day=*", "--only", "part-0.parquet"), "--only part-0.parquet: no part's path matches"),
        (("--only", "day=2026-11-19/part-0.parquet/"), "no part's path matches"),
        (("--only", ""), "must not be empty"),
        (("--only", "day=*", "--limit", "3"), "--only conflicts with --limit"),
    ],
)
def test_no_match_is_an_error_that_shows_places(
    tiny: Tiny, lake: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    refused = seqembed("run", lake, "--model", tiny.bundle, "--out", tmp_path / "out", *words)
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    assert not (tmp_path / "out").exists()


def test_a_file_names_slices_too(tiny: Tiny, lake: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[run]\nonly = ["day={DAYS[1]}", "day={DAYS[2]}/part-1*"]\n')
    done("run", lake, "--model", tiny.bundle, "--out", tmp_path / "out", "--config", tmp_path / "c.toml")
    assert len(contents(tmp_path / "out")) == 3


def test_another_model_is_refused_in_a_slice(tiny: Tiny, lake: Path, tmp_path: Path) -> None:
    done("run", lake, "--model", tiny.bundle, "--out", tmp_path / "out")
    other = with_contract(tiny.bundle, tmp_path / "other.onnx", architecture={})
    words = ("run", lake, "--model", other, "--out", tmp_path / "out", "--only", f"day={DAYS[0]}")
    for more in ([], ["--overwrite"]):
        refused = seqembed(*words, *more)
        assert refused.exit_code == 6
        assert "another model" in refused.output
    assert "leave out --only" in refused.output


def test_ids_of_events_are_checked_within_a_slice_and_over_all_once_none_is_missing(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    for day in (1, 2):
        write_events(tmp_path / "in" / f"day={day}" / "e.parquet", 9, seed=day)
    words = ("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "out")
    done(*words, "--only", "day=1")
    refused = seqembed(*words, "--only", "day=2")
    assert (refused.exit_code, "9 of 9 ids" in refused.output) == (3, True), refused.output
    assert list(contents(tmp_path / "out")) == ["day=1/e.parquet"]


@pytest.mark.parametrize("step", ["old marker removed", "after rename or removal", "before _SUCCESS"])
def test_a_slice_that_is_killed_is_made_again_and_the_rest_is_as_it_was(
    tiny: Tiny, lake: Path, tmp_path: Path, child_runner: ChildRunner, step: str
) -> None:
    done("run", lake, "--model", tiny.bundle, "--out", tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "before")
    for day in DAYS[1:]:
        (tmp_path / "before" / f"day={day}" / "part-0.parquet").unlink()
    words = (lake, "--model", tiny.bundle, "--only", "day=2026-11-2*", "--threads", 1)
    for number in (1, 2):
        out = fresh_copy(tmp_path / "before", tmp_path / "out")
        before = state(out)
        killed = child_runner.run("run", *words, "--out", out, step=step, number=number).code == KILLED
        assert killed or (number == 2 and step != "after rename or removal")
        after = state(out)
        assert {name: after[name] for name in before} == before
        assert not killed or not (out / "_SUCCESS").exists()
        done("run", *words, "--out", out)
        assert contents(out) == contents(tmp_path / "whole")
        assert marker(out) == marker(tmp_path / "whole")
        assert not (out / "_temporary").exists()
