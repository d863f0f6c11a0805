"""Controls, compared with NumPy on each sequence."""

from dataclasses import replace

import numpy as np
import pytest

from seqembed.data.embedding_blocks import EmbeddingBlock, fit_projection
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import as_block
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate import controls
from seqembed.runner.evaluate.controls import MeanAndSpread, RawValues, Untrained, standardised
from seqembed_testing import Tiny


def block(lengths: list[int], missing: float = 0.2, seed: int = 0) -> SequenceBlock:
    random = np.random.default_rng(seed)
    values = random.normal(size=(sum(lengths), 2)) * [1, 1e6] + [0, 1e8]
    values[random.random(values.shape) < missing] = np.nan
    return as_block(values.astype(np.float32), np.array(lengths))


def contract(tiny: Tiny):  # noqa: ANN201 - a test helper
    found = Encoder.open(tiny.bundle).contract
    profile = replace(found.training.profile, mean=(0.0, 1e8), std=(1.0, 1e6))
    return replace(found, training=replace(found.training, profile=profile))


def test_mean_and_spread_are_those_of_each_sequence(tiny: Tiny) -> None:
    sequences = block([7, 1, 12, 30])
    found = MeanAndSpread(contract(tiny)).vectors(sequences)
    assert found.shape == (4, 7)
    for index in (0, 2, 3):
        steps = sequences.values[sequences.offsets[index] : sequences.offsets[index + 1]].astype(np.float64)
        steps = (steps - [0, 1e8]) / [1, 1e6]
        np.testing.assert_allclose(found[index, :2], np.nanmean(steps, axis=0), atol=1e-5)
        np.testing.assert_allclose(found[index, 2:4], np.nanstd(steps, axis=0), atol=1e-5)
        np.testing.assert_allclose(found[index, 4:6], np.isnan(steps).mean(axis=0))
    np.testing.assert_array_equal(found[:, 6], [7, 1, 12, 30])


def test_mean_and_spread_of_nothing_is_finite(tiny: Tiny) -> None:
    found = MeanAndSpread(contract(tiny)).vectors(block([3, 4], missing=1.0))
    np.testing.assert_array_equal(found, [[0, 0, 0, 0, 1, 1, 3], [0, 0, 0, 0, 1, 1, 4]])


def test_columns_are_standardised_by_the_training_rows_and_constant_ones_dropped() -> None:
    train = np.array([[1.0, 5.0, 0.1], [3.0, 5.0, 0.1]])
    one, other = standardised(train, np.array([[5.0, 9.0, 0.1]]))
    np.testing.assert_allclose(one, [[-1], [1]])
    np.testing.assert_allclose(other, [[3]])


def test_raw_values_are_flat_standard_and_without_gaps(tiny: Tiny) -> None:
    sequences = block([5, 5, 5])
    raw = RawValues(contract(tiny))
    found = raw.vectors(sequences)
    assert raw.absent is None
    expected = (sequences.values.reshape(3, 5, 2).astype(np.float64) - [0, 1e8]) / [1, 1e6]
    np.testing.assert_allclose(found, np.nan_to_num(expected).reshape(3, 10), atol=1e-5)


@pytest.mark.parametrize("lengths", [([5, 5, 6], [5, 5]), ([5, 5], [6, 6])])
def test_raw_values_need_one_length(tiny: Tiny, lengths: tuple[list[int], list[int]]) -> None:
    raw = RawValues(contract(tiny))
    for part in lengths:
        raw.vectors(block(part))
    assert raw.absent == "sequences differ in length"


def test_raw_values_are_bounded(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "MAX_RAW_VALUES", 39)
    raw = RawValues(contract(tiny))
    raw.vectors(block([5, 5, 5]))
    assert raw.absent is None
    raw.vectors(block([5]))
    assert "too large: 10 numbers per sequence" in str(raw.absent)


def test_an_untrained_encoder_gives_vectors_of_its_own_and_times_itself(tiny: Tiny) -> None:
    bundle, found = tiny.bundle.read_bytes(), Encoder.open(tiny.bundle).contract
    one, two = (Untrained(bundle, found, seed, threads=2) for seed in (0, 1))
    sequences = block([3, 20, 1], seed=3)
    vectors = one.vectors(sequences)
    width = sum(block.width for block in found.blocks)
    assert vectors.shape == (3, width), "not projected: the projection was fitted to trained vectors"
    assert [one.shape for one in one.finish(vectors, vectors[:2])] == [
        (3, found.embedding_dim),
        (2, found.embedding_dim),
    ]
    assert one.num_rows == 3
    assert one.seconds > 0
    assert np.abs(vectors - two.vectors(sequences)).max() > 1e-3
    np.testing.assert_allclose(one.vectors(sequences.slice(1, 2)), vectors[1:2], atol=1e-6)


def test_blocks_of_an_untrained_encoder_are_scaled_by_its_own_training_rows(tiny: Tiny) -> None:
    contract = Encoder.open(tiny.bundle).contract
    width = sum(block.width for block in contract.blocks)
    blocks = (EmbeddingBlock("values", 4, 2.0, 1e9), EmbeddingBlock("statistics", width - 4, 1.0, 1e9))
    found = replace(contract, blocks=blocks, projected=False)
    control = Untrained(tiny.bundle.read_bytes(), found, 0, threads=1)
    plain = [control.vectors(block([3, 20, 1, 9], seed=seed)) for seed in (3, 4)]
    train, test = control.finish(*plain)
    assert train[:, :4].var(axis=0).sum() == pytest.approx(2, rel=1e-4)
    assert train[:, 4:].var(axis=0).sum() == pytest.approx(1, rel=1e-4)
    factors = np.r_[np.full(4, train[0, 0] / plain[0][0, 0]), np.full(width - 4, train[0, -1] / plain[0][0, -1])]
    np.testing.assert_allclose(test, plain[1] * factors, rtol=1e-4, atol=1e-6)
    projected = Untrained(tiny.bundle.read_bytes(), replace(contract, blocks=blocks), 0, threads=1).finish(*plain)
    expected = fit_projection(train, [4, width - 4], contract.embedding_dim)(test)
    np.testing.assert_allclose(projected[1], expected, atol=1e-5)


def test_a_quantised_bundle_has_no_untrained_control(tiny: Tiny) -> None:
    found = replace(Encoder.open(tiny.bundle).contract, precision="int8")
    control = Untrained(tiny.bundle.read_bytes(), found, 0, threads=1)
    assert "int8; evaluate the fp32 export" in str(control.absent)
    assert control.vectors(block([3, 4])).shape == (2, 0)
