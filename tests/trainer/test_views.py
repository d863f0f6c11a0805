"""Views are crops of their sequence, augmented within the configured limits."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.input.views import ViewConfig, ViewMaker

CENTRE = np.zeros(2, np.float32)


def numbered(lengths):
    """Return sequences whose values encode number and step: 10,000 × number + step + 1, and the same negated."""
    steps = [10_000.0 * number + 1 + np.arange(length) for number, length in enumerate(lengths)]
    values = np.concatenate(steps).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(np.stack([values, -values], axis=1), offsets, pa.nulls(len(lengths)))


def normal(num, length, features=2, seed=0):
    values = np.random.default_rng(seed).normal(size=(num * length, features)).astype(np.float32)
    return SequenceBlock(values, np.arange(num + 1) * length, pa.nulls(num))


def draw(block, config=None, rows=None, mean=CENTRE, max_length=10_000, seed=0):
    chosen = np.arange(block.num_sequences) if rows is None else np.array(rows)
    return ViewMaker(mean, max_length, config).draw(block, chosen, np.random.default_rng(seed))


def inside(views):
    return np.arange(views.values.shape[1]) < views.lengths[:, None]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_a_target_is_a_contiguous_crop(lengths, max_length, seed):
    views = draw(numbered(lengths), max_length=max_length, seed=seed)
    assert views.targets.shape == views.values.shape == (2 * len(lengths), views.lengths.max(), 2)
    assert (views.targets.dtype, views.values.dtype, views.lengths.dtype) == (np.float32, np.float32, np.int32)
    for row, length in enumerate(views.lengths):
        number = row % len(lengths)
        longest = min(lengths[number], max_length)
        assert max(1, int(np.rint(longest / 2))) <= length <= longest
        steps = views.targets[row, :length, 0] - 10_000 * number
        assert 1 <= steps[0] and steps[-1] <= lengths[number]
        assert (np.diff(steps) == 1).all() and (views.targets[row, :, 1] == -views.targets[row, :, 0]).all()
        assert (views.targets[row, length:] == 0).all() and (views.values[row, length:] == 0).all()


def test_every_crop_of_at_least_half_occurs():
    views = draw(numbered([4] * 200))
    firsts = views.targets[:, 0, 0] % 10_000
    found = {(int(first), int(length)) for first, length in zip(firsts, views.lengths, strict=True)}
    assert found == {(1, 2), (2, 2), (3, 2), (1, 3), (2, 3), (1, 4)}


def test_views_of_long_sequences_are_sections_from_everywhere():
    views = draw(numbered([500] * 200), max_length=10)
    assert views.lengths.min() == 5 and views.lengths.max() == 10
    firsts = views.targets[:, 0, 0] % 10_000
    assert firsts.min() < 20 and firsts.max() > 470


def test_first_views_come_first_in_the_order_of_the_rows():
    views = draw(numbered([3, 9, 2, 5]), rows=[3, 0, 2])
    assert (views.targets[:, 0, 0] // 10_000).tolist() == [3, 0, 2, 3, 0, 2]


@pytest.mark.parametrize("length", [2, 30])
def test_the_two_views_of_a_sequence_differ(length):
    views = draw(normal(50, length))
    first, second = np.nan_to_num(views.values).reshape(2, 50, -1)
    assert (np.abs(first - second).max(axis=1) > 0).all()


def test_equal_seeds_give_equal_views():
    block = normal(5, 12)
    one, same, other = draw(block), draw(block), draw(block, seed=1)
    for field in ("values", "lengths", "targets"):
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
    assert one.values.shape != other.values.shape or (np.nan_to_num(one.values) != np.nan_to_num(other.values)).any()


def test_missing_values_stay_missing():
    block = normal(40, 12)
    block.values[np.random.default_rng(1).random(block.values.shape) < 0.3] = np.nan
    views = draw(block, ViewConfig(num_gaps=0))
    np.testing.assert_array_equal(np.isnan(views.values), np.isnan(views.targets))
    assert 0.25 < np.isnan(views.targets)[inside(views)].mean() < 0.35
    gapped = draw(block)
    assert np.isnan(gapped.values[np.isnan(gapped.targets)]).all()
    assert np.isnan(gapped.values).sum() > np.isnan(gapped.targets).sum()


@pytest.mark.parametrize("length", [1, 2, 3, 9, 10, 11, 64])
def test_gaps_cover_complete_steps_within_their_share(length):
    views = draw(normal(300, length), ViewConfig(min_crop=1.0, amplitude_jitter=0.0))
    assert (views.lengths == length).all() and not np.isnan(views.targets).any()
    gaps = np.isnan(views.values)
    assert (gaps[:, :, 0] == gaps[:, :, 1]).all(), "a gap takes all features of a step"
    kept = ~gaps
    np.testing.assert_array_equal(views.values[kept], views.targets[kept])
    counts = gaps[:, :, 0].sum(axis=1)
    assert counts.max() <= 2 * np.ceil(0.1 * length)
    assert (counts.max() > 0) == (length > 1), "a step alone is never taken"
    runs = (np.diff(gaps[:, :, 0].astype(int), axis=1, prepend=0) == 1).sum(axis=1)
    assert runs.max() <= 2


def test_the_mean_gap_is_half_the_maximum_and_leaves_a_step():
    one = ViewConfig(min_crop=1.0, num_gaps=1)
    counts = np.isnan(draw(normal(4_000, 40), one).values[:, :, 0]).sum(axis=1)
    assert abs(counts.mean() - 2.0) < 0.05  # half of a tenth of 40 steps
    widest = ViewConfig(min_crop=1.0, num_gaps=1, max_gap=1.0)
    assert np.isnan(draw(normal(500, 3), widest).values[:, :, 0]).sum(axis=1).max() == 2


def test_amplitude_jitter_scales_around_the_mean():
    mean, std = np.array([100.0, -5.0], np.float32), np.array([20.0, 0.5], np.float32)
    block = normal(300, 50)
    block.values[:] = block.values * std + mean
    scaled = draw(block, ViewConfig(num_gaps=0), mean=mean)
    far = inside(scaled)[:, :, None] & (np.abs(scaled.targets - mean) > 0.2 * std)
    factors = np.where(far, scaled.values - mean, np.nan) / np.where(far, scaled.targets - mean, 1)
    middle = np.nanmedian(factors, axis=1)  # (views, features)
    assert np.nanmax(np.abs(factors - middle[:, None])) < 1e-3, "one factor a feature and view"
    assert abs(middle.std() - 0.1) < 0.02 and abs(np.corrcoef(middle.T)[0, 1]) < 0.15


def test_extreme_scales_stay_float32_without_warnings():
    mean, std = np.array([1e30, 1e-20, 0.0], np.float32), np.array([1e25, 1e-21, 1e38], np.float32)
    block = normal(20, 30, features=3)
    with np.errstate(over="ignore"):
        block.values[:] = np.clip(block.values * std + mean, -3.4e38, 3.4e38)
    views = draw(block, ViewConfig(num_gaps=0), mean=mean)
    assert views.values.dtype == np.float32
    assert np.isfinite(views.values[:, :, :2]).all() and not np.isnan(views.values).any()
    changed = (views.values - views.targets)[inside(views)][:, :2] / std[:2]
    assert (changed.std(axis=0) > 0.05).all() and (np.abs(changed) < 5).all()


def test_views_without_augmentation_equal_their_targets():
    views = draw(numbered([7, 1, 4]), ViewConfig(amplitude_jitter=0.0, num_gaps=0))
    np.testing.assert_array_equal(views.values, views.targets)
