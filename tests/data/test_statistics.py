"""Statistics: exact under merging in any order and any cuts, and right within their grid."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import BadRow, LengthPolicy, SequenceBlock
from seqembed.data.statistics.counter import Counter
from seqembed.data.statistics.definition import (
    LENGTH_EDGES,
    MAX_CATEGORY_BINS,
    MAX_COUNTED,
    MAX_EDGES,
    NUM_BINS,
    STEPS_PER_SCALE,
    Definition,
)
from seqembed.data.statistics.measure import define, measure
from seqembed.data.statistics.projection import Projection, directions, vector_grid
from seqembed.data.statistics.readable import described, lines
from seqembed.data.statistics.statistics import Statistics, merged

DIM = 20
VALUES = tuple(f"v{number}" for number in range(100))


def schema(num_features: int = 3, values: tuple[str, ...] = VALUES) -> SequenceSchema:
    features = tuple(Feature(f"f{index}", f"f{index}") for index in range(num_features))
    vocabulary = Vocabulary("string", values, (1,) * len(values), 0, 0)
    return SequenceSchema("id", features, "nested", categorical=(CategoricalField("c", "c", vocabulary),))


def block(num: int, seed: int, num_features: int = 3, scale: float = 1.0) -> SequenceBlock:
    """Return sequences of 0 to 11 steps, of normal, lognormal and two-valued features, with missing values."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(0, 12, num))])
    values = random.normal(size=(offsets[-1], num_features))
    values[:, 1::3] = np.exp(2 * values[:, 1::3])
    values[:, 2::3] = values[:, 2::3] > 0
    values *= scale
    values[random.random(values.shape) < 0.1] = np.nan
    ids = random.integers(0, len(VALUES) + 2, (offsets[-1], 1)).astype(np.int32)
    return SequenceBlock(values.astype(np.float32), offsets, pa.array(np.arange(num)), categories=ids)


def profile_of(sequences: SequenceBlock) -> SequenceProfile:
    accumulator = ProfileAccumulator(sequences.values.shape[1])
    accumulator.update(sequences)
    return accumulator.finish()


def hashes_of(num: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, num, dtype=np.uint64)


def vectors_of(num: int, seed: int = 4) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(num, DIM)) @ random.normal(size=(DIM, DIM)) + 5).astype(np.float32)


TRAINING = block(400, seed=0)
GRID = vector_grid(vectors_of(500).std(axis=0).tolist())
PROJECTION = Projection(vectors_of(500).mean(axis=0).tolist(), GRID)
DEFINITION = replace(define(schema(), profile_of(TRAINING), TRAINING.slice(0, 200), frame=1), vectors=GRID)


def count(sequences: SequenceBlock, hashes: np.ndarray | None, vectors: np.ndarray) -> Statistics:
    counter = Counter(DEFINITION, schema(), PROJECTION)
    counter.update(sequences, hashes)
    counter.update_embeddings(vectors)
    return counter.statistics


@given(
    seed=st.integers(0, 2**16),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    order=st.randoms(use_true_random=False),
    every_step=st.booleans(),
    scale=st.sampled_from([1.0, 1e-20, 1e6]),
)
def test_any_cut_merged_in_any_order_gives_the_same_bits(
    seed: int, cuts: list[int], order: object, every_step: bool, scale: float
) -> None:
    sequences, hashes, vectors = block(60, seed, scale=scale), hashes_of(60), vectors_of(60, seed) * np.float32(scale)
    counted_hashes = None if every_step else hashes
    expected = count(sequences, counted_hashes, vectors)
    bounds = sorted({0, 60, *cuts})
    pieces = [
        count(sequences.slice(low, high), None if every_step else hashes[low:high], vectors[low:high])
        for low, high in zip(bounds, bounds[1:], strict=False)
    ]
    order.shuffle(pieces)  # type: ignore[attr-defined]
    while len(pieces) > 1:  # a random tree of merges
        pieces.append(pieces.pop(order.randrange(len(pieces))).merge(pieces.pop(0)))  # type: ignore[attr-defined]
    assert pieces[0] == expected
    assert Statistics.from_json(json.loads(json.dumps(expected.to_json(), allow_nan=False))) == expected


