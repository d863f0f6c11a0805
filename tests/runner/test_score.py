"""`seqembed run --score`: the columns, their nulls, what makes a part current, refusals, engines and Python."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines_testing import ProcessEngine

import seqembed as front_door
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.prune import without_output
from seqembed.runner.evaluate.untrained import untrained_bundle
from seqembed.runner.job import run as job
from seqembed_testing import (
    Tiny,
    contract_of,
    done,
    seqembed,
    sequences,
    with_contract,
    write_sequences,
)


def with_odd_rows(path: Path) -> Path:
    """Write 60 rows: some empty, a bad one, one far from all others, and one without any known value."""
    columns = sequences(60, seed=4)
    columns["x"][7], columns["y"][7] = [None] * 5, [None] * 5
    columns["x"][8], columns["y"][8] = [1e5, -1e5, 1e5], [-1e5, 1e5, -1e5]
    columns["x"][9], columns["y"][9] = [float("inf")], [0.0]
    columns["x"][10], columns["y"][10] = [], []
    return write_sequences(path, columns)


def test_scores_stand_beside_the_vectors_of_a_run_without(scored: Path, tiny: Tiny, tmp_path: Path) -> None:
    data = with_odd_rows(tmp_path / "in.parquet")
    words = ("run", data, "--keep", "label", "--on-bad-row", "null")
    done(*words, "--model", scored, "--out", tmp_path / "scored", "--score")
    done(*words, "--model", scored, "--out", tmp_path / "without")
    done(*words, "--model", tiny.bundle, "--out", tmp_path / "plain")
    table, without, plain = (pq.read_table(tmp_path / out / "in.parquet") for out in ("scored", "without", "plain"))
    assert table.column_names == ["id", "label", "embedding", "score", "score_quantile", "error"]
    assert without.equals(plain)  # the decoder adds no column and changes no bit
    assert table.select(plain.column_names).equals(plain)
    assert table.schema.field("score").type == table.schema.field("score_quantile").type == pa.float32()
    is_null = table["embedding"].is_null().to_pylist()
    assert table["score"].is_null().to_pylist() == [null or row == 7 for row, null in enumerate(is_null)]
    assert table["score_quantile"].is_null().equals(table["score"].is_null())
    assert [is_null[row] for row in (7, 8, 9, 10)] == [False, False, True, True]
    known = table.filter(table["score"].is_valid()).sort_by("score")
    shares = known["score_quantile"].to_numpy()
    assert (np.diff(shares) >= 0).all()
    assert known["id"][-1].as_py() == "s8"
    assert shares[-1] == 1  # beyond every known error
    assert 0 < shares[0] < 0.5


def test_the_untrained_control_is_the_same_with_a_decoder(scored: Path, tiny: Tiny) -> None:
    with_decoder, plain = (
        Encoder.from_bytes(untrained_bundle(path.read_bytes(), seed=1), source="control")
        for path in (scored, tiny.bundle)
    )
    assert [output.name for output in with_decoder.contract.outputs] == ["embedding"]
    assert with_decoder.contract.errors is None
    values, lengths = (
        np.random.default_rng(0).normal(size=(4, 9, 2)).astype(np.float32),
        np.array([9, 4, 1, 7], np.int32),
    )
    np.testing.assert_array_equal(with_decoder.embed(values, lengths), plain.embed(values, lengths))


def test_python_returns_the_same_scores(scored: Path, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(50, seed=5))
    report = front_door.run(data, model=scored, out=tmp_path / "out", score=True, progress="none")
    assert report.num_made == 1
    part, encoder, given = pq.read_table(tmp_path / "out"), front_door.load(scored), pq.read_table(data)
    table = encoder.embed_table(given, score=True)
    assert table.equals(part.cast(table.schema))
    plain = encoder.embed_table(given)
    assert plain.column_names == ["id", "embedding", "reconstruction_error"]
    assert plain["reconstruction_error"].equals(table["score"])
    batches = pa.Table.from_batches(encoder.embed_batches(given.to_batches(), score=True))
    assert batches.equals(table)
    nothing = encoder.embed_table([np.full((3, 2), np.nan)])
    assert nothing["reconstruction_error"].to_pylist() == [None]
    vectors = encoder.embed(given)
    np.testing.assert_array_equal(vectors[~np.isnan(vectors[:, 0])], np.stack(part["embedding"].drop_null().to_numpy()))


def test_a_model_without_decoder_is_refused_with_the_line_that_exports_it(tiny: Tiny, tmp_path: Path) -> None:
    for more in ((), ("--dry-run",)):
        words = ("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "out", "--score", *more)
        refused = seqembed(*words)
        assert refused.exit_code == 4
        assert f"seqembed export RUN_DIR --out {tiny.bundle} --with-decoder" in refused.output
    assert not (tmp_path / "out").exists()
    with pytest.raises(BundleError, match="no output 'reconstruction_error'"):
        front_door.load(tiny.bundle).embed_table(pq.read_table(tiny.data), score=True)


def test_the_option_is_part_of_what_makes_a_part_current(scored: Path, tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(20, seed=6))
    words = ("run", tmp_path / "in", "--model", scored, "--out", tmp_path / "out")
    done(*words, "--only", "a.parquet")
    refused = seqembed(*words, "--score")
    assert refused.exit_code == 6
    assert "--score was none, is now on" in refused.output
    assert "2 parts made" in done(*words, "--score", "--overwrite").output
    assert "0 parts made" in done(*words, "--score").output
    assert "score" in pq.read_schema(tmp_path / "out" / "a.parquet").names
    assert "--score was on, is now none" in seqembed(*words).output
    (tmp_path / "out" / "b.parquet").unlink()
    assert "1 part made" in done(*words, "--score", "--only", "b.parquet").output
    assert "A rerun would make nothing" in done("inspect", tmp_path / "out").output


def test_columns_of_those_names_are_refused(scored: Path, tmp_path: Path) -> None:
    for column in ("score", "score_quantile"):
        data = write_sequences(tmp_path / column / "in.parquet", sequences(9, seed=1) | {column: list(range(9))})
        words = ("run", data, "--model", scored, "--out", tmp_path / "out", "--keep", column)
        refused = seqembed(*words, "--score")
        assert (refused.exit_code, f"the output adds a column '{column}'" in refused.output) == (3, True)
        assert seqembed(*words, "--dry-run").exit_code == 0


def test_other_processes_write_the_same_scores(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_odd_rows(tmp_path / "in.parquet")
    words = ("run", data, "--model", scored, "--score", "--on-bad-row", "quarantine", "--threads", 1)
    done(*words, "--out", tmp_path / "here")
    monkeypatch.setattr(job, "start_engine", ProcessEngine)
    done(*words, "--out", tmp_path / "there")
    parts = [(tmp_path / out / "in.parquet").read_bytes() for out in ("here", "there")]
    assert parts[0] == parts[1]
    assert "score" in pq.read_schema(tmp_path / "there" / "in.parquet").names


def test_scored_vectors_are_vectors_to_other_commands(scored: Path, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(40, seed=2, shortest=2))
    done("run", data, "--model", scored, "--out", tmp_path / "out", "--score")
    found = front_door.neighbors(tmp_path / "out", id="s5", k=2)
    assert len(found.results[0].nearest) == 2
    assert {"score", "score_quantile"} <= set(found.results[0].nearest[0].kept)


def changed(bundle: Path, path: Path, **changes: Any) -> Path:
    errors = contract_of(onnx.load(bundle))["reconstruction_errors"]
    return with_contract(bundle, path, reconstruction_errors=errors | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantiles": [0.5]}, "reconstruction_errors"),
        ({"quantiles": [1.0] * 109 + [0.5]}, "ascending numbers of at least 0"),
        ({"quantiles": [-1.0] * 110}, "ascending numbers of at least 0"),
        ({"num_sequences": 0}, "a number of sequences"),
        ({"held_out": "yes"}, "a number of sequences, and true or false"),
    ],
)
def test_invalid_errors_in_a_contract_are_refused(scored: Path, tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        Encoder.open(changed(scored, tmp_path / "invalid.onnx", **changes))


def test_errors_need_the_output_they_are_of(scored: Path, tiny: Tiny, tmp_path: Path) -> None:
    errors = contract_of(onnx.load(scored))["reconstruction_errors"]
    with pytest.raises(BundleError, match="none without the output 'reconstruction_error'"):
        Encoder.open(with_contract(tiny.bundle, tmp_path / "invalid.onnx", reconstruction_errors=errors))


def test_the_graph_without_the_error_has_no_node_or_weight_of_the_decoder(scored: Path, tiny: Tiny) -> None:
    model = onnx.load_from_string(without_output(scored.read_bytes(), "reconstruction_error"))
    onnx.checker.check_model(model, full_check=True)
    plain = onnx.load(tiny.bundle)
    assert [output.name for output in model.graph.output] == ["embedding"]
    assert sorted(node.op_type for node in model.graph.node) == sorted(node.op_type for node in plain.graph.node)
    weights = [sum(np.prod(one.dims) for one in each.graph.initializer) for each in (model, plain)]
    assert weights[0] == weights[1]


def test_inspect_names_the_output_and_the_known_errors(scored: Path) -> None:
    said = done("inspect", scored).output
    assert "Output  reconstruction_error float32 (batch)" in said
    assert "Reconstruction errors of" in said
