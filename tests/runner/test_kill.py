"""Kill `seqembed run` at every named step and at random moments: nothing is lost, doubled or half-visible.

CI kills at random 25 times, and at each step in the scenario it matters most to; SEQEMBED_KILLS=300 in the environment
is the long form: 300 random moments, and every call of every step in every scenario.
"""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from doomed import STEPS
from nursery import KILLED, Contents, Nursery, check_finished, check_whole, contents, fresh_copy
from seqembed_testing import (
    Tiny,
    done,
    events_bundle,
    seqembed,
    sequences,
    with_contract,
    write_events,
    write_sequences,
)

NUM_RANDOM = int(os.environ.get("SEQEMBED_KILLS", "25"))
SEED = int(os.environ.get("SEQEMBED_SEED", "3"))


@dataclass(frozen=True)
class Scenario:
    """A run to be killed.

    Attributes:
        words: Its command line, without the output directory.
        before: The output directory it finds; None where there is none.
        old: What that holds.
        new: What an undisturbed run makes of it.
        seconds: How long the undisturbed run took.
    """

    words: tuple[object, ...]
    before: Path | None
    old: Contents
    new: Contents
    seconds: float


def spoilt(seed: int, num: int = 50) -> dict[str, list]:
    """Rows of the nested layout, every ninth of which is bad."""
    columns = sequences(num, seed, shortest=1)
    for row in range(0, num, 9):
        columns["x"][row][0] = float("inf")
    return columns


def undisturbed(nursery: Nursery, words: tuple[object, ...], before: Path | None, root: Path) -> Scenario:
    out = fresh_copy(before, root / "undisturbed")
    old = contents(before) if before is not None else {}
    ended = nursery.run("run", *words, "--out", out)
    assert ended.code == 0, ended.output
    return Scenario(words, before, old, contents(out), ended.seconds)


def first_night(tiny: Tiny, nursery: Nursery, root: Path) -> Scenario:
    """Three files, one of them with bad rows that are put aside, into a directory that does not exist."""
    data = root / "in"
    write_sequences(data / "a.parquet", sequences(70, seed=1), row_group_size=30)
    write_sequences(data / "day=1" / "b.parquet", spoilt(2))
    write_sequences(data / "day=2" / "c.parquet", sequences(30, seed=3))
    words = (data, "--model", tiny.bundle, "--threads", 2, "--on-bad-row", "quarantine", "--keep", "label")
    return undisturbed(nursery, words, None, root)


def second_night(tiny: Tiny, nursery: Nursery, root: Path) -> Scenario:
    """One file is as it was, one lost its bad rows, one gained some, one is new, one is gone and had bad rows."""
    data = root / "in"
    for name in "abcd":
        write_sequences(data / f"{name}.parquet", spoilt(ord(name)) if name in "bd" else sequences(40, seed=ord(name)))
    words = (data, "--model", tiny.bundle, "--threads", 2, "--on-bad-row", "quarantine", "--prune")
    done("run", *words, "--out", root / "before")
    write_sequences(data / "b.parquet", sequences(40, seed=11))
    write_sequences(data / "c.parquet", spoilt(12))
    write_sequences(data / "e.parquet", sequences(20, seed=13))
    (data / "d.parquet").unlink()
    return undisturbed(nursery, words, root / "before", root)


def new_model(tiny: Tiny, nursery: Nursery, root: Path) -> Scenario:
    """Every part comes from another model, two of them with bad rows put aside."""
    data = root / "in"
    for name in "abc":
        write_sequences(data / f"{name}.parquet", sequences(40, seed=ord(name)) if name == "a" else spoilt(ord(name)))
    options = (data, "--threads", 2, "--on-bad-row", "quarantine")
    done("run", *options, "--model", tiny.bundle, "--out", root / "before")
    other = with_contract(tiny.bundle, root / "other.onnx", architecture={"name": "other"})
    return undisturbed(nursery, (*options, "--model", other, "--overwrite"), root / "before", root)