def test_moments_bins_and_shares_are_those_of_the_values() -> None:
    found = count(TRAINING, None, vectors_of(500))
    scales = np.array([feature.scale for feature in DEFINITION.features])
    values = TRAINING.values.astype(np.float64)
    resolution = scales / STEPS_PER_SCALE / 2
    assert found.block("clipped").sum() == 0
    assert (np.abs(found.mean - np.nanmean(values, axis=0)) <= resolution).all()
    assert (np.abs(found.std - np.nanstd(values, axis=0)) <= resolution).all()
    np.testing.assert_array_equal(found.missing_share, np.isnan(values).mean(axis=0))
    np.testing.assert_array_equal(found.lowest[1:], np.nanmin(values, axis=0))
    np.testing.assert_array_equal(found.highest[1:], np.nanmax(values, axis=0))
    for index, feature in enumerate(DEFINITION.features):
        column = TRAINING.values[:, index]
        bounds = np.concatenate([[-np.inf], np.array(feature.edges, np.float32), [np.inf]])
        inside = [((column >= low) & (column < high)).sum() for low, high in zip(bounds, bounds[1:], strict=False)]
        assert found.block("bins")[index].tolist() == inside + [0] * (NUM_BINS - len(inside))
    ids = np.minimum(TRAINING.categories[:, 0], MAX_CATEGORY_BINS - 1)
    assert found.categories(0).tolist() == np.bincount(ids, minlength=MAX_CATEGORY_BINS).tolist()
    lengths = TRAINING.lengths
    assert found.number("empty") == (lengths == 0).sum() > 0
    assert found.number("steps") == found.number("counted_steps") == lengths.sum()
    assert found.block("lengths").sum() == found.number("sequences") == (lengths > 0).sum()
    assert found.block("lengths")[LENGTH_EDGES.index(5)] == (lengths == 5).sum() > 0
    assert (found.lowest[0], found.highest[0]) == (1, 11)


def test_bins_are_deciles_of_the_sample_and_few_values_have_their_own() -> None:
    normal, lognormal, binary = (np.array(feature.edges) for feature in DEFINITION.features)
    assert len(normal) == len(lognormal) == MAX_EDGES
    assert binary[:2].tolist() == [0, 1]
    for index in (0, 1):
        shares = count(TRAINING, None, vectors_of(500)).block("bins")[index] / len(TRAINING.values)
        assert (np.abs(shares[1:-1] - 0.09) < 0.03).all()  # a tenth is missing
        assert shares[[0, -1]].sum() < 0.02


def test_a_run_counts_every_nth_step_of_each_sequence_by_its_id() -> None:
    definition = replace(DEFINITION, stride=4)
    sequences, hashes = block(3_000, seed=3), hashes_of(3_000)
    counter = Counter(definition, schema(), PROJECTION)
    counter.update(sequences, hashes)
    found = counter.statistics
    assert found.number("steps") == len(sequences.values)
    assert found.number("counted_steps") == pytest.approx(len(sequences.values) / 4, rel=0.03)
    assert found.mean[0] == pytest.approx(np.nanmean(sequences.values[:, 0]), abs=0.05)
    rows = np.random.default_rng(1).permutation(3_000)
    shuffled = Counter(definition, schema(), PROJECTION)
    shuffled.update(sequences.take(rows), hashes[rows])
    assert shuffled.statistics == found


def test_far_values_are_clipped_and_said_to_be() -> None:
    sequences = block(50, seed=1)
    sequences.values[0] = [3e38, -3e38, 1e30]
    found = count(sequences, None, np.full((2, DIM), 3e38, np.float32))
    assert found.block("clipped").tolist() == [1, 1, 1]
    assert found.number("vectors_clipped") > 0
    assert np.isfinite(found.mean).all() and np.isfinite(found.vector_covariance).all()
    assert found.highest[1] == np.float32(3e38)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_the_mean_of_equal_values_is_that_value_whatever_the_grid(value: float) -> None:
    """Values are rounded before they are summed up; the grid of this training has no point at any of these."""
    sequences = block(50, seed=5)
    values = np.full_like(sequences.values, value)
    values[0, 1] = np.nan
    found = count(replace(sequences, values=values), None, vectors_of(50))
    assert (found.block("clipped") == 0).all()
    np.testing.assert_array_equal(found.mean, np.full(3, np.float32(value)))
    shown = described(found)["features"]
    assert [feature["mean"] for feature in shown.values()] == [pytest.approx(value, abs=0, rel=1e-6)] * 3


