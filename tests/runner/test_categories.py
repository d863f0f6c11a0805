"""`seqembed run` with categories and times: correct vectors, counts of unknown values, invalid contracts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from events_testing import KINDS, events_model, transactions, write_events, write_nested

from seqembed.data.batching import pad
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.sequences import concatenate
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import done, embeddings, seqembed, with_contract

WRITERS: dict[str, Callable[..., Path]] = {"events": write_events, "nested": write_nested}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a bundle for each layout."""
    root = tmp_path_factory.mktemp("models")
    return {layout: events_model(root, layout) for layout in WRITERS}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_sequence_gets_the_vector_it_gets_alone(models: dict[str, Path], tmp_path: Path, layout: str) -> None:
    data = WRITERS[layout](tmp_path / "in.parquet", transactions(150, seed=1))
    done("run", data, "--model", models[layout], "--out", tmp_path / "out")
    encoder, found = Encoder.open(models[layout]), embeddings([tmp_path / "out" / "in.parquet"])
    (file,) = resolve_inputs([str(data)])
    seen = 0
    for block in read_blocks(file, encoder.contract.schema):
        for row, name in enumerate(block.ids.to_pylist()):
            batch = pad(block, np.array([row]))
            alone = encoder.embed(batch.values, batch.lengths, batch.categories)[0]
            np.testing.assert_allclose(found[name], alone, rtol=0, atol=2e-6)
            seen += 1
    assert seen == len(found) == 150


def test_either_layout_gives_the_same_sequences(models: dict[str, Path], tmp_path: Path) -> None:
    rows, read = transactions(100, seed=4, new_merchants=0.1), {}
    for layout, write in WRITERS.items():
        (file,) = resolve_inputs([str(write(tmp_path / f"{layout}.parquet", rows))])
        read[layout] = concatenate(list(read_blocks(file, Encoder.open(models[layout]).contract.schema)))
    events, nested = read["events"], read["nested"]
    assert events.ids.equals(nested.ids)
    for part in ("offsets", "categories", "values"):
        np.testing.assert_array_equal(getattr(events, part), getattr(nested, part))


def test_dictionaries_or_plain_text_in_any_order_of_columns_give_equal_rows(
    models: dict[str, Path], tmp_path: Path
) -> None:
    rows = transactions(80, seed=2)
    plain = {name: KINDS[name] for name in ("kind", "amount", "time")} | {"merchant": pa.string()}
    vectors = []
    for index, kinds in enumerate((KINDS, plain)):
        data = write_events(tmp_path / f"{index}.parquet", rows, kinds)
        done("run", data, "--model", models["events"], "--out", tmp_path / f"out{index}")
        vectors.append(pq.read_table(tmp_path / f"out{index}" / f"{index}.parquet").combine_chunks())
    assert vectors[0].equals(vectors[1])


def run_with_new_merchants(model: Path, root: Path, share: float) -> str:
    data = write_events(root / "in" / "a.parquet", transactions(100, seed=3, new_merchants=share))
    return done("run", data, "--model", model, "--out", root / "out").output


def test_unknown_values_are_counted_reported_and_kept(models: dict[str, Path], tmp_path: Path) -> None:
    said = run_with_new_merchants(models["events"], tmp_path, 0.05)
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    values = pq.read_table(tmp_path / "in" / "a.parquet")["merchant"].to_pylist()
    expected = sum(value.startswith("new") for value in values)
    assert success["unknown"] == {"merchant": pytest.approx(expected / len(values), abs=1e-6), "kind": 0}
    assert success["unknown_steps"] == {"merchant": expected, "kind": 0}
    assert f"merchant: {expected / len(values):.1%} of the steps hold values unknown to the model" in said
    assert "WARNING" not in said
    assert "kind:" not in said
    (footer,) = OutputDirectory(str(tmp_path / "out")).read_ledger().parts.values()
    assert footer.counts.unknown_steps == {"merchant": expected, "kind": 0}


def test_many_unknown_values_are_a_warning(models: dict[str, Path], tmp_path: Path) -> None:
    said = run_with_new_merchants(models["events"], tmp_path, 0.5)
    assert "WARNING merchant:" in said
    assert "in training 0.0%: train again on newer data" in " ".join(said.split())


