"""MiniRocket's features, compared with a loop over kernels, dilations and steps."""

from dataclasses import replace

import numpy as np
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import as_block
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate import minirocket
from seqembed.runner.evaluate.minirocket import MiniRocket
from seqembed_testing import Tiny


@pytest.fixture
def contract(tiny: Tiny) -> ModelContract:
    return Encoder.open(tiny.bundle).contract


def block(contract: ModelContract, lengths: list[int], seed: int = 0) -> SequenceBlock:
    values = np.random.default_rng(seed).normal(size=(sum(lengths), contract.schema.num_features))
    return as_block(values.astype(np.float32), np.array(lengths))


def test_features_are_shares_of_steps_above_thresholds(contract: ModelContract) -> None:
    sequences = block(contract, [60, 7, 1, 45])
    control = MiniRocket(contract, 4, seed=0)
    found = control.vectors(sequences)
    assert found.shape == (4, 9_996)
    steps = minirocket.Standardisation(contract)(sequences.values).astype(np.float64)
    at = 0
    for dilation in control._dilations:
        weights = dilation.weights.reshape(9, steps.shape[1], 84)
        count = dilation.thresholds.shape[1]
        for kernel in (0, 41, 83):
            for row in range(4):
                one = steps[sequences.offsets[row] : sequences.offsets[row + 1]]
                responses = np.zeros(len(one))
                for tap in range(9):
                    for step in range(len(one)):
                        source = step + (tap - 4) * dilation.distance
                        if 0 <= source < len(one):
                            responses[step] += one[source] @ weights[tap, :, kernel]
                expected = (responses[:, None] > dilation.thresholds[kernel]).mean(axis=0)
                columns = slice(at + kernel * count, at + (kernel + 1) * count)
                np.testing.assert_allclose(found[row, columns], expected, atol=1.01 / len(one))
                assert np.isclose(found[row, columns], expected, atol=1e-6).mean() > 0.98
        at += 84 * count
    assert at == found.shape[1]


def test_kernels_have_three_twos_and_six_minus_ones_over_some_features(contract: ModelContract) -> None:
    control = MiniRocket(contract, 4, seed=0)
    control.vectors(block(contract, [30, 30]))
    for dilation in control._dilations:
        weights = dilation.weights.reshape(9, -1, 84)
        np.testing.assert_array_equal(np.unique(weights), [-1, 0, 2] if weights.shape[1] > 1 else [-1, 2])
        assert ((weights == 2).sum(axis=0) == 3 * (weights != 0).any(axis=0)).all()
        assert (weights != 0).any(axis=(0, 1)).all()


def test_a_sequence_has_the_same_features_in_any_block(contract: ModelContract) -> None:
    sequences = block(contract, [30, 12, 3_000])
    control = MiniRocket(contract, 4, seed=0)
    together = control.vectors(sequences)
    for row in range(3):
        np.testing.assert_array_equal(control.vectors(sequences.take(np.array([row])))[0], together[row])


def test_dilations_reach_from_one_step_to_the_sequence() -> None:
    for length, features in ((1, 9_996), (9, 9_996), (150, 9_996), (10_000, 336)):
        distances, counts = zip(*minirocket._dilations(length, features), strict=True)
        assert sum(counts) == features // 84
        assert distances[0] == 1
        assert distances[-1] == max(1, (length - 1) // 8)
        assert min(counts) >= 1


def test_many_rows_get_fewer_features(contract: ModelContract) -> None:
    widths = [MiniRocket(contract, rows, 0).vectors(block(contract, [20])).shape[1] for rows in (100, 20_000, 10**9)]
    assert widths == [9_996, 19 * 84, 336]


def test_missing_values_count_as_the_mean(contract: ModelContract) -> None:
    sequences = block(contract, [40, 40])
    sequences.values[5:9] = np.nan
    filled = sequences.values.copy()
    filled[5:9] = contract.training.profile.mean
    found, expected = (
        MiniRocket(contract, 4, seed=0).vectors(replace(sequences, values=values))
        for values in (sequences.values, filled)
    )
    np.testing.assert_allclose(found, expected, atol=1.01 / 40)
    assert np.isclose(found, expected, atol=1e-6).mean() > 0.99


def test_steps_without_numbers_have_none(contract: ModelContract) -> None:
    control = MiniRocket(replace(contract, schema=replace(contract.schema, features=())), 4, seed=0)
    assert control.absent == "the data has only categories"
    assert control.vectors(block(contract, [5, 6])).shape == (2, 0)
