"""Kill `seqembed group` at every named step and at random times: the rerun equals an undisturbed one."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from grouping_testing import write_days

from child_runner import KILLED, ChildRunner, Scenario, contents, fresh_copy, kill_at_step, visible
from fork_server import GROUP_STEPS, STEPS
from seqembed_testing import done

NUM_RANDOM = int(os.environ.get("SEQEMBED_KILLS", "5"))
SCHEMA = pa.schema([("id", pa.int64()), ("time", pa.int64()), ("x", pa.float64())])


def events(seed: int, ids: int) -> list[dict[str, object]]:
    numbers = np.random.default_rng(seed)
    return [{"id": int(k), "time": int(t), "x": float(t)} for k, t in numbers.integers(0, ids, (60, 2))]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scenario]:
    """Group into a new directory; add a file that touches some buckets; replace by other options."""
    root = tmp_path_factory.mktemp("scenario")
    words = ("group", root / "in", "--buckets", 4, "--threads", 1)
    write_days(root / "in", [events(0, 30), events(1, 30)], SCHEMA)
    done(*words, "--out", root / "one")
    first = contents(root / "one")
    inputs = ("group", root / "in", root / "late", "--buckets", 4, "--threads", 1)
    write_days(root / "late", [events(2, 2)], SCHEMA)
    done(*inputs, "--out", fresh_copy(root / "one", root / "two"))
    other = (*words, "--max-length", 2, "--overwrite")
    done(*other, "--out", fresh_copy(root / "one", root / "three"))
    return {
        "new": Scenario(words, None, {}, first),
        "late file": Scenario(inputs, root / "one", first, contents(root / "two")),
        "other options": Scenario(other, root / "one", first, contents(root / "three")),
    }


def check_killed(scenario: Scenario, out: Path) -> None:
    """Check that every visible file is whole, and that running again finishes the job."""
    for name, content in visible(contents(out)).items():
        assert content in [state[name] for state in (scenario.old, scenario.new) if name in state], name
    scenario.finish(out)


def named_steps() -> list[tuple[str, str]]:
    """Return scenario and step of each test; with SEQEMBED_KILLS all of them."""
    names = ["new", "late file", "other options"]
    steps = [step for step in (*STEPS, *GROUP_STEPS) if step != "history written"]  # only a run has a history
    if NUM_RANDOM >= 100:
        return [(name, step) for name in names for step in steps]
    publication = ("old marker removed", "after rename or removal", "before _SUCCESS", "census staged", "bucket staged")
    return [("new", step) for step in steps] + [(n, s) for n in names[1:] for s in publication]


@pytest.mark.parametrize(("name", "step"), named_steps())
def test_killed_at_every_call_of_a_step_the_rerun_equals_an_undisturbed_one(
    scenarios: dict[str, Scenario],
    child_runner: ChildRunner,
    tmp_path: Path,
    name: str,
    step: str,
    record_property: Callable[[str, object], None],
) -> None:
    # Every call of those steps that change what a reader sees; elsewhere the first, as long tests are asked for.
    every = NUM_RANDOM >= 100 or (step == "after rename or removal" and name == "other options")
    kills = kill_at_step(child_runner, scenarios[name], tmp_path / "out", step, check_killed, every_call=every)
    record_property("kills", kills)


def test_killed_at_random_moments_the_rerun_equals_an_undisturbed_one(
    scenarios: dict[str, Scenario], child_runner: ChildRunner, tmp_path: Path
) -> None:
    draw, killed, longest = random.Random(1), 0, 0.4
    for attempt in range(5 * NUM_RANDOM):
        scenario = list(scenarios.values())[attempt % 3]
        out = tmp_path / "out"
        ended = scenario.begin(child_runner, out, seconds=draw.uniform(0, longest))
        assert ended.code in (0, KILLED), ended
        killed += ended.code == KILLED
        longest *= 1.05 if ended.code == KILLED else 0.85
        check_killed(scenario, out)
        if killed >= NUM_RANDOM:
            return
    pytest.fail(f"only {killed} jobs were killed before they ended")
