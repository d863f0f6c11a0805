"""The course of a sequence, and how it is found out whether sequences run alike."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.profile import ProfileAccumulator
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.config import ModelConfig
from seqembed.trainer.course import Courses, course, courses_of, middle_frames, num_places
from seqembed.trainer.model import build_encoder, mean_frames


def block_of(sequences):
    lengths = [len(one) for one in sequences]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(np.concatenate(sequences).astype(np.float32), offsets, pa.nulls(len(sequences)))


def profile_of(block):
    accumulator = ProfileAccumulator(block.values.shape[1])
    accumulator.update(block)
    return accumulator.finish()


@given(num_frames=st.integers(1, 200), places=st.integers(1, 40))
def test_places_rise_from_start_to_end_and_stay_inside(num_frames, places):
    found = middle_frames(np.array([[num_frames]]), np.arange(places))[0]
    assert (np.diff(found) >= 0).all() and found[0] >= 0 and found[-1] < num_frames
    middles = (np.arange(places) + 0.5) * num_frames / places
    assert (found <= middles).all() and (middles <= found + 1).all(), "each place is told by the frame it lies in"


@pytest.mark.parametrize("frame", [1, 4])
def test_each_place_is_told_by_the_mean_of_its_frame_however_long_the_padding(frame):
    random = np.random.default_rng(0)
    values, lengths = np.zeros((3, 30, 2), np.float32), np.array([30, 7, 1])
    for row, length in enumerate(lengths):
        values[row, :length] = random.normal(size=(length, 2))
    num_frames = -(-lengths // frame)
    found = np.asarray(course(mean_frames(values, frame), num_frames[:, None].astype(np.int32), 5))
    for row, count in enumerate(num_frames):
        filled = np.zeros((count * frame, 2))
        filled[: lengths[row]] = values[row, : lengths[row]]
        means = filled.reshape(count, frame, 2).mean(axis=1)
        expected = means[[(2 * place + 1) * count // 10 for place in range(5)]]
        np.testing.assert_allclose(found[row], expected.ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("num_features", "frame", "scaling"),
    [(1, 1, "sequence"), (2, 3, "sequence"), (3, 4, "sequence"), (2, 7, "sequence"), (2, 1, "data")],
)
def test_what_is_measured_is_what_the_encoder_tells(num_features, frame, scaling):
    random = np.random.default_rng(1)
    sequences = [random.normal(3, 5, size=(length, num_features)) for length in random.integers(1, 40, 50)]
    sequences[3][0] = np.nan
    block = block_of([*sequences[:20], np.zeros((0, num_features)), *sequences[20:]])
    profile = profile_of(block)
    config = ModelConfig(units=2, reads="values", frame=frame, scaling=scaling, course=9)
    courses = courses_of(block, profile, places=9, frame=config.course_frame, scaling=scaling)
    encoder = build_encoder(config, profile)
    longest = int(block.lengths.max())
    values = np.zeros((50, longest, num_features), np.float32)
    for row, one in enumerate(sequences):
        values[row, : len(one)] = one
    lengths = np.array([len(one) for one in sequences], np.int32)
    told = np.asarray(encoder({"values": values, "lengths": lengths}))[:, -9 * num_features :]
    energy = (told**2).mean(axis=0).sum()
    assert courses.share == pytest.approx(1 - told.var(axis=0).sum() / energy, abs=1e-4)


def test_sequences_of_one_shape_run_alike_and_those_that_begin_anywhere_do_not():
    random = np.random.default_rng(2)

    def waves(begin):
        turns = [np.linspace(0, 2 * np.pi, length) for length in random.integers(20, 60, 200)]
        return [(np.sin(turn + begin()) + 0.2 * random.normal(size=len(turn)))[:, None] for turn in turns]

    alike, scattered = (block_of(waves(begin)) for begin in (lambda: 0.0, lambda: random.uniform(0, 2 * np.pi)))
    found = [courses_of(block, profile_of(block), 16, 1) for block in (alike, scattered)]
    assert found[0].alike and found[0].share > 0.85
    assert not found[1].alike and found[1].share < 0.05


def test_what_never_changes_or_is_empty_has_no_course():
    still, empty = block_of([np.ones((5, 2))] * 4), block_of([np.zeros((0, 2))])
    assert courses_of(still, profile_of(still), 8, 1) == Courses(0.0)
    assert courses_of(empty, profile_of(still), 8, 1) == Courses(0.0)


@pytest.mark.parametrize(
    ("num_features", "num_frames", "places"),
    [(0, 60, 32), (1, 60, 32), (4, 32, 32), (5, 60, 25), (1, 24, 24), (2, 8, 8), (2, 7, 0), (16, 60, 8), (17, 60, 0)],
)
def test_many_features_or_few_frames_get_fewer_places_or_none(num_features, num_frames, places):
    assert num_places(num_features, num_frames) == places