def test_bad_rows_are_not_counted() -> None:
    sequences = block(40, seed=2)
    good = np.arange(40) % 3 > 0
    raw = pa.RecordBatch.from_arrays([pa.array([1])], ["id"])
    bad = tuple((int(index), BadRow(int(index), "x", "bad", raw)) for index in np.flatnonzero(~good))
    found = count(replace(sequences, bad=bad), None, vectors_of(3))
    assert found == count(sequences.take(np.flatnonzero(good)), None, vectors_of(3))


def test_embeddings_have_the_mean_and_covariance_of_their_projection() -> None:
    vectors = vectors_of(500)
    found = count(block(0, seed=0), None, vectors)
    axes = directions(DIM, GRID.dimensions)
    np.testing.assert_allclose(axes.T @ axes, np.eye(GRID.dimensions), atol=2e-3)
    projected = (vectors - vectors.mean(axis=0)) @ axes / GRID.unit
    np.testing.assert_allclose(found.vector_mean, projected.mean(axis=0), atol=1 / STEPS_PER_SCALE)
    np.testing.assert_allclose(found.vector_covariance, np.cov(projected.T, bias=True), atol=0.02)
    few = vectors[:, :3]
    assert vector_grid(few.std(axis=0).tolist()).dimensions == 3
    assert vector_grid([0.0, 0.0]).unit == 1.0


def test_of_wide_embeddings_a_run_counts_some_by_their_id() -> None:
    random = np.random.default_rng(0)
    vectors, hashes = random.normal(size=(4_000, 600)).astype(np.float32), hashes_of(4_000)
    grid = vector_grid(vectors.std(axis=0).tolist())
    definition = replace(DEFINITION, vectors=grid)
    found, shuffled = (Counter(definition, schema(), Projection([0.0] * 600, grid)) for _ in range(2))
    found.update_embeddings(vectors, hashes)
    assert grid.stride == 5
    assert found.statistics.number("vectors") == pytest.approx(4_000 / 5, rel=0.15)
    rows = random.permutation(4_000)
    shuffled.update_embeddings(vectors[rows], hashes[rows])
    assert shuffled.statistics == found.statistics


def test_what_is_wide_or_has_many_values_is_counted_in_part_and_stays_small() -> None:
    wide = replace(schema(num_features=1_000), categorical=())
    sequences = replace(block(60, seed=5, num_features=1_000), categories=np.zeros((0, 0), np.int32))
    sequences = replace(sequences, categories=np.zeros((len(sequences.values), 0), np.int32))
    definition = define(wide, profile_of(sequences), sequences, frame=1)
    counter = Counter(definition, wide)
    counter.update(sequences)
    names = [feature.name for feature in definition.features]
    assert (len(names), names[0], names[-1]) == (MAX_COUNTED, "f0", "f999")
    index = int(names[100][1:])
    assert counter.statistics.mean[100] == pytest.approx(np.nanmean(sequences.values[:, index]), rel=0.01)
    assert len(json.dumps(counter.statistics.to_json(), separators=(",", ":"))) < 100_000


def test_the_second_pass_counts_what_the_first_one_described(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = [random.normal(size=n).tolist() for n in random.integers(0, 9, size=300)]
    one = SequenceSchema("id", (Feature("x", "x"),), "nested")
    for number in range(3):
        part = slice(100 * number, 100 * number + 100)
        table = pa.table({"id": list(range(300))[part], "x": rows[part]})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=7)
    files = resolve_inputs([str(tmp_path)])
    flat = np.concatenate([row for row in rows if row]).astype(np.float32)[:, None]
    whole = SequenceBlock(flat, np.concatenate([[0], np.cumsum([len(row) for row in rows])]), pa.array(range(300)))
    definition = define(one, profile_of(whole), whole, frame=1)
    counter = Counter(definition, one)
    counter.update(whole)
    assert measure(files, one, LengthPolicy(), definition) == counter.statistics
    odd = measure(files, one, LengthPolicy(), definition, lambda found: np.asarray(found.ids) % 2 == 1)
    even = measure(files, one, LengthPolicy(), definition, lambda found: np.asarray(found.ids) % 2 == 0)
    assert odd.merge(even) == counter.statistics != odd


