"""What a run counts: in every part's footer, summed over made and skipped parts, in `_SUCCESS` and the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqembed
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.errors import BundleError
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.statistics.counter import Counter
from seqembed.data.statistics.statistics import Statistics, merged
from seqembed.runner.bundle.contract_check import check_contract
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.output.parts import FOOTER_KEY, PartFooter
from seqembed_testing import Tiny, done, sequences, with_contract, write_sequences


def run(tiny: Tiny, root: Path, out: str = "out", **options: object) -> seqembed.RunReport:
    return seqembed.run(root / "in", model=tiny.bundle, out=root / out, progress="none", **options)


def in_success(out: Path) -> Statistics:
    return Statistics.from_json(json.loads((out / "_SUCCESS").read_text())["statistics"]["exact"])


def in_footers(out: Path) -> list[Statistics | None]:
    paths = sorted(path for path in out.rglob("*.parquet") if "_quarantine" not in path.parts)
    return [PartFooter.from_json(pq.read_metadata(path).metadata[FOOTER_KEY]).statistics for path in paths]


def values_of(statistics: Statistics) -> dict[str, list[int]]:
    """Return all totals but those of the embeddings."""
    totals = statistics.to_json()["totals"]
    return {name: total for name, total in totals.items() if not name.startswith("vector")}


def test_a_run_counts_the_rows_it_embeds(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(900, seed=5))
    report = run(tiny, tmp_path)
    found = report.statistics
    assert found is not None
    contract = Encoder.open(tiny.bundle).contract
    assert contract.training.statistics is not None
    counter = Counter(contract.training.statistics.definition, contract.schema)
    for block in read_blocks(resolve_inputs([str(tmp_path / "in")])[0], contract.schema, contract.length_policy):
        counter.update(block, hash_ids(block.ids))
    assert values_of(found) == values_of(counter.statistics)
    assert found.number("vectors") == found.number("sequences") == report.counts.rows_embedded
    assert found.number("empty") == report.counts.rows_null
    assert found.number("steps") == report.counts.steps > found.number("counted_steps") > 500
    assert np.abs(found.mean).max() < 0.2 and np.abs(found.std - 0.95).max() < 0.1
    assert in_success(tmp_path / "out") == found
    (text,) = [pq.read_metadata(path).metadata[FOOTER_KEY] for path in (tmp_path / "out").glob("*.parquet")]
    assert len(text) < 6_000


def test_skipped_parts_count_and_a_rerun_reports_the_same_and_changes_no_byte(tiny: Tiny, tmp_path: Path) -> None:
    for index in range(2):
        write_sequences(tmp_path / "in" / f"{index}.parquet", sequences(200, seed=index))
    first = run(tiny, tmp_path).statistics
    write_sequences(tmp_path / "in" / "2.parquet", sequences(200, seed=7))
    report = run(tiny, tmp_path)
    assert report.num_made == 1
    assert report.statistics == merged(in_footers(tmp_path / "out")) == in_success(tmp_path / "out") != first
    before = (tmp_path / "out" / "_SUCCESS").read_bytes()
    again = run(tiny, tmp_path)
    assert (again.num_made, again.statistics) == (0, report.statistics)
    assert (tmp_path / "out" / "_SUCCESS").read_bytes() == before
    text = "\n".join(map(str, seqembed.inspect(tmp_path / "out").lines))
    assert f"Statistics: {report.statistics.number('sequences'):,} sequences" in text


def test_the_same_rows_in_other_files_row_groups_and_order_count_the_same(tiny: Tiny, tmp_path: Path) -> None:
    whole = write_sequences(tmp_path / "one" / "in" / "a.parquet", sequences(600, seed=3), row_group_size=70)
    table = pq.read_table(whole)
    (tmp_path / "many" / "in").mkdir(parents=True)
    for index, start in enumerate(range(0, 600, 100)):
        some = table.slice(start, 100).take(pa.array(np.random.default_rng(index).permutation(100)))
        pq.write_table(some, tmp_path / "many" / "in" / f"{9 - index}.parquet", row_group_size=13)
    one, many = (run(tiny, tmp_path / name).statistics for name in ("one", "many"))
    assert one is not None and many is not None
    assert values_of(one) == values_of(many)
    np.testing.assert_allclose(one.vector_covariance, many.vector_covariance, atol=1e-3)


def test_bad_rows_are_left_out(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(300, seed=4, shortest=1)
    good = {name: [value for index, value in enumerate(rows) if index % 10] for name, rows in columns.items()}
    for row in range(0, 300, 10):
        columns["x"][row][0] = float("inf")
    for name, rows in (("bad", columns), ("good", good)):
        write_sequences(tmp_path / name / "in" / "a.parquet", rows)
    kept = run(tiny, tmp_path / "bad", on_bad_row="null").statistics
    aside = run(tiny, tmp_path / "bad", out="aside", on_bad_row="quarantine").statistics
    expected = run(tiny, tmp_path / "good").statistics
    assert kept is not None and expected is not None
    assert values_of(kept) == values_of(expected) and kept == aside
    assert kept.number("vectors") == 270


def test_a_marker_with_other_statistics_is_written_anew(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(50, seed=5))
    report, marker = run(tiny, tmp_path), tmp_path / "out" / "_SUCCESS"
    value = json.loads(marker.read_text())
    for edited in (value | {"statistics": None}, value | {"statistics": {"exact": 3}}):
        marker.write_text(json.dumps(edited))
        assert run(tiny, tmp_path).num_made == 0
        assert in_success(tmp_path / "out") == report.statistics


def test_a_model_without_statistics_still_runs(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(50, seed=5))
    training = json.loads((tiny.run / "contract.json").read_text())["training"]
    bundle = with_contract(tiny.bundle, tmp_path / "bare.onnx", training=training | {"statistics": None})
    report = seqembed.run(tmp_path / "in", model=bundle, out=tmp_path / "out", progress="none")
    assert report.statistics is None
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["statistics"] is None
    assert "Statistics" not in done("inspect", tmp_path / "out").output
    assert "Statistics" in done("inspect", tiny.bundle).output


def test_a_contract_counts_all_training_rows(tiny: Tiny) -> None:
    training = Encoder.open(tiny.bundle).contract.training
    found, profile = training.statistics, training.profile
    assert found is not None
    assert found.number("counted_steps") == found.number("steps") == profile.num_steps
    assert (found.number("sequences"), found.number("empty")) == (profile.num_sequences, profile.num_empty)
    np.testing.assert_allclose(found.mean, profile.mean, atol=2e-3)
    np.testing.assert_allclose(found.std, profile.std, atol=2e-3)
    np.testing.assert_allclose(found.missing_share, profile.missing_rate, rtol=1e-12)


def test_statistics_that_do_not_fit_the_model_are_refused(tiny: Tiny) -> None:
    contract = Encoder.open(tiny.bundle).contract
    statistics = contract.training.statistics
    assert statistics is not None and statistics.definition.vectors is not None
    definition = statistics.definition
    others = [
        replace(definition, features=definition.features[:1]),
        replace(definition, features=definition.features[::-1]),
        replace(definition, vectors=replace(statistics.definition.vectors, dimensions=3)),
    ]
    for other in others:
        training = replace(contract.training, statistics=Statistics.empty(other))
        with pytest.raises(BundleError, match="statistics of"):
            check_contract(replace(contract, training=training), "model")
    with pytest.raises(BundleError, match="statistics of embeddings"):
        check_contract(replace(contract, embeddings=None), "model")


def no_statistics(footer: dict) -> None:
    footer["statistics"] = None


def another_stride(footer: dict) -> None:
    footer["statistics"]["definition"]["stride"] += 1


def more_rows(footer: dict) -> None:
    counts, totals = footer["counts"], footer["statistics"]["totals"]
    totals["sequences"] += 1
    totals["lengths"][0] += 1
    totals["steps"] += 1
    assert totals["sequences"] != counts["rows_embedded"]


def no_extremes(footer: dict) -> None:
    footer["statistics"]["lowest"][0] = None


@pytest.mark.parametrize("change", [no_statistics, another_stride, more_rows, no_extremes])
def test_a_part_with_edited_statistics_is_made_again(
    tiny: Tiny, tmp_path: Path, change: Callable[[dict], None]
) -> None:
    for index in range(3):
        write_sequences(tmp_path / "in" / f"{index}.parquet", sequences(40, seed=index, shortest=1))
    expected = run(tiny, tmp_path).statistics
    part = tmp_path / "out" / "1.parquet"
    content, table = part.read_bytes(), pq.read_table(part)
    footer = json.loads(pq.read_metadata(part).metadata[FOOTER_KEY])
    change(footer)
    pq.write_table(table.replace_schema_metadata({FOOTER_KEY: json.dumps(footer).encode()}), part)
    assert "1 outdated" in done("inspect", tmp_path / "out").output
    report = run(tiny, tmp_path)
    assert (report.num_made, report.statistics) == (1, expected)
    assert part.read_bytes() == content and in_success(tmp_path / "out") == expected
    assert run(tiny, tmp_path).num_made == 0
