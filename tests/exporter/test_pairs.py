"""Functions of consecutive steps in ONNX: equality with Keras, independence of the batch, and the untrained control."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from batching_testing import assert_alone_equals_batched, batches, examples
from hypothesis import given
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.onnx.quantise import quantise
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate.untrained import untrained_bundle
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.pairs import fit_pairs, pair_ranks

WORDS = Vocabulary("string", ("b", "a", "c"), (50, 30, 10), num_unknown=5, num_missing=5)
CODES = Vocabulary("integer", tuple(range(40)), tuple(range(80, 0, -2)), num_unknown=0, num_missing=0)
FIELDS = (CategoricalField("word", "word", WORDS), CategoricalField("code", "code", CODES))
CASES = [(3, FIELDS), (0, FIELDS), (2, ()), (1, FIELDS[:1])]


def random_block(lengths: Any, num_features: int, fields: tuple[CategoricalField, ...], seed: int) -> SequenceBlock:
    """Return sequences with random numbers and ids, a tenth of the numbers missing."""
    random = np.random.default_rng(seed)
    values = random.normal(scale=3, size=(sum(lengths), num_features)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    ids = [random.integers(field.num_ids, size=sum(lengths)) for field in fields]
    categories = np.stack(ids, axis=1).astype(np.int32) if fields else None
    return as_block(values, np.array(lengths), categories)


def profile_of(block: SequenceBlock) -> SequenceProfile:
    """Return the statistics of a block."""
    accumulator = ProfileAccumulator(block.values.shape[1])
    accumulator.update(block)
    return accumulator.finish()


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} numbers, {len(case[1])} fields")
def made(request: pytest.FixtureRequest, exported: Any) -> Any:
    """An encoder whose last dimensions are pairs."""
    num_features, fields = request.param
    rows = random_block([*range(1, 20)] * 2, num_features, fields, seed=3)
    features = tuple(Feature(f"f{index}", f"f{index}") for index in range(num_features))
    ranks = pair_ranks(SequenceSchema("id", features, "nested", categorical=fields), 128)
    pairs = fit_pairs(rows, profile_of(rows), "sequence", ranks, fields)
    model = resolved(
        objective="reconstruct",
        units=3,
        bidirectional=False,
        channels="values",
        normalization="sequence",
        pairs=ranks.num_pairs,
    )
    keras_model = build_encoder(model, profile_of(rows), fields=fields, pairs=pairs)
    return exported(keras_model, fields=fields, profile=profile_of(rows)), fields, ranks.num_pairs


def test_equal_to_keras(made: Any) -> None:
    encoder, fields, _ = made
    assert not {"Loop", "Scan", "If"} & set(encoder.structure.op_counts)
    rows = random_block([1, 12, *range(1, 20)], encoder.model.num_features, fields, seed=8)
    parity = measure_parity(
        encoder.reference, encoder.encoder, rows, encoder.contract.training.profile, tolerance=1e-5, seed=1
    )
    assert parity.max_difference <= 1e-5


@examples(10)
@given(drawn=st.fixed_dictionaries(batches(20, 12, 20)))
def test_alone_equals_batched_shuffled_and_padded(made: Any, drawn: dict[str, Any]) -> None:
    encoder, fields, _ = made
    block = random_block(drawn.pop("lengths"), encoder.model.num_features, fields, drawn["seed"])
    assert_alone_equals_batched(encoder.encoder, block, **drawn, garbage_id=-7, rtol=1e-5)


def test_the_untrained_control_and_int8_keep_the_pairs(made: Any) -> None:
    """They are not trained: the control shows what the recurrent layers add to them."""
    encoder, fields, count = made
    bundle = assemble(encoder.graph, encoder.contract)
    control = Encoder.from_bytes(untrained_bundle(bundle, seed=3), source="control")
    small = Encoder.from_bytes(
        assemble(quantise(encoder.graph), replace(encoder.contract, precision="int8")), source="int8"
    )
    batch = pad(random_block(range(1, 20), encoder.model.num_features, fields, seed=4), np.arange(19))
    trained, untrained, int8 = (
        one.embed(batch.values, batch.lengths, batch.categories if fields else None)
        for one in (encoder.encoder, control, small)
    )
    np.testing.assert_array_equal(trained[:, -count:], untrained[:, -count:])
    np.testing.assert_array_equal(trained[:, -count:], int8[:, -count:])
    assert np.abs(trained[:, -count:]).max(axis=1).min() > 0.01
    assert (np.abs(trained[:, :9] - untrained[:, :9]).max(axis=0) > 1e-4).all(), "three numbers of three units"
