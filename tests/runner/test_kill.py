"""Kill `seqembed run` at every named step and at random times: nothing is lost, duplicated or partly visible.

By default it kills at 25 random times, and at each step in its most relevant scenario; with SEQEMBED_KILLS=300 in the
environment at 300 random times, and at every call of every step in every scenario.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from child_runner import (
    KILLED,
    ChildRunner,
    Scenario,
    check_complete,
    check_finished,
    contents,
    fresh_copy,
    kill_at_step,
)
from fork_server import STEPS
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


def with_bad_rows(seed: int, num: int = 50) -> dict[str, list]:
    """Return rows of the nested layout, every ninth of which is bad."""
    columns = sequences(num, seed, shortest=1)
    for row in range(0, num, 9):
        columns["x"][row][0] = float("inf")
    return columns


def undisturbed(child_runner: ChildRunner, words: tuple[object, ...], before: Path | None, root: Path) -> Scenario:
    out = fresh_copy(before, root / "undisturbed")
    old = contents(before) if before is not None else {}
    ended = child_runner.run(*words, "--out", out)
    assert ended.code == 0, ended.output
    return Scenario(words, before, old, contents(out), ended.seconds)


def first_run(tiny: Tiny, child_runner: ChildRunner, root: Path) -> Scenario:
    """Run three files, one with quarantined rows, into a new directory."""
    data = root / "in"
    write_sequences(data / "a.parquet", sequences(70, seed=1), row_group_size=30)
    write_sequences(data / "day=1" / "b.parquet", with_bad_rows(2))
    write_sequences(data / "day=2" / "c.parquet", sequences(30, seed=3))
    words = ("run", data, "--model", tiny.bundle, "--threads", 2, "--on-bad-row", "quarantine", "--keep", "label")
    return undisturbed(child_runner, words, None, root)


def second_run(tiny: Tiny, child_runner: ChildRunner, root: Path) -> Scenario:
    """One file is unchanged, one lost its bad rows, one gained some, one is new, one with bad rows was removed."""
    data = root / "in"
    for name in "abcd":
        write_sequences(
            data / f"{name}.parquet", with_bad_rows(ord(name)) if name in "bd" else sequences(40, seed=ord(name))
        )
    words = ("run", data, "--model", tiny.bundle, "--threads", 2, "--on-bad-row", "quarantine", "--prune")
    done(*words, "--out", root / "before")
    write_sequences(data / "b.parquet", sequences(40, seed=11))
    write_sequences(data / "c.parquet", with_bad_rows(12))
    write_sequences(data / "e.parquet", sequences(20, seed=13))
    (data / "d.parquet").unlink()
    return undisturbed(child_runner, words, root / "before", root)


def new_model(tiny: Tiny, child_runner: ChildRunner, root: Path) -> Scenario:
    """Every part is from another model, two with quarantined rows."""
    data = root / "in"
    for name in "abc":
        write_sequences(
            data / f"{name}.parquet", sequences(40, seed=ord(name)) if name == "a" else with_bad_rows(ord(name))
        )
    options = ("run", data, "--threads", 2, "--on-bad-row", "quarantine")
    done(*options, "--model", tiny.bundle, "--out", root / "before")
    other = with_contract(tiny.bundle, root / "other.onnx", architecture={"name": "other"})
    return undisturbed(child_runner, (*options, "--model", other, "--overwrite"), root / "before", root)


def events(tiny: Tiny, child_runner: ChildRunner, root: Path) -> Scenario:
    """Events, in row groups that divide sequences."""
    for index in range(2):
        write_events(root / "in" / f"{index}.parquet", 80, seed=index, prefix=f"{index}-")
    bundle = events_bundle(tiny.bundle, root / "events.onnx")
    return undisturbed(child_runner, ("run", root / "in", "--model", bundle, "--threads", 2), None, root)


SCENARIOS: dict[str, Callable[[Tiny, ChildRunner, Path], Scenario]] = {
    "first run": first_run,
    "second run": second_run,
    "new model": new_model,
    "events": events,
}


@pytest.fixture(scope="module")
def scenarios(tiny: Tiny, child_runner: ChildRunner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scenario]:
    return {name: make(tiny, child_runner, tmp_path_factory.mktemp("scenario")) for name, make in SCENARIOS.items()}


def check_killed(scenario: Scenario, out: Path) -> None:
    """Check the output of a killed run, and that running again finishes it."""
    check_complete(out, scenario.old, scenario.new)
    scenario.finish(out)


def named_steps() -> list[tuple[str, str]]:
    """Return scenario and step of each test; with SEQEMBED_KILLS all of them."""
    if NUM_RANDOM >= 300:
        return [(name, step) for name in SCENARIOS for step in STEPS]
    # Before the first rename all scenarios are alike; publication differs.
    publication = ("old marker removed", "after rename or removal", "before _SUCCESS", "after _SUCCESS")
    # Three steps are so close to others that they are skipped by default.
    firsts = [("first run", s) for s in STEPS if s not in ("rows handed over", "published", "before cleaning")]
    return firsts + [(name, step) for name in ("second run", "new model") for step in publication]


@pytest.mark.parametrize(("name", "step"), named_steps())
def test_killed_at_a_named_step_the_rerun_equals_an_undisturbed_run(
    scenarios: dict[str, Scenario],
    child_runner: ChildRunner,
    tmp_path: Path,
    name: str,
    step: str,
    record_property: Callable[[str, object], None],
) -> None:
    kills = kill_at_step(child_runner, scenarios[name], tmp_path / "out", step, check_killed)
    record_property("kills", kills)


def test_killed_at_random_moments_the_rerun_equals_an_undisturbed_run(
    scenarios: dict[str, Scenario], child_runner: ChildRunner, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    killed, longest = 0, {name: scenario.seconds for name, scenario in scenarios.items()}
    for attempt in range(4 * NUM_RANDOM):
        name = list(scenarios)[attempt % len(scenarios)]
        scenario = scenarios[name]
        out, seconds = tmp_path / "out", draw.uniform(0, 1.2 * longest[name])
        ended = scenario.begin(child_runner, out, seconds=seconds)
        assert ended.code in (0, KILLED), (name, seconds, ended)
        killed += ended.code == KILLED
        # The speed of a shared machine varies: adapt, so that kills are spread over the complete run.
        longest[name] *= 1.03 if ended.code == KILLED else 0.85
        # Every third time two kills in a row: the second run must cope with the leftovers of the first.
        if attempt % 3:
            check_killed(scenario, out)
            shutil.rmtree(out)
        if killed >= NUM_RANDOM:
            return
    pytest.fail(f"only {killed} of {attempt + 1} runs were killed before they ended")


def test_the_checks_detect_an_incomplete_file(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    scenario = scenarios["second run"]
    out = fresh_copy(scenario.before, tmp_path / "out")
    check_complete(out, scenario.old)
    part = out / "a.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="a.parquet"):
        check_complete(out, scenario.old, scenario.new)
    assert seqembed(*scenario.words, "--out", out).exit_code == 0
    check_finished(out, scenario.new)
