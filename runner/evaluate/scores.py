"""Scores of the protocols; importing them needs no scikit-learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SEARCH_ROWS = 5_000  # their distance matrix takes 200 MB, and as much again per thread


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Scores of a classifier on the test rows.

    Attributes:
        accuracy: Accuracy, 0…1.
        balanced: Balanced accuracy, 0…1: the mean recall of the test classes.
        recalls: float64 (test classes), recall of each test class, 0…1, by ascending class.
        precisions: float64 (test classes), precision of each test class, 0…1; 0 if it was never predicted.
        right: bool (m), whether each row is predicted correctly.
        penalty: The SVM's C; None for other classifiers.
    """

    accuracy: float
    balanced: float
    recalls: NDArray[np.float64]
    precisions: NDArray[np.float64]
    right: NDArray[np.bool_]
    penalty: float | None = None

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1, the harmonic mean of recall and precision, float64 (test classes), 0…1."""
        total = self.recalls + self.precisions
        found: NDArray[np.float64] = 2 * self.recalls * self.precisions / np.where(total > 0, total, 1.0)
        return found


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one set of vectors.

    Attributes:
        svm, logistic, nearest: The classifiers.
        clusters: Adjusted Rand index of k-means on the test vectors, at most 1, near 0 by chance; None for a single
            class.
    """

    svm: Accuracy
    logistic: Accuracy
    nearest: Accuracy
    clusters: float | None
