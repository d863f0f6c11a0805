"""Fixed kernels of the encoder, against a plain computation in numpy."""

import numpy as np
import pyarrow as pa
import pytest
from model_testing import resolved

from seqembed.data.errors import UsageError
from seqembed.data.profile import ProfileAccumulator
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.input.scale import normalized_steps
from seqembed.trainer.model import kernels
from seqembed.trainer.model.blocks import embedding_blocks
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.kernels import TAPS, distances, fit_kernels, num_kernels


def block(lengths, num_features, seed=0, missing=0.1):
    """Return random walks, some values missing."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = random.normal(size=(offsets[-1], num_features)).cumsum(axis=0).astype(np.float32) % 9
    values[random.random(values.shape) < missing] = np.nan
    return SequenceBlock(values, offsets, pa.array(range(len(lengths))))


def profile_of(sequences):
    accumulator = ProfileAccumulator(sequences.values.shape[1])
    accumulator.update(sequences)
    return accumulator.finish()


def expected_shares(steps, found):
    """Return the standardised shares of one sequence, steps (time, features) as the encoder normalises them."""
    shares = []
    for dilation in found.dilations:
        places = range(0, len(steps), dilation.stride)
        responded = np.zeros(len(dilation.bias))
        for place in places:
            taps = [place + dilation.distance * (tap - TAPS // 2) for tap in range(TAPS)]
            read = [steps[tap, dilation.channels] if 0 <= tap < len(steps) else 0 * dilation.channels for tap in taps]
            responded += np.clip(np.concatenate(read) @ dilation.weights + dilation.bias, 0, 1)
        shares.append(responded / len(places))
    joined = (np.concatenate(shares) - found.mean) / found.spread
    return np.clip(joined, -5, 5) / np.sqrt(len(joined))


@pytest.mark.parametrize(
    ("num_features", "count", "normalization"),
    [(1, 336, "sequence"), (2, 100, "dataset"), (5, 7, "sequence"), (5, 7, "dataset"), (40, 90, "sequence")],
)
def test_the_encoder_computes_the_shares_of_each_sequence_alone(num_features, count, normalization):
    """Whatever its length, its neighbours in the batch and what stands in the padding."""
    training = block(np.arange(20, 120), num_features)
    profile = profile_of(training)
    found = fit_kernels(training, profile, normalization, count, median_length=70, seed=0)
    model = resolved(objective="contrast", units=2, kernels=count, normalization=normalization)
    encoder = build_encoder(model, profile, kernels=found)
    sequences = block([1, 2, 3, 9, 70, 250], num_features, seed=1)
    padded = np.full((6, 260, num_features), 1e6, np.float32)
    for row, (start, end) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)):
        padded[row, : end - start] = sequences.values[start:end]
    with fused(encoder):
        embeddings = np.asarray(encoder({"values": padded, "lengths": sequences.lengths.astype(np.int32)}))
    normalized = normalized_steps(sequences, profile, normalization)
    expected = [
        expected_shares(normalized[start:end], found)
        for start, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]
    assert embedding_blocks(model, num_features, ())[-1].name == "kernels"
    np.testing.assert_allclose(embeddings[:, -count:], expected, atol=2e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_sums_that_are_zero_but_for_rounding_are_not_compared_with_themselves(length):
    """All steps of a normalised sequence add up to 0, and to -1e-8 in another order of the terms."""
    values = np.tile(np.arange(1.0, length + 1), (30, 1))
    values[:, -1] = np.arange(30)
    training = SequenceBlock(
        values.reshape(-1, 1).astype(np.float32), np.arange(0, 30 * length + 1, length), pa.array(range(30))
    )
    profile = profile_of(training)
    found = fit_kernels(training, profile, "sequence", 84, median_length=length, seed=0)
    steps = normalized_steps(training, profile, "sequence")
    noise = np.random.default_rng(0).normal(scale=1e-7, size=steps.shape)
    pairs = [slice(start, start + length) for start in range(0, len(steps), length)]
    exact, rounded = (np.array([expected_shares(one[rows], found) for rows in pairs]) for one in (steps, steps + noise))
    np.testing.assert_allclose(rounded, exact, atol=1e-5)


def test_thresholds_are_spread_over_the_responses_and_numbers_are_standardised(monkeypatch):
    monkeypatch.setattr(kernels, "_SOFTNESS", 1e-6)
    training = block([100] * 60, 1, missing=0)
    profile = profile_of(training)
    found = fit_kernels(training, profile, "sequence", 84, median_length=9, seed=0)
    wanted = np.arange(1, 85) * (5**0.5 + 1) / 2 % 1
    np.testing.assert_allclose(found.mean, 1 - wanted, atol=0.01)
    assert len(found.dilations) == 1 and (found.spread >= 0.02).all()
    assert np.unique(found.dilations[0].weights > 0, axis=1).shape[1] == 84, "each kernel once"


def test_a_short_event_changes_the_numbers_equally_wherever_it_is():
    """Of the narrowest kernels: wide ones also see the ends of the sequence, and are compared at fewer steps."""
    training = block([150] * 50, 1, missing=0)
    profile = profile_of(training)
    found = fit_kernels(training, profile, "dataset", 336, median_length=150, seed=0)
    flat = np.full((150, 1), 4.0, np.float32)
    changes = []
    for first in (30, 61, 110):
        with_event = flat.copy()
        with_event[first : first + 6, 0] += [1, 3, -3, 3, -3, -1]
        both = SequenceBlock(np.concatenate([flat, with_event]), np.array([0, 150, 300]), pa.array([0, 1]))
        steps = normalized_steps(both, profile, "dataset")
        changes.append(expected_shares(steps[150:], found) - expected_shares(steps[:150], found))
    assert np.linalg.norm(changes[0]) > 0.1
    of_narrow = found.dilations[0].bias.size
    np.testing.assert_allclose(changes[0][:of_narrow], changes[1][:of_narrow], atol=1e-6)
    np.testing.assert_allclose(changes[0][:of_narrow], changes[2][:of_narrow], atol=1e-6)


@pytest.mark.parametrize(
    ("median", "expected"),
    [(1, (1,)), (9, (1,)), (24, (1, 2)), (28, (1, 2)), (150, (1, 2, 6, 18)), (450, (1, 4, 14, 56))],
)
def test_dilations_reach_from_one_step_to_the_whole_sequence(median, expected):
    assert distances(median) == expected
    assert num_kernels(median) == 84 * len(expected)


def test_the_same_seed_chooses_the_same_channels():
    training = block([30] * 40, 12)
    profile = profile_of(training)
    first, again, other = (
        fit_kernels(training, profile, "sequence", 168, median_length=30, seed=seed).dilations[0].weights
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    read = (first.reshape(TAPS, 12, -1) != 0).any(axis=0).sum(axis=0)
    assert read.min() == 1 and 4 <= read.max() <= 9


def test_constant_and_missing_features_give_finite_numbers():
    values = np.zeros((200, 3), np.float32)
    values[:, 1] = np.nan
    training = SequenceBlock(values, np.arange(0, 201, 20), pa.array(range(10)))
    found = fit_kernels(training, profile_of(training), "sequence", 84, median_length=20, seed=0)
    for dilation in found.dilations:
        assert np.isfinite(dilation.weights).all() and np.isfinite(dilation.bias).all()
    assert np.isfinite(expected_shares(np.zeros((20, 3)), found)).all()


@pytest.mark.parametrize("number", [-1, 10_001])
def test_numbers_of_kernels_out_of_range_are_refused(number):
    with pytest.raises(UsageError, match="--kernels"):
        ModelConfig(kernels=number)
