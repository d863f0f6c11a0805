"""A client that follows the contract's description of preprocessing gets the same inputs as our reader."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from events_testing import KINDS, transactions, untrained_run, write_events, write_nested

from seqembed.data.contract import ModelContract
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.preprocessing import preprocessing
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import LengthPolicy, concatenate
from seqembed.trainer.input.learn import learn_vocabularies

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = {name: getattr(math, name) for name in ("log1p", "sin", "cos", "pi")}


@pytest.fixture(scope="module", params=["tail", "head"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    """Return a run directory whose model keeps six steps."""
    root = tmp_path_factory.mktemp("run")
    data = write_events(root / "in.parquet", transactions(60, seed=0))
    return untrained_run(root / "run", data, "events", LengthPolicy(6, request.param))


def ticks(time: datetime) -> int:
    return round((time - EPOCH).total_seconds() * 1000)  # the column's unit is ms


def follow(contract: dict[str, Any], rows: dict[str, list[Any]], index: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the inputs of one sequence from the contract, in plain Python."""
    said, schema = contract["preprocessing"], contract["schema"]
    times = [ticks(time) for time in rows["time"][index]]
    order = sorted(range(len(times)), key=times.__getitem__)
    previous = dict(zip(order, [order[0], *order], strict=False))
    (keep,) = [rule for rule in said["steps"] if rule.startswith("Keep")]
    kept = order[-6:] if keep == "Keep the last 6 steps of a longer sequence." else order[:6]
    values, ids = [], []
    for step in kept:
        numbers = {"t": times[step], "p": times[previous[step]], "f": times[kept[0]], "u": 1000}
        formulas = [text.replace("mod", "%") for text in said["times"]["features"].values()]
        made = [eval(formula, NAMES | numbers) for formula in formulas]
        values.append([rows["amount"][index][step], *made])
        ids.append(
            [an_id(said["categories"], field, rows[field["name"]][index][step]) for field in schema["categorical"]]
        )
    return np.array(values, np.float32), np.array(ids, np.int32)


def an_id(said: dict[str, Any], field: dict[str, Any], value: str | None) -> int:
    values = field["vocabulary"]["values"]
    if value is None:
        return said["missing_id"]
    return said["first_id"] + values.index(value) if value in values else said["unknown_id"]


@pytest.mark.parametrize("write", [write_events, write_nested])
def test_a_client_that_follows_the_contract_gets_the_same_inputs(run: RunLayout, tmp_path: Path, write: Any) -> None:
    text = run.contract.read_text(encoding="utf-8")
    contract = ModelContract.from_json(text, "run")
    rows = transactions(40, seed=5, new_merchants=0.2)
    files = resolve_inputs([str(write(tmp_path / "in.parquet", rows))])
    layout = "events" if write is write_events else "nested"
    schema = SequenceSchema.from_json(contract.schema.to_json() | {"layout": layout})
    block = concatenate(list(read_blocks(files[0], schema, contract.length_policy)))
    assert block.num_sequences == 40
    for index in range(block.num_sequences):
        values, ids = follow(json.loads(text), rows, index)
        steps = slice(block.offsets[index], block.offsets[index + 1])
        np.testing.assert_array_equal(block.categories[steps], ids)
        np.testing.assert_allclose(block.values[steps], values, rtol=1e-6, atol=1e-6)


def test_the_formulas_contain_the_stated_constants(run: RunLayout) -> None:
    times = json.loads(run.contract.read_text(encoding="utf-8"))["preprocessing"]["times"]
    joined = " ".join(times["features"].values())
    for name in ("day_seconds", "week_seconds", "first_monday_seconds"):
        assert f"{times[name]} * u" in joined
    monday = datetime.fromtimestamp(times["first_monday_seconds"], UTC)
    assert (monday.weekday(), monday.hour) == (0, 0)


def test_numbers_need_no_preprocessing() -> None:
    schema = SequenceSchema("id", (Feature("x", "x"),), "nested")
    assert preprocessing(schema, LengthPolicy()).keys() == {"steps"}


def test_naive_times_are_distinguished(tmp_path: Path) -> None:
    data = write_events(tmp_path / "in.parquet", transactions(40, seed=0), KINDS | {"time": pa.timestamp("us")})
    files = resolve_inputs([str(data)])
    schema, _ = learn_vocabularies(files, detect_schema(files, layout="events", time_column="time"))
    assert "have no zone" in preprocessing(schema, LengthPolicy())["times"]["zone"]