def test_different_definitions_do_not_add_up() -> None:
    other = Statistics.empty(replace(DEFINITION, stride=DEFINITION.stride + 1))
    mine = count(TRAINING, None, vectors_of(5))
    with pytest.raises(ValueError, match="different definitions"):
        mine.merge(other)
    assert merged([mine, other]) is merged([mine, None]) is merged([]) is None
    assert merged([mine]) == mine


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("definition.stride", 0),
        ("definition.stride", True),
        ("definition.features.0.edges", [2.0, 1.0]),
        ("definition.features.0.edges", list(range(MAX_EDGES + 1))),
        ("definition.features.0.scale", 0.0),
        ("definition.features.0.scale", float("inf")),
        ("definition.features.0.center", "1"),
        ("definition.features.0.name", 3),
        ("definition.fields.0.num_bins", 10**9),
        ("definition.vectors.dimensions", 10**6),
        ("definition.vectors.stride", 0),
        ("totals.sums", [1]),
        ("totals.bins.3", 1.5),
        ("totals.bins.3", -1),
        ("totals.sequences", 2**70),
        ("totals.sums.0", -(2**63)),
        ("lowest.1", float("nan")),
        ("highest", []),
    ],
)
def test_what_was_edited_is_refused(path: str, value: object) -> None:
    found = json.loads(json.dumps(count(TRAINING, None, vectors_of(5)).to_json()))
    *parents, last = path.split(".")
    inner = found
    for key in parents:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[int(last) if isinstance(inner, list) else last] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        Statistics.from_json(found)


def test_plain_numbers_and_lines() -> None:
    found = count(TRAINING, None, vectors_of(500))
    plain = json.loads(json.dumps(described(found), allow_nan=False))
    assert Statistics.from_json(plain["exact"]) == found
    assert plain["features"]["f0"]["mean"] == pytest.approx(found.mean[0])
    assert sum(plain["features"]["f2"]["histogram"]) == plain["features"]["f2"]["count"]
    assert plain["embeddings"]["distance_from_training_mean"] < 0.1 * plain["embeddings"]["std"]
    text = "\n".join(lines(found))
    assert f"{found.number('sequences'):,} sequences of 1 to 11 steps" in text
    assert "f2" in text and re.search(r"\n  categorical field  unknown  missing\n  c +1\.1%", text)
    assert plain["features"]["f0"]["clipped_share"] == 0 and "clipped" not in text
    far = described(count(block(40, seed=3, scale=1e6), None, vectors_of(40)))
    assert far["features"]["f0"]["clipped_share"] > 0.9
    assert "of the clipped values" in "\n".join(lines(count(block(40, seed=3, scale=1e6), None, vectors_of(40))))
    nothing = Statistics.empty(DEFINITION)
    assert "no sequence" in "\n".join(lines(nothing))
    json.dumps(described(nothing), allow_nan=False)
    assert isinstance(nothing.definition, Definition)


@pytest.fixture
def counted_json() -> dict:
    """Return the plain values of consistent statistics."""
    sequences = block(60, seed=11)
    vectors = vectors_of(int((sequences.lengths > 0).sum()))
    return json.loads(json.dumps(count(sequences, None, vectors).to_json()))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sequences", 5_000, "lengths"),
        ("sequences", True, "not integers"),
        ("counted_steps", 10**9, "lengths"),
        ("missing", 10**9, "missing values"),
        ("clipped", 10**9, "missing values"),
        ("bins", 7, "histograms"),
        ("sums", 1 << 60, "sums"),
        ("squares", 1 << 60, "sums"),
        ("vectors", 0, "sums of embeddings"),
    ],
)
def test_totals_that_contradict_each_other_are_refused(
    counted_json: dict, name: str, value: object, message: str
) -> None:
    totals = counted_json["totals"]
    totals[name] = [value, *totals[name][1:]] if isinstance(totals[name], list) else value
    with pytest.raises((ValueError, TypeError), match=message):
        Statistics.from_json(counted_json)


@pytest.mark.parametrize("name", ["lowest", "highest"])
@pytest.mark.parametrize(("index", "value"), [(0, None), (1, None), (0, 1e300), (0, 10**400), (1, 10**400)])
def test_extremes_that_cannot_be_are_refused(counted_json: dict, name: str, index: int, value: object) -> None:
    counted_json[name][index] = value
    with pytest.raises(ValueError, match="extremes|finite number"):
        Statistics.from_json(counted_json)
