"""Functions of consecutive steps, against a plain computation in numpy."""

import numpy as np
import pyarrow as pa
import pytest
from model_testing import resolved

from seqembed.data.decode.times import time_features
from seqembed.data.errors import UsageError
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.config.automatic import Findings, resolve
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.input.scale import Changes, normalized_steps
from seqembed.trainer.model import pairs
from seqembed.trainer.model.blocks import embedding_blocks
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.pairs import PairRanks, fit_pairs, pair_ranks
from seqembed.trainer.model.trajectory import Alignment


def field(name, size):
    return CategoricalField(name, name, Vocabulary("integer", tuple(range(size)), (9,) * size, 0, 0))


def schema_of(num_features, fields, *, times=False):
    features = tuple(Feature(f"f{index}", f"f{index}") for index in range(num_features))
    return SequenceSchema("id", features + (time_features("t") if times else ()), "nested", categorical=fields)


def block(lengths, num_features, fields, seed=0, missing=0.1):
    """Return sequences of which each value depends on the one before, some of them missing."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = random.normal(size=(offsets[-1], num_features)).cumsum(axis=0).astype(np.float32) % 9
    values[random.random(values.shape) < missing] = np.nan
    ids = [(np.arange(offsets[-1]) + random.integers(0, 3, offsets[-1])) % one.num_ids for one in fields]
    categories = np.stack(ids, axis=1).astype(np.int32) if fields else np.zeros((offsets[-1], 0), np.int32)
    return SequenceBlock(values, offsets, pa.array(range(len(lengths))), categories=categories)


def profile_of(sequences):
    accumulator = ProfileAccumulator(sequences.values.shape[1])
    accumulator.update(sequences)
    return accumulator.finish()


def expected_pairs(steps, known, ids, found, ranks):
    """Return the numbers of one sequence, field after field, then number after number."""
    tracks = []  # (time, 2, functions) of each field and number
    for index, rank in enumerate(ranks.fields):
        tracks.append(found.tables[index][ids[:, index]].reshape(-1, 2, rank))
    raised = np.clip(np.concatenate([steps, known], axis=1) @ found.ramps, 0, 1)
    both = (raised @ found.functions).reshape(len(steps), 2, -1)
    start = 0
    for rank in ranks.numbers:
        tracks.append(both[:, :, start : start + rank])
        start += rank
    joined = []
    for one in tracks:
        following = np.concatenate([one[1:, 1], np.ones((len(one) - 1, 1))], axis=1)
        products = [np.outer(before, after) for before, after in zip(one[:-1, 0], following, strict=True)]
        none = np.zeros((one.shape[2], one.shape[2] + 1))
        joined.append(np.sum([none, *products], axis=0).ravel() / max(1, len(products)))
    joined = np.concatenate(joined)
    is_mean = np.concatenate([np.tile([False] * rank + [True], rank) for rank in (*ranks.fields, *ranks.numbers)])
    units = np.sqrt(0.5 / np.where(is_mean, is_mean.sum(), (~is_mean).sum()))  # half of the variance each
    return np.clip((joined - found.mean) / found.spread, -5, 5) * units


CASES = [(1, ()), (3, (field("a", 7),)), (2, (field("a", 2), field("b", 40))), (0, (field("a", 30),))]


@pytest.mark.parametrize("normalization", ["sequence", "dataset"])
@pytest.mark.parametrize(("num_features", "fields"), CASES)
def test_the_encoder_computes_the_pairs_of_each_sequence_alone(num_features, fields, normalization):
    """Whatever its length, its neighbours in the batch and what stands in the padding."""
    training = block(np.arange(1, 90), num_features, fields)
    profile = profile_of(training)
    ranks = pair_ranks(schema_of(num_features, fields), 128)
    found = fit_pairs(training, profile, normalization, ranks, fields)
    model = resolved(
        units=2, channels="values", objective="reconstruct", pairs=ranks.num_pairs, normalization=normalization
    )
    encoder = build_encoder(model, profile, fields=fields, pairs=found)
    sequences = block([1, 2, 3, 9, 70], num_features, fields, seed=1)
    given = {"lengths": sequences.lengths.astype(np.int32)}
    for name, filler in (("values", 1e6), ("categories", 10**9)):
        steps = getattr(sequences, name)
        padded = np.full((5, 80, steps.shape[1]), filler, steps.dtype)
        for row, (start, end) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)):
            padded[row, : end - start] = steps[start:end]
        if steps.shape[1]:
            given[name] = padded
    with fused(encoder):
        embeddings = np.asarray(encoder(given))
    normalized = normalized_steps(sequences, profile, normalization)
    known = ~np.isnan(sequences.values)
    expected = [
        expected_pairs(normalized[start:end], known[start:end], sequences.categories[start:end], found, ranks)
        for start, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]
    assert embedding_blocks(model, num_features, fields)[-1].name == "pairs"
    np.testing.assert_allclose(embeddings[:, -ranks.num_pairs :], expected, atol=2e-5)
    assert np.abs(embeddings[2:, -ranks.num_pairs :]).max() > 0.1


def test_of_few_categories_the_pairs_say_as_much_as_a_count_of_them():
    """Three categories: with all functions, the shares of the nine pairs can be computed from the products."""
    fields, lengths = (field("a", 3),), [30] * 60
    training = block(lengths, 0, fields)
    training.categories[:, 0] = 2 + np.random.default_rng(0).integers(3, size=len(training.categories))
    for row in range(20):  # in a third of the sequences 3 always follows 2
        mine = training.categories[row * 30 : row * 30 + 30, 0]
        mine[1:][mine[:-1] == 2] = 3
    ranks = pair_ranks(schema_of(0, fields), 128)
    assert ranks.num_pairs == 6
    found = fit_pairs(training, profile_of(training), "sequence", ranks, fields)
    ids = training.categories.reshape(60, 30)
    counts = np.zeros((60, 3, 3))
    for row, mine in enumerate(ids):
        np.add.at(counts[row], (mine[:-1] - 2, mine[1:] - 2), 1 / 29)
    numbers = np.stack(
        [expected_pairs(np.zeros((30, 0)), np.zeros((30, 0)), one[:, None], found, ranks) for one in ids]
    )
    edges = np.concatenate([counts.sum(axis=2), counts.sum(axis=1)], axis=1)  # shares of the first and of the second
    design = np.concatenate([numbers, edges], axis=1)
    explained = design @ np.linalg.lstsq(design, counts.reshape(60, 9), rcond=None)[0]
    np.testing.assert_allclose(explained, counts.reshape(60, 9), atol=1e-6)


def test_the_strongest_function_finds_which_groups_of_categories_follow_each_other():
    """Forty categories of two groups, which alternate: the first function has one sign in each group."""
    random, fields = np.random.default_rng(0), (field("a", 40),)
    training = block([50] * 100, 0, fields)
    group = np.arange(5_000) % 2
    training.categories[:, 0] = 2 + 20 * group + random.integers(20, size=5_000)
    found = fit_pairs(training, profile_of(training), "sequence", pair_ranks(schema_of(0, fields), 128), fields)
    earlier, later = found.tables[0][2:].reshape(40, 2, 6)[:, :, 0].T
    for one in (earlier, later):
        signs = np.sign(one).reshape(2, 20)
        assert (signs == signs[:, :1]).all()
        assert signs[0, 0] == -signs[1, 0]
    assert np.sign(earlier[0]) == -np.sign(later[0])
    np.testing.assert_array_equal(found.tables[0][:2], 0)  # unknown and missing values, which never occurred


def test_rare_categories_share_their_functions(monkeypatch):
    monkeypatch.setattr(pairs, "_MAX_VALUES", 10)
    fields = (field("a", 30),)
    training = block([40] * 20, 0, fields)
    found = fit_pairs(training, profile_of(training), "sequence", pair_ranks(schema_of(0, fields), 128), fields)
    assert len(found.tables[0]) == 32
    assert (found.tables[0][10:] == found.tables[0][10]).all()
    assert (found.tables[0][:9] != found.tables[0][10]).any(axis=1).all()


@pytest.mark.parametrize("constant", [0.0, np.nan])
def test_constant_and_missing_numbers_have_finite_functions(constant):
    training = block([5, 1, 9], 2, ())
    training.values[:, 1] = constant
    found = fit_pairs(training, profile_of(training), "sequence", PairRanks((), (3, 3)))
    assert all(np.isfinite(array).all() for array in (found.ramps, found.functions, found.mean))


def test_sequences_of_one_step_have_no_pairs():
    fields = (field("a", 5),)
    training = block([1] * 9, 1, fields)
    found = fit_pairs(training, profile_of(training), "sequence", pair_ranks(schema_of(1, fields), 128), fields)
    np.testing.assert_array_equal(found.mean, 0)


@pytest.mark.parametrize(
    ("num_features", "sizes", "most", "expected"),
    [
        (0, (200,), 128, ((6,), ())),
        (1, (200, 4), 128, ((6, 3), (3,))),
        (1, (2, 1), 128, ((1, 1), (3,))),
        (1, (200, 4), 44, ((4, 3), (3,))),
        (2, (200, 4), 8, ((1, 1), (1, 1))),
        (2, (200, 4), 7, ((1, 1), (1, 0))),
        (40, (), 128, ((), (1,) * 40)),
        (200, (), 128, ((), (1,) * 64 + (0,) * 136)),
    ],
)
def test_fields_get_more_functions_than_numbers_and_all_fewer_where_there_are_many(num_features, sizes, most, expected):
    schema = schema_of(num_features, tuple(field(str(index), size) for index, size in enumerate(sizes)))
    ranks = pair_ranks(schema, most)
    assert (ranks.fields, ranks.numbers) == expected
    assert ranks.num_pairs <= most
    assert pair_ranks(schema, ranks.num_pairs) == ranks, "config.toml names the number in force"


def test_of_times_only_the_gaps_have_functions():
    assert pair_ranks(schema_of(1, (), times=True), 128).numbers == (3, 3, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("number", [-1, 10_001])
def test_numbers_of_pairs_out_of_range_are_refused(number):
    with pytest.raises(UsageError, match="--pairs"):
        ModelConfig(pairs=number)


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ((200, 4), {}, 66),
        ((200, 4), {"pairs": 60}, 54),
        ((200, 4), {"pairs": 0}, 0),
        ((200, 4), {"objective": "hybrid"}, 66),
        ((200, 4), {"objective": "reconstruct"}, 0),
        ((200, 4), {"objective": "reconstruct", "pairs": 2}, 2),
        ((), {}, 0),
        ((), {"pairs": 50}, 12),
    ],
)
def test_by_default_events_have_pairs_and_measurements_have_none(sizes, options, expected):
    assert configured(sizes, **options).pairs == expected


@pytest.mark.parametrize(
    ("sizes", "options", "width", "mixes"),
    [
        ((200, 4), {}, 128, False),
        ((200, 4), {"units": 2, "pairs": 0}, 57, False),  # as many as its blocks have
        ((200, 4), {"num_training": 40}, 39, False),  # forty sequences differ in 39 directions
        ((200, 4), {"embedding_dim": 300}, 300, False),
        ((200, 4), {"objective": "hybrid"}, 128, False),
        ((200, 4), {"objective": "reconstruct"}, 0, False),
        ((200, 4), {"objective": "reconstruct", "embedding_dim": 9}, 9, True),
        ((), {}, 128, False),
        ((), {"objective": "reconstruct", "embedding_dim": 9}, 9, True),
        ((), {"objective": "reconstruct", "normalization": "sequence", "embedding_dim": 9}, 9, False),
    ],
)
def test_the_default_width_is_the_same_for_events_and_measurements(sizes, options, width, mixes):
    model = configured(sizes, **options)
    assert (model.embedding_dim, model.mixes, model.projects) == (width, mixes, bool(width) and not mixes)


def configured(sizes, num_training=1_000, **options):
    schema = schema_of(1, tuple(field(str(index), size) for index, size in enumerate(sizes)))
    ones = (1.0,)
    profile = SequenceProfile(100, 0, 3_000, ones, ones, ones, (1, 1, 1, 1, 30, 40, 50, 60, 70))
    found = Findings(profile, Changes(np.ones(1, np.float32), 0.4), Alignment(0.1), num_training, 0.1, schema)
    return resolve(TrainJob.from_options({"inputs": ["a"], **options}), found).job.model


def test_a_number_too_small_for_one_function_is_refused():
    with pytest.raises(UsageError, match="--pairs 1 is too few"):
        configured((5,), pairs=1)
