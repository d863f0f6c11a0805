"""The verdict reports a gain only if it is significant."""

import numpy as np
import pytest

from seqembed.runner.evaluate.report import Row
from seqembed.runner.evaluate.scores import Accuracy, Scores
from seqembed.runner.evaluate.verdict import verdict


def row(name: str, *rights: np.ndarray) -> Row:
    accuracies = [
        Accuracy(share := float(right.mean()), share, np.array([share]), np.array([share]), right) for right in rights
    ]
    return Row(name, 3, tuple(Scores(found, found, found, 0.0) for found in accuracies))


def right(num: int, of: int = 200) -> np.ndarray:
    return np.arange(of) < num


def test_a_clear_difference_is_a_gain_or_a_loss() -> None:
    found = verdict(row("trained", right(190)), row("untrained", right(150), right(154), right(152)), [])
    assert found.outcome == "gain"
    assert found.difference == pytest.approx(0.19)
    assert found.text.startswith("Training gained 19.0 ± ")
    found = verdict(row("trained", right(150)), row("untrained", right(190), right(190)), [])
    assert found.outcome == "loss"
    assert found.text.startswith("Training lost 20.0 ± ")


@pytest.mark.parametrize("trained", [147, 150, 153])
def test_a_difference_within_the_noise_is_not_a_gain(trained: int) -> None:
    found = verdict(row("trained", right(trained)), row("untrained", right(140), right(160), right(150)), [])
    assert found.outcome == "noise"
    assert "is within the noise" in found.text


def test_one_more_correct_row_is_not_a_gain() -> None:
    assert verdict(row("trained", right(200)), row("untrained", right(199)), []).outcome == "noise"
    assert verdict(row("trained", right(200)), row("untrained", right(200)), []).outcome == "noise"


def test_the_variation_over_seeds_counts() -> None:
    trained = row("trained", right(180))
    assert verdict(trained, row("untrained", right(160), right(160)), []).outcome == "gain"
    assert verdict(trained, row("untrained", right(130), right(190)), []).outcome == "noise"


def test_a_hundred_percent_of_few_rows_is_uncertain() -> None:
    found = verdict(row("trained", right(20, of=20)), row("untrained", right(20, of=20)), [])
    assert 0.03 < found.test_standard_error < 0.08
    assert verdict(row("t", right(100)), row("u", right(100)), []).test_standard_error == pytest.approx(
        0.035, abs=0.001
    )


def test_controls_that_do_as_well_are_named() -> None:
    trained, untrained = row("trained", right(190)), row("untrained", right(150))
    rivals = [row("raw values", right(100)), row("mean and spread", right(189))]
    assert "'mean and spread' does as well, within the noise: 94.5%" in verdict(trained, untrained, rivals).text
    assert "'mean and spread' does better" in verdict(trained, untrained, [row("mean and spread", right(200))]).text
    assert "Without any training" not in verdict(trained, untrained, rivals[:1]).text


def test_without_a_control_the_effect_is_unknown() -> None:
    found = verdict(row("trained", right(190)), Row("untrained", 0, (), "the weights are int8"), [])
    assert found.outcome == "unknown"
    assert "unknown: the weights are int8" in found.text
