"""Random sequences and golden ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import draw_sequences, spread_lengths
from seqembed.exporter.checks.golden import golden_sequences


def test_every_length_if_there_are_few() -> None:
    assert spread_lengths(1).tolist() == [1]
    assert spread_lengths(64).tolist() == list(range(1, 65))


@pytest.mark.parametrize("longest", [65, 1000, 100_000])
def test_otherwise_lengths_are_spread_from_one_to_the_longest(longest: int) -> None:
    lengths = spread_lengths(longest)
    assert lengths[0] == 1
    assert lengths[-1] == longest
    assert len(lengths) <= 64
    assert (np.diff(lengths) > 0).all()


def test_draws_look_like_the_training_data(profile: SequenceProfile) -> None:
    none = np.zeros(4000, bool)
    block = draw_sequences(profile, np.full(4000, 5), np.random.default_rng(0), missing=none, extreme=none)
    accumulator = ProfileAccumulator(3)
    accumulator.update(block)
    drawn = accumulator.finish()
    np.testing.assert_allclose(drawn.mean, profile.mean, atol=0.05 * max(profile.std))
    np.testing.assert_allclose(drawn.std, profile.std, rtol=0.05)
    assert drawn.missing_rate == (0, 0, 0)


def test_missing_and_extreme_sequences_are_those_requested(profile: SequenceProfile) -> None:
    missing, extreme = np.array([True, False, False]), np.array([False, True, False])
    block = draw_sequences(profile, np.full(3, 200), np.random.default_rng(0), missing=missing, extreme=extreme)
    gaps, far, plain = (block.values[200 * i : 200 * (i + 1)] for i in range(3))
    assert 0.1 < np.isnan(gaps).mean() < 0.3
    assert not np.isnan(far).any()
    assert (far.std(axis=0) > 4 * plain.std(axis=0)).all()


def test_golden_sequences_span_the_lengths(plain: Any, profile: SequenceProfile) -> None:
    golden = golden_sequences(plain.reference, plain.encoder, profile, seed=1)
    assert [len(sequence.values) for sequence in golden] == [1, 3, 5, 10, 12]
    assert [bool(np.isnan(sequence.values).any()) for sequence in golden] == [False, False, False, True, False]
    for sequence in golden:
        found = plain.encoder.embed(sequence.values[None], np.array([len(sequence.values)], np.int32))[0]
        np.testing.assert_array_equal(found, sequence.embedding)


def test_golden_sequences_are_short_and_not_rows_of_the_data(
    plain: Any, profile: SequenceProfile, rows: SequenceBlock
) -> None:
    long = replace(profile, length_quantiles=(1, 2, 5, 50, 500, 5000, 6000, 7000, 8000), missing_rate=(0.0, 0.0, 0.0))
    golden = golden_sequences(plain.reference, plain.encoder, long, seed=1)
    assert [len(sequence.values) for sequence in golden] == [1, 50, 64, 64, 64]
    steps = {step.tobytes() for step in rows.values}
    assert not any(np.isnan(s.values).any() or step.tobytes() in steps for s in golden for step in s.values)


def test_golden_sequences_are_the_same_each_time(plain: Any, profile: SequenceProfile) -> None:
    first, second = (golden_sequences(plain.reference, plain.encoder, profile, seed=3) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.embedding, other.embedding)