def test_skipped_parts_count_in_the_totals(models: dict[str, Path], tmp_path: Path) -> None:
    run_with_new_merchants(models["events"], tmp_path, 0.5)
    before = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    others = transactions(100, seed=4)
    others["id"] = [f"other {name}" for name in others["id"]]
    write_events(tmp_path / "in" / "b.parquet", others)
    said = done("run", tmp_path / "in", "--model", models["events"], "--out", tmp_path / "out").output
    assert "1 part made, 1 up to date" in said
    assert "WARNING" not in said  # the rows of this run have no unknown values
    after = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert after["unknown_steps"] == before["unknown_steps"]
    assert 0 < after["unknown"]["merchant"] < before["unknown"]["merchant"]


def test_inspect_describes_fields_and_times(models: dict[str, Path]) -> None:
    said = done("inspect", models["events"]).output
    for words in (
        "categories int32 (batch, time, fields)",
        "2 categorical fields in this order:",
        "merchant  string       9",
        "merchant, most frequent: 'shop ",
        "missing",
        "Time features of 'time' (instants; day and week in UTC):",
        "time.week_sin",
        "sine of the time of week, from Monday 00:00",
        "Golden sequences: 5",
    ):
        assert words in said, said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merchant": pa.int64()}, "column 'merchant' is int64"),
        ({"time": pa.timestamp("ms")}, "column 'time' is timestamp"),
        ({"amount": pa.string()}, "column 'amount' is string"),
    ],
)
def test_columns_of_another_kind_are_refused(
    models: dict[str, Path], tmp_path: Path, changes: dict[str, pa.DataType], message: str
) -> None:
    kinds = KINDS | changes
    rows = transactions(5, seed=1)
    if changes.get("merchant"):
        rows["merchant"] = [[7 for _ in steps] for steps in rows["merchant"]]
    if changes.get("amount"):
        rows["amount"] = [[str(value) for value in steps] for steps in rows["amount"]]
    data = write_events(tmp_path / "in.parquet", rows, kinds)
    result = seqembed("run", data, "--model", models["events"], "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert message in " ".join(result.output.split())
    assert not list((tmp_path / "out").rglob("*.parquet"))


def change(schema: dict[str, Any], *path: str | int, to: object) -> dict[str, Any]:
    value: Any = schema
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = to
    return schema


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("categorical", 0, "vocabulary", "values", 1), 7, "values of the kind string"),
        (("categorical", 0, "vocabulary", "kind"), "colour", "expected string, integer, boolean"),
        (("categorical", 0, "vocabulary", "kind"), ["string"], "expected string, integer, boolean"),
        (("categorical", 0, "vocabulary", "counts"), [1], "an integer for each value"),
        (("categorical", 0, "vocabulary", "num_unknown"), -1, "an integer for each value"),
        (("categorical", 0, "vocabulary", "values", 1), "shop 1", "every value once"),
        (("categorical", 0, "vocabulary"), None, "the values that were learned"),
        (("categorical", 0, "name"), "amount", "every name once"),
        (("categorical", 0, "column"), "id", "the id column"),
        (("categorical", 0, "component"), "x", "a field of structs in the nested layout"),
        (("categorical",), [], "categories"),
        (("time_zone",), "Mars", "aware, naive or null"),
        (("time_zone",), None, "none, since no time_zone is given"),
        (("time",), "amount", "all six of 'amount'"),
        (("features", 3, "component"), "day_tan", "the components since_previous"),
        (("features", 0, "kind"), "smell", "numeric or time"),
    ],
)
def test_an_inconsistent_contract_is_refused(
    models: dict[str, Path], tmp_path: Path, path: tuple[str | int, ...], to: object, message: str
) -> None:
    schema = Encoder.open(models["events"]).contract.schema.to_json()
    values = schema["categorical"][0]["vocabulary"]["values"]
    values[0] = "shop 1" if to == "shop 1" else values[0]
    bundle = with_contract(models["events"], tmp_path / "m.onnx", schema=change(schema, *path, to=to))
    result = seqembed("inspect", bundle)
    assert result.exit_code == 4, result.output
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("ids", "message"),
    [(None, "found none"), ([[0, 0]], "found shape (1, 2)"), ("large", "ids below"), ("negative", "ids below")],
)
def test_golden_ids_outside_the_vocabulary_are_refused(
    models: dict[str, Path], tmp_path: Path, ids: object, message: str
) -> None:
    golden = [one.to_json() for one in Encoder.open(models["events"]).contract.golden]
    last = golden[-1]
    if isinstance(ids, str):
        last["categories"][0][1] = 99 if ids == "large" else -1
    elif ids is None:
        del last["categories"]
    else:
        last["categories"] = ids
    bundle = with_contract(models["events"], tmp_path / "m.onnx", golden=golden)
    result = seqembed("inspect", bundle)
    assert result.exit_code == 4, result.output
    assert message in " ".join(result.output.split())
