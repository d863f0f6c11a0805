"""Encoders with categories: equality with Keras, independence of batch and padding, and structure of the graph."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from batching_testing import assert_alone_equals_batched, batches, examples
from hypothesis import given
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.data.errors import BundleError, QualityGateError
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block, draw_sequences
from seqembed.exporter.checks.golden import golden_sequences
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.exporter.onnx.convert import OPSETS, convert
from seqembed.exporter.onnx.structure import check_structure
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.model.encoder import build_encoder

TOLERANCE = 1e-5
WORDS = Vocabulary("string", ("b", "a", "c"), (50, 30, 10), num_unknown=5, num_missing=5)
CODES = Vocabulary("integer", tuple(range(40)), tuple(range(80, 0, -2)), num_unknown=0, num_missing=0)
FIELDS = (CategoricalField("word", "word", WORDS), CategoricalField("code", "code", CODES))
# Inputs of the recurrent layers (numbers and categories, or categories only), with each cell, pooling and frame.
CASES = [
    (3, {"cell": "lstm", "pooling": "concat", "channels": "both", "normalization": "sequence"}),
    (3, {"cell": "gru", "pooling": "last", "layers": 2, "frame": 3, "bidirectional": False, "embedding_dim": 5}),
    (0, {"cell": "lstm", "pooling": "mean", "frame": 2, "normalization": "sequence"}),
    (0, {"cell": "gru", "pooling": "max", "embedding_dim": 4}),
]


def profile_of(block: SequenceBlock) -> SequenceProfile:
    """Return the statistics of a block."""
    accumulator = ProfileAccumulator(block.values.shape[1])
    accumulator.update(block)
    return accumulator.finish()


def random_block(lengths: list[int], num_features: int, seed: int) -> SequenceBlock:
    """Return sequences with random ids of both fields."""
    random = np.random.default_rng(seed)
    values = random.normal(scale=3, size=(sum(lengths), num_features)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    ids = [random.integers(field.num_ids, size=sum(lengths)) for field in FIELDS]
    return as_block(values, np.array(lengths), np.stack(ids, axis=1).astype(np.int32))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{'-'.join(map(str, case[1].values()))}")
def made(request: pytest.FixtureRequest, exported: Callable[..., Any], randomise: Callable[..., Any]) -> Any:
    """Return the export of such an encoder."""
    num_features, options = request.param
    profile = profile_of(random_block(list(range(1, 13)), num_features, seed=3))
    plain = {"units": 6, "channels": "values", "normalization": "dataset", "embedding_dim": None}
    config = resolved(**plain | options)
    model = build_encoder(config, profile, None, FIELDS)
    return exported(randomise(model), fields=FIELDS, profile=profile, frame=config.frame or 1)


def num_tables(made: Any) -> int:
    """Return the number of tables: one per field, and a summary of the long one with per-sequence statistics."""
    found = [layer for layer in made.model.keras_model.layers if type(layer).__name__ == "Embedding"]
    assert len(found) in (2, 3)
    return len(found)


def parity_of(made: Any, encoder: Encoder | None = None) -> Any:
    rows = random_block([1, 12, *range(1, 16)], made.model.num_features, seed=8)
    profile = made.contract.training.profile
    return measure_parity(made.reference, encoder or made.encoder, rows, profile, tolerance=TOLERANCE, seed=1)


def test_equal_to_keras_with_one_lookup_per_table_before_native_nodes(made: Any) -> None:
    assert parity_of(made).max_difference <= TOLERANCE
    counts, graph = made.structure.op_counts, made.graph.graph
    assert counts["Gather"] == num_tables(made)
    assert made.structure.num_recurrent >= 1
    assert not {"Loop", "Scan", "If"} & set(counts)
    names = [tensor.name for tensor in graph.input]
    assert names == (["values"] if made.model.num_features else []) + ["categories", "lengths"]
    shape = next(t for t in graph.input if t.name == "categories").type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", "time", 2]


@examples(15)
@given(drawn=st.fixed_dictionaries(batches(20, 12, 20, [-1, -(2**31), 2**31 - 1, 42, 5])))
def test_alone_equals_batched_shuffled_and_padded(made: Any, drawn: dict[str, Any]) -> None:
    block, garbage = random_block(drawn.pop("lengths"), made.model.num_features, drawn["seed"]), drawn.pop("garbage")
    assert_alone_equals_batched(made.encoder, block, **drawn, garbage=np.nan, garbage_id=garbage, rtol=2e-6)


def test_keras_does_not_depend_on_the_padding(made: Any) -> None:
    batch = pad(random_block([3, 5, 1], made.model.num_features, seed=1), np.arange(3), 6)
    inputs = {"values": batch.values, "categories": batch.categories, "lengths": batch.lengths}
    inputs = {name: inputs[name] for name in made.model.interface}
    expected = np.asarray(made.model.call(inputs)["embedding"])
    padding = np.arange(6) >= batch.lengths[:, None]
    for garbage in (-(2**31), 2**31 - 1):
        batch.categories[padding] = garbage
        np.testing.assert_array_equal(np.asarray(made.model.call(inputs)["embedding"]), expected)


def test_the_embedding_depends_on_each_step_and_id(made: Any) -> None:
    """The test above would also pass for an encoder that ignores its categories."""
    block = random_block([8], made.model.num_features, seed=2)
    base = made.encoder.embed(*as_inputs(block))
    for step in (0, 4, 7):
        for index, field in enumerate(FIELDS):
            for other in {0, 1, field.num_ids - 1} - {int(block.categories[step, index])}:
                changed = block.categories.copy()
                changed[step, index] = other
                moved = made.encoder.embed(*as_inputs(replace(block, categories=changed)))
                assert np.abs(moved - base).max() > 1e-6


def as_inputs(block: SequenceBlock) -> tuple[Any, Any, Any]:
    batch = pad(block, np.arange(block.num_sequences))
    return batch.values, batch.lengths, batch.categories


@pytest.mark.parametrize("strange", [-1, -5, 42, 2**31 - 1])
def test_an_id_outside_the_vocabulary_is_refused(made: Any, strange: int) -> None:
    block = random_block([8], made.model.num_features, seed=2)
    block.categories[3, 1] = strange
    with pytest.raises(BundleError, match=r"categories \(1, 8, 2\).*[Ii]ndices"):
        made.encoder.embed(*as_inputs(block))


def test_categories_are_required(made: Any) -> None:
    values, lengths, _ = as_inputs(random_block([8], made.model.num_features, seed=2))
    with pytest.raises(ValueError, match="needs categories, 2 per step; none are given"):
        made.encoder.embed(values, lengths)


def test_golden_sequences_hold_ids_and_replay(made: Any) -> None:
    golden = golden_sequences(made.reference, made.encoder, made.contract.training.profile, seed=0)
    assert all(one.categories is not None and one.categories.shape == (len(one.values), 2) for one in golden)
    contract = replace(made.contract, golden=golden)
    again = Encoder.from_bytes(assemble(made.graph, contract), source="model")
    assert again.replay_golden() <= 1e-6
    for one, other in zip(again.contract.golden, golden, strict=True):
        np.testing.assert_array_equal(one.categories, other.categories)
    moved = tuple(replace(one, categories=(one.categories + 1) % 5) for one in golden)
    spoiled = Encoder.from_bytes(assemble(made.graph, replace(contract, golden=moved)), source="model")
    with pytest.raises(BundleError, match="golden sequences get other vectors"):
        spoiled.replay_golden()


def test_a_corrupt_table_fails_parity(made: Any) -> None:
    """Rows are swapped at the end of a table, which only rare values use."""
    graph = onnx.ModelProto()
    graph.CopyFrom(made.graph)
    table = next(t for t in graph.graph.initializer if list(t.dims)[:1] == [FIELDS[1].num_ids] and len(t.dims) == 2)
    array = onnx.numpy_helper.to_array(table).copy()
    array[[-1, -2]] = array[[-2, -1]]
    table.CopyFrom(onnx.numpy_helper.from_array(array, table.name))
    with pytest.raises(QualityGateError, match="a bug of the conversion"):
        parity_of(made, Encoder.from_bytes(assemble(graph, made.contract), source="spoiled"))


@pytest.mark.parametrize("num_ids", [[5], [5, 41], [42, 42], [5, 42, 42, 42], []])
def test_each_field_needs_a_table_as_long_as_its_vocabulary(made: Any, num_ids: list[int]) -> None:
    def check(num_ids: list[int]) -> Any:
        return check_structure(
            made.graph,
            num_features=made.model.num_features,
            outputs=made.model.outputs,
            num_recurrent=made.structure.num_recurrent,
            opset=17,
            source="model",
            frame=made.model.frame,
            num_ids=num_ids,
        )

    assert check([5, 42]).op_counts["Gather"] == num_tables(made)
    with pytest.raises(BundleError, match=r"tables of .*5.* rows, expected one or more for each field"):
        check(num_ids)


def test_the_oldest_and_the_newest_opset(exported: Callable[..., Any], randomise: Callable[..., Any]) -> None:
    profile = profile_of(random_block([5, 6], 2, seed=3))
    model = randomise(build_encoder(resolved(units=4, channels="values", bidirectional=False), profile, None, FIELDS))
    made = exported(model, opset=OPSETS[0], fields=FIELDS, profile=profile)
    assert parity_of(made).max_difference <= TOLERANCE
    newest = assemble(convert(made.model, OPSETS[-1]).graph, made.contract)
    assert parity_of(made, Encoder.from_bytes(newest, source="newest")).max_difference <= TOLERANCE


def test_draws_hold_both_ends_of_a_vocabulary_and_follow_its_frequencies() -> None:
    profile = profile_of(random_block([5, 6], 2, seed=3))
    none = np.zeros(500, bool)
    vocabularies = [WORDS, CODES]
    block = draw_sequences(
        profile,
        np.full(500, 10),
        np.random.default_rng(0),
        missing=none,
        extreme=none,
        vocabularies=vocabularies,
    )
    for index, vocabulary in enumerate(vocabularies):
        ids = block.categories[:, index]
        assert set(np.unique(ids)) == set(range(vocabulary.num_ids))
        counts = np.bincount(ids)
        assert counts[[0, 1, -1]].min() > 300
        assert counts[2] > counts[-2]


def test_a_table_that_masks_id_zero_is_refused(exported: Callable[..., Any]) -> None:
    layers = keras.layers
    ids, lengths = keras.Input((None, 1), name="categories", dtype="int32"), keras.Input((), name="lengths")
    steps = layers.Embedding(5, 2, mask_zero=True)(ids[:, :, 0])
    vectors = keras.ops.add(layers.LSTM(3)(steps), keras.ops.expand_dims(lengths, 1))
    field = CategoricalField("word", "word", WORDS)
    with pytest.raises(BundleError, match="mask_zero=True.*Rebuild it with mask_zero=False"):
        exported(keras.Model({"categories": ids, "lengths": lengths}, vectors), fields=(field,))
