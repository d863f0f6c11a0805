"""The bag of categories, compared with a simple implementation."""

from dataclasses import replace

import numpy as np
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.schema.schema import CategoricalField, Feature
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import as_block
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate import bag
from seqembed.runner.evaluate.bag import BagOfCategories
from seqembed_testing import Tiny

COLOURS = Vocabulary("string", ("red", "blue"), (6, 3), 1, 0)
SIZES = Vocabulary("integer", (40, 41, 42), (5, 4, 1), 0, 0)


@pytest.fixture
def contract(tiny: Tiny) -> ModelContract:
    """Return the contract of a model with two fields, a number and a time feature."""
    found = Encoder.open(tiny.bundle).contract
    time = Feature("at.since_previous", "at", "since_previous", "time")
    fields = (CategoricalField("colour", "colour", COLOURS), CategoricalField("size", "size", SIZES))
    schema = replace(found.schema, features=(Feature("x", "x"), time), categorical=fields)
    profile = replace(found.training.profile, mean=(10.0, 0.0), std=(2.0, 1.0))
    return replace(found, schema=schema, training=replace(found.training, profile=profile))


def sequences(lengths: list[int], seed: int = 0) -> SequenceBlock:
    random = np.random.default_rng(seed)
    total = sum(lengths)
    plain = as_block(random.normal(10, 2, size=(total, 2)).astype(np.float32), np.array(lengths))
    ids = np.stack([random.integers(0, 4, size=total), random.integers(0, 5, size=total)], axis=1)
    return replace(plain, categories=ids.astype(np.int32))


def test_it_contains_shares_moments_and_length(contract: ModelContract) -> None:
    block = sequences([3, 11, 1])
    found = BagOfCategories(contract).vectors(block)
    assert found.shape == (3, 4 + 5 + 2 + 1)
    for index, (first, last) in enumerate(zip(block.offsets[:-1], block.offsets[1:], strict=True)):
        colours, sizes = block.categories[first:last].T
        numbers = (block.values[first:last, 0] - 10) / 2
        expected = [(colours == number).mean() for number in range(4)]
        expected += [(sizes == number).mean() for number in range(5)]
        expected += [numbers.mean(), numbers.std(), np.log(last - first)]
        np.testing.assert_allclose(found[index], expected, atol=1e-6)


def test_neither_order_nor_times_change_it(contract: ModelContract) -> None:
    block = sequences([9, 14])
    order = np.concatenate([np.random.default_rng(1).permutation(9), 9 + np.random.default_rng(2).permutation(14)])
    values = block.values[order]
    values[:, 1] = 1e6
    other = replace(block, values=values, categories=block.categories[order])
    control = BagOfCategories(contract)
    np.testing.assert_allclose(control.vectors(other), control.vectors(block), atol=1e-6)


def test_rare_ids_of_a_large_vocabulary_count_as_one(contract: ModelContract, monkeypatch: pytest.MonkeyPatch) -> None:
    block = sequences([20])
    complete = BagOfCategories(contract).vectors(block)
    monkeypatch.setattr(bag, "MAX_IDS", 3)
    cut = BagOfCategories(contract).vectors(block)
    assert cut.shape == (1, 4 + 4 + 2 + 1)
    np.testing.assert_allclose(cut[:, 4:7], complete[:, 4:7])
    np.testing.assert_allclose(cut[:, 7], complete[:, 7:9].sum(axis=1))


def test_a_model_of_categories_only_has_one(contract: ModelContract) -> None:
    profile = replace(contract.training.profile, mean=(), std=())
    without = replace(
        contract,
        schema=replace(contract.schema, features=()),
        training=replace(contract.training, profile=profile),
    )
    block = sequences([4, 6])
    found = BagOfCategories(without).vectors(replace(block, values=block.values[:, :0]))
    assert found.shape == (2, 4 + 5 + 1)
    np.testing.assert_allclose(found[:, :9].sum(axis=1), 2)
