"""The place of an error among known ones: a share that never falls, whatever the errors are."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.scores import LEVELS, ErrorProfile

ERRORS = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60)


def test_the_share_is_that_of_smaller_errors() -> None:
    random = np.random.default_rng(0)
    known = random.lognormal(size=5_000).astype(np.float32)
    profile = ErrorProfile.of(known, held_out=True)
    asked = random.lognormal(size=300).astype(np.float32)
    expected = (known[None] < asked[:, None]).mean(axis=1)
    np.testing.assert_allclose(profile.share_below(asked), expected, atol=0.004)
    large = np.quantile(known, [0.995, 0.9985]).astype(np.float32)
    np.testing.assert_allclose(profile.share_below(large), [0.995, 0.9985], atol=5e-4)


def test_beyond_the_largest_the_share_is_1_and_up_to_the_smallest_0() -> None:
    profile = ErrorProfile.of(np.array([1, 2, 2, 3], np.float32), held_out=False)
    shares = profile.share_below(np.array([0, 1, 2, 3, 3.001, 1e30], np.float32))
    assert shares[[0, 1]].tolist() == [0, 0]
    assert 0.25 <= shares[2] <= 0.34  # of equal errors none is smaller than another
    assert shares[[4, 5]].tolist() == [1, 1]
    assert shares.dtype == np.float32


@given(ERRORS, ERRORS)
def test_a_larger_error_never_has_a_smaller_share(known: list[float], asked: list[float]) -> None:
    profile = ErrorProfile.of(np.array(known, np.float32), held_out=True)
    shares = profile.share_below(np.sort(np.array(asked, np.float32)))
    assert (np.diff(shares) >= 0).all()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (np.diff(profile.quantiles) >= 0).all()
    assert ErrorProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_levels_are_finer_where_thresholds_are_set() -> None:
    assert (np.diff(LEVELS) > 0).all()
    assert (LEVELS[0], LEVELS[-1], len(LEVELS)) == (0, 1, 110)
    assert np.diff(LEVELS)[-10:].max() == pytest.approx(0.001)