def events(tiny: Tiny, nursery: Nursery, root: Path) -> Scenario:
    """Sequences made of single events, in row groups that cut through them."""
    for place in range(2):
        write_events(root / "in" / f"{place}.parquet", 80, seed=place, prefix=f"{place}-")
    bundle = events_bundle(tiny.bundle, root / "events.onnx")
    return undisturbed(nursery, (root / "in", "--model", bundle, "--threads", 2), None, root)


SCENARIOS: dict[str, Callable[[Tiny, Nursery, Path], Scenario]] = {
    "first night": first_night,
    "second night": second_night,
    "new model": new_model,
    "events": events,
}


@pytest.fixture(scope="module")
def scenarios(tiny: Tiny, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scenario]:
    return {name: make(tiny, nursery, tmp_path_factory.mktemp("scenario")) for name, make in SCENARIOS.items()}


def check_killed(scenario: Scenario, out: Path) -> None:
    """Check what a killed run left, and that the same command finishes the job."""
    check_whole(out, scenario.old, scenario.new)
    if (out / "_SUCCESS").exists():
        parts = {name: text for name, text in contents(out).items() if not name.startswith(("_temporary", "_lock"))}
        assert parts in (scenario.old, scenario.new), "a success marker beside unfinished parts"
    done("run", *scenario.words, "--out", out)
    check_finished(out, scenario.new)


def named_steps() -> list[tuple[str, str]]:
    """Scenario and step of each test: all in the long form."""
    if NUM_RANDOM >= 300:
        return [(name, step) for name in SCENARIOS for step in STEPS]
    # What is written before the first rename is the same in every scenario; what is published is not.
    publication = ("old marker gone", "after rename or removal", "before _SUCCESS", "after _SUCCESS")
    # Three steps lie so near to others that the short form does without.
    firsts = [("first night", s) for s in STEPS if s not in ("rows handed over", "published", "before cleaning")]
    return firsts + [(name, step) for name in ("second night", "new model") for step in publication]


@pytest.mark.parametrize(("name", "step"), named_steps())
def test_killed_at_a_named_step_the_rerun_equals_an_undisturbed_run(
    scenarios: dict[str, Scenario],
    nursery: Nursery,
    tmp_path: Path,
    name: str,
    step: str,
    record_property: Callable[[str, object], None],
) -> None:
    scenario, number = scenarios[name], 1
    while True:
        out = fresh_copy(scenario.before, tmp_path / "out")
        ended = nursery.run("run", *scenario.words, "--out", out, step=step, number=number)
        if ended.code != KILLED:
            break
        check_killed(scenario, out)
        number += 1
    assert ended.code == 0, ended.output
    check_finished(out, scenario.new)
    record_property("kills", number - 1)
    assert number > 1, "the run never came by this step"


def test_killed_at_random_moments_the_rerun_equals_an_undisturbed_run(
    scenarios: dict[str, Scenario], nursery: Nursery, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    killed, longest = 0, {name: scenario.seconds for name, scenario in scenarios.items()}
    for attempt in range(4 * NUM_RANDOM):
        name = list(scenarios)[attempt % len(scenarios)]
        scenario = scenarios[name]
        out = fresh_copy(scenario.before, tmp_path / "out")
        seconds = draw.uniform(0, 1.2 * longest[name])
        ended = nursery.run("run", *scenario.words, "--out", out, seconds=seconds)
        assert ended.code in (0, KILLED), (name, seconds, ended)
        killed += ended.code == KILLED
        # A machine that others use is now fast, now slow: follow it, so that moments fall on the whole of a run.
        longest[name] *= 1.03 if ended.code == KILLED else 0.85
        # Two kills in a row, every third time: what one left must not disturb the next.
        if attempt % 3:
            check_killed(scenario, out)
            shutil.rmtree(out)
        if killed >= NUM_RANDOM:
            return
    pytest.fail(f"only {killed} of {attempt + 1} runs were killed before they ended")


def test_the_nursery_says_so_when_something_is_half_visible(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    scenario = scenarios["second night"]
    out = fresh_copy(scenario.before, tmp_path / "out")
    check_whole(out, scenario.old)
    part = out / "a.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="a.parquet"):
        check_whole(out, scenario.old, scenario.new)
    assert seqembed("run", *scenario.words, "--out", out).exit_code == 0
    check_finished(out, scenario.new)
