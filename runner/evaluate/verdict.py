"""Decide whether training improved accuracy significantly, and state it in a sentence."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.runner.evaluate.report import Row, Verdict

_CLEAR = 2.0  # standard errors


def verdict(trained: Row, untrained: Row, others: Sequence[Row]) -> Verdict:
    """Compare SVM accuracies on the same test rows.

    The standard error of the difference combines that over test rows of (trained is correct) minus (share of untrained
    seeds that are correct), a paired comparison, and that of one seed against the mean over the untrained seeds, since
    the trained encoder also started from a single seed.

    Args:
        trained: Row with one set of scores.
        untrained: Row with scores per seed, or absent.
        others: Rows of controls without encoder.
    """
    accuracy = trained.scores[0].svm.accuracy
    right = trained.scores[0].svm.right
    # Two correct and two wrong rows are added (Agresti & Coull 1998), since 100 % of a few rows is uncertain too.
    smooth = (right.sum() + 2) / (len(right) + 4)
    test_error = math.sqrt(smooth * (1 - smooth) / (len(right) + 4))
    plain = _better_controls(trained, others)
    if untrained.absent is not None:
        text = f"The effect of training is unknown: {untrained.absent}. Trained: {accuracy:.1%} by SVM."
        return Verdict("unknown", None, None, test_error, " ".join([text, *plain]))
    control = np.mean([scores.svm.right for scores in untrained.scores], axis=0)  # (test rows)
    difference, paired = _paired(right, control)
    draws = (untrained.standard_error("svm") or 0.0) * math.sqrt(len(untrained.scores) + 1)
    error = math.hypot(paired, draws)
    outcome = "noise" if abs(difference) <= _CLEAR * error else "gain" if difference > 0 else "loss"
    points = f"{abs(difference) * 100:.1f} ± {error * 100:.1f} points of SVM accuracy"
    text = {
        "gain": f"Training gained {points} over the same encoder untrained.",
        "loss": f"Training lost {points} against the same encoder untrained.",
        "noise": f"Training made no significant difference: the difference from the same encoder untrained "
        f"({'+' if difference >= 0 else '−'}{points}) is within the noise.",
    }[outcome]
    text += f" The standard error of the trained accuracy is {test_error * 100:.1f} points."
    return Verdict(outcome, difference, error, test_error, " ".join([text, *plain]))  # type: ignore[arg-type]


def _better_controls(trained: Row, others: Sequence[Row]) -> list[str]:
    """Return a sentence on the best control without training, unless the trained vectors are significantly better."""
    best = max((row for row in others if row.scores), key=lambda row: row.scores[0].svm.accuracy, default=None)
    if best is None:
        return []
    mine, theirs = trained.scores[0].svm, best.scores[0].svm
    ahead, error = _paired(mine.right, theirs.right)
    if ahead > _CLEAR * error:
        return []
    word = "does better" if -ahead > _CLEAR * error else "does as well, within the noise"
    return [f"Without any training, '{best.name}' {word}: {theirs.accuracy:.1%} against {mine.accuracy:.1%}."]


def _paired(mine: NDArray[np.bool_], theirs: NDArray[Any]) -> tuple[float, float]:
    """Return the mean difference over test rows and its standard error."""
    difference = mine.astype(np.float64) - theirs
    return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
