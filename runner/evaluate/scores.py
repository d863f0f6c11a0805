"""What the protocols find, without the library that they need to find it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SEARCH_ROWS = 5_000  # the search holds their distances: 200 MB, and as much again for each thread


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How a classifier did on the test rows.

    Attributes:
        accuracy: Share that is right, 0…1.
        balanced: Mean over the test classes of the share of each that is right, 0…1.
        recalls: float64 (test classes), share of each test class that is right, 0…1, in rising order of the classes.
        precisions: float64 (test classes), share of what was taken for each that is right, 0…1; 0 where nothing was.
        right: bool (m), row by row.
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
        """Harmonic mean of recall and precision, float64 (test classes), 0…1: no class gains by being named often."""
        total = self.recalls + self.precisions
        found: NDArray[np.float64] = 2 * self.recalls * self.precisions / np.where(total > 0, total, 1.0)
        return found


@dataclass(frozen=True, slots=True)
class Scores:
    """What one set of vectors is worth.

    Attributes:
        svm, logistic, nearest: The classifiers.
        clusters: Adjusted Rand index of k-means on the test vectors, at most 1, 0 by chance; None for a single class.
    """

    svm: Accuracy
    logistic: Accuracy
    nearest: Accuracy
    clusters: float | None
