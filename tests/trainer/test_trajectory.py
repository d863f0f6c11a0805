"""The trajectory of a sequence, and how alignment of sequences is detected."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.profile import ProfileAccumulator
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.frames import mean_frames
from seqembed.trainer.model.trajectory import Alignment, measure_alignment, middle_frames, num_points, trajectory


def block_of(sequences):
    lengths = [len(one) for one in sequences]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(np.concatenate(sequences).astype(np.float32), offsets, pa.nulls(len(sequences)))


def profile_of(block):
    accumulator = ProfileAccumulator(block.values.shape[1])
    accumulator.update(block)
    return accumulator.finish()


@given(num_frames=st.integers(1, 200), points=st.integers(1, 40))
def test_points_rise_from_start_to_end_within_the_sequence(num_frames, points):
    found = middle_frames(np.array([[num_frames]]), np.arange(points))[0]
    assert (np.diff(found) >= 0).all() and found[0] >= 0 and found[-1] < num_frames
    middles = (np.arange(points) + 0.5) * num_frames / points
    assert (found <= middles).all() and (middles <= found + 1).all(), "each point takes the frame it lies in"


@pytest.mark.parametrize("frame", [1, 4])
def test_each_point_is_the_mean_of_its_frame_whatever_the_padding(frame):
    random = np.random.default_rng(0)
    values, lengths = np.zeros((3, 30, 2), np.float32), np.array([30, 7, 1])
    for row, length in enumerate(lengths):
        values[row, :length] = random.normal(size=(length, 2))
    num_frames = -(-lengths // frame)
    found = np.asarray(trajectory(mean_frames(values, frame), num_frames[:, None].astype(np.int32), 5))
    for row, count in enumerate(num_frames):
        filled = np.zeros((count * frame, 2))
        filled[: lengths[row]] = values[row, : lengths[row]]
        means = filled.reshape(count, frame, 2).mean(axis=1)
        expected = means[[(2 * point + 1) * count // 10 for point in range(5)]]
        np.testing.assert_allclose(found[row], expected.ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("num_features", "frame", "normalization"),
    [(1, 1, "sequence"), (2, 3, "sequence"), (3, 4, "sequence"), (2, 7, "sequence"), (2, 1, "dataset")],
)
def test_alignment_is_measured_on_what_the_encoder_computes(num_features, frame, normalization):
    random = np.random.default_rng(1)
    sequences = [random.normal(3, 5, size=(length, num_features)) for length in random.integers(1, 40, 50)]
    sequences[3][0] = np.nan
    block = block_of([*sequences[:20], np.zeros((0, num_features)), *sequences[20:]])
    profile = profile_of(block)
    config = resolved(units=2, channels="values", frame=frame, normalization=normalization, trajectory=9)
    alignment = measure_alignment(block, profile, points=9, frame=config.trajectory_frame, normalization=normalization)
    encoder = build_encoder(config, profile)
    longest = int(block.lengths.max())
    values = np.zeros((50, longest, num_features), np.float32)
    for row, one in enumerate(sequences):
        values[row, : len(one)] = one
    lengths = np.array([len(one) for one in sequences], np.int32)
    resampled = np.asarray(encoder({"values": values, "lengths": lengths}))[:, -9 * num_features :]
    energy = (resampled**2).mean(axis=0).sum()
    assert alignment.share == pytest.approx(1 - resampled.var(axis=0).sum() / energy, abs=1e-4)


def test_sequences_of_one_shape_are_aligned_and_those_of_random_phase_are_not():
    random = np.random.default_rng(2)

    def waves(begin):
        turns = [np.linspace(0, 2 * np.pi, length) for length in random.integers(20, 60, 200)]
        return [(np.sin(turn + begin()) + 0.2 * random.normal(size=len(turn)))[:, None] for turn in turns]

    aligned, scattered = (block_of(waves(begin)) for begin in (lambda: 0.0, lambda: random.uniform(0, 2 * np.pi)))
    found = [measure_alignment(block, profile_of(block), 16, 1) for block in (aligned, scattered)]
    assert found[0].is_aligned and found[0].share > 0.85
    assert not found[1].is_aligned and found[1].share < 0.05


def test_constant_or_empty_sequences_are_not_aligned():
    still, empty = block_of([np.ones((5, 2))] * 4), block_of([np.zeros((0, 2))])
    assert measure_alignment(still, profile_of(still), 8, 1) == Alignment(0.0)
    assert measure_alignment(empty, profile_of(still), 8, 1) == Alignment(0.0)


@pytest.mark.parametrize(
    ("num_features", "num_frames", "points"),
    [(0, 60, 32), (1, 60, 32), (4, 32, 32), (5, 60, 25), (1, 24, 24), (2, 8, 8), (2, 7, 0), (16, 60, 8), (17, 60, 0)],
)
def test_many_features_or_few_frames_get_fewer_points_or_none(num_features, num_frames, points):
    assert num_points(num_features, num_frames) == points
