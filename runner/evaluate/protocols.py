"""Score vectors by four protocols that only use vectors and labels.

The protocol is the one of T-Loss (Franceschi et al. 2019, arXiv 1901.10738) and TS2Vec (Yue et al. 2022, arXiv
2106.10466): the encoder is frozen, an SVM with an RBF kernel is fitted on the vectors of the training split, and
scored by its accuracy on the test split. The other three show how much the result depends on that classifier.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from seqembed.runner.evaluate.scores import MAX_SEARCH_ROWS, Accuracy, Scores
from seqembed.runner.evaluate.subset import stratified_rows

PENALTIES = tuple(10.0**power for power in range(-4, 5))
_FOLDS = 5
_MIN_ROWS_TO_SEARCH = 50
_MIN_ROWS_PER_CLASS = 5
_SVM_ITERATIONS = 10_000_000  # as in TS2Vec's public code; an SVM that does not converge must end
_LOGISTIC_ITERATIONS = 1_000


@dataclass(frozen=True, slots=True)
class Task:
    """Labelled rows of both splits, on which all vectors are scored.

    Attributes:
        train: int64 (n), class of each training row.
        test: int64 (m), class of each test row; classes not in the training rows have their own numbers.
        seed: Seed of the sampling for the search, and of k-means.
        threads: Folds of the search to run in parallel.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int
    threads: int


def score_vectors(train: NDArray[np.float64], test: NDArray[np.float64], task: Task) -> Scores:
    """Apply all four protocols.

    Args:
        train: float64 (n, width), finite.
        test: float64 (m, width), finite.
        task: The classes of the rows.
    """
    with quiet():
        return Scores(
            svm=svm_accuracy(train, test, task),
            logistic=logistic_accuracy(train, test, task),
            nearest=nearest_accuracy(train, test, task),
            clusters=cluster_agreement(test, task),
        )


def svm_accuracy(train: NDArray[np.float64], test: NDArray[np.float64], task: Task) -> Accuracy:
    """Fit an RBF SVM (gamma ``scale``) on the vectors, unscaled.

    C is chosen from 10⁻⁴…10⁴ by stratified 5-fold cross-validation on the training rows, at most `MAX_SEARCH_ROWS` of
    them; it is infinite for fewer than 50 rows or fewer than 5 per class. Source: T-Loss and TS2Vec, as above.
    """
    num_rows, num_classes = len(train), len(np.unique(task.train))
    penalty = np.inf
    if num_rows >= _MIN_ROWS_TO_SEARCH and num_rows // num_classes >= _MIN_ROWS_PER_CLASS:
        rows = stratified_rows(task.train, MAX_SEARCH_ROWS, task.seed)
        penalty = _best_penalty(train[rows], task.train[rows], task.threads)
    machine = SVC(C=penalty, gamma="scale", max_iter=_SVM_ITERATIONS).fit(train, task.train)
    return _accuracy(machine.predict(test), task.test, penalty)


def _best_penalty(vectors: NDArray[np.float64], classes: NDArray[np.int64], threads: int) -> float:
    """Return the C with the best mean accuracy over the folds, the smallest on a tie."""
    # All folds and values of C share one matrix of distances: 15 times faster than computing kernels in each fit.
    squares = euclidean_distances(vectors, squared=True)  # (rows, rows)

    def fold(fit: NDArray[np.int64], held_out: NDArray[np.int64]) -> list[float]:
        spread = float(vectors[fit].var())
        kernel = np.exp(squares[fit] * (-1 / (vectors.shape[1] * spread) if spread else -1.0))
        fitted, asked = np.ascontiguousarray(kernel[:, fit]), np.ascontiguousarray(kernel[:, held_out].T)
        if len(np.unique(classes[fit])) < 2:  # the only row of a second class is held out
            return [0.0] * len(PENALTIES)
        machines = (SVC(C=penalty, kernel="precomputed", max_iter=_SVM_ITERATIONS) for penalty in PENALTIES)
        return [float(machine.fit(fitted, classes[fit]).score(asked, classes[held_out])) for machine in machines]

    folds = StratifiedKFold(_FOLDS).split(vectors, classes)
    scores = Parallel(n_jobs=threads, backend="threading")(delayed(fold)(fit, held_out) for fit, held_out in folds)
    return PENALTIES[int(np.mean(scores, axis=0).argmax())]


def logistic_accuracy(train: NDArray[np.float64], test: NDArray[np.float64], task: Task) -> Accuracy:
    """Fit a logistic regression (L2, fixed C = 1) on vectors standardised by the training rows.

    This is the usual linear probe for frozen representations. The fixed C keeps it simple, unlike a second SVM.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=_LOGISTIC_ITERATIONS))
    return _accuracy(model.fit(train, task.train).predict(test), task.test)


def nearest_accuracy(train: NDArray[np.float64], test: NDArray[np.float64], task: Task) -> Accuracy:
    """Predict the class of the nearest training row, by Euclidean distance of the unscaled vectors."""
    model = KNeighborsClassifier(1, algorithm="brute").fit(train, task.train)
    return _accuracy(model.predict(test), task.test)


def cluster_agreement(test: NDArray[np.float64], task: Task) -> float | None:
    """Return the adjusted Rand index of k-means on the test rows, with k the number of their classes.

    Source: Hubert & Arabie (1985), "Comparing partitions". Best of ten seeded starts. None for a single class.
    """
    num_classes = len(np.unique(task.test))
    if num_classes < 2:
        return None
    # On two threads the same clusters of 370 rows took 12 times the processor time, of 10,000 rows five times.
    with threadpool_limits(1):
        clusters = KMeans(num_classes, n_init=10, random_state=task.seed).fit_predict(test)
    return float(adjusted_rand_score(task.test, clusters))


def _accuracy(found: NDArray[np.int64], expected: NDArray[np.int64], penalty: float | None = None) -> Accuracy:
    right, classes = found == expected, np.unique(expected)
    recalls = np.array([right[expected == label].mean() for label in classes])
    precisions = np.array([right[found == label].sum() / max((found == label).sum(), 1) for label in classes])
    return Accuracy(float(right.mean()), float(recalls.mean()), recalls, precisions, right, penalty)


@contextmanager
def quiet() -> Iterator[Any]:
    """Suppress scikit-learn's warnings for small or unusual data; the scores show the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The least populated class in y")
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        yield
