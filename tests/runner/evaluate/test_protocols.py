"""Each protocol on data with a known result."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from seqembed.runner.evaluate import protocols
from seqembed.runner.evaluate.protocols import (
    PENALTIES,
    Task,
    cluster_agreement,
    nearest_accuracy,
    score_vectors,
    svm_accuracy,
)
from seqembed.runner.evaluate.subset import stratified_rows


def blobs(num: int, spread: float, seed: int = 0, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors (num, classes) around the corners of a cube, and their classes."""
    random = np.random.default_rng(seed)
    classes = np.arange(num) % num_classes
    corners = 10 * np.eye(num_classes)
    return corners[classes] + spread * random.normal(size=(num, num_classes)), classes


def task(train: np.ndarray, test: np.ndarray) -> Task:
    return Task(train, test, seed=0, threads=2)


@pytest.mark.parametrize("num_train", [9, 90])
def test_separable_classes_are_distinguished_by_every_protocol(num_train: int) -> None:
    (train, classes), (test, expected) = blobs(num_train, 0.2), blobs(60, 0.2, seed=1)
    scores = score_vectors(train, test, task(classes, expected))
    assert [found.accuracy for found in (scores.svm, scores.logistic, scores.nearest)] == [1, 1, 1]
    assert scores.svm.balanced == 1
    assert scores.clusters == 1
    assert (scores.svm.penalty == np.inf) == (num_train == 9)


def test_shuffled_labels_score_near_chance() -> None:
    (train, classes), (test, expected) = blobs(150, 0.5), blobs(300, 0.5, seed=1)
    random = np.random.default_rng(2)
    scores = score_vectors(train, test, task(random.permutation(classes), random.permutation(expected)))
    for found in (scores.svm, scores.logistic, scores.nearest):
        assert found.accuracy == pytest.approx(1 / 3, abs=0.12)
    assert scores.clusters == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("num_rows", "num_classes", "searched"), [(49, 3, False), (50, 3, True), (50, 11, False), (55, 11, True)]
)
def test_the_penalty_is_searched_as_the_protocol_defines(num_rows: int, num_classes: int, searched: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(num_rows, 2))
    classes = np.arange(num_rows) % num_classes
    found = svm_accuracy(vectors, vectors, task(classes, classes)).penalty
    assert (found in PENALTIES) == searched
    assert (found == np.inf) != searched


def test_the_search_agrees_with_scikit_learn() -> None:
    train, classes = blobs(120, 6.0, seed=4)
    search = GridSearchCV(SVC(gamma="scale"), {"C": PENALTIES}, cv=5).fit(train, classes)
    test, expected = blobs(90, 6.0, seed=5)
    found = svm_accuracy(train, test, task(classes, expected))
    assert found.penalty == search.best_params_["C"]
    assert found.accuracy == search.score(test, expected)
    assert 0.4 < found.accuracy < 1


def test_a_class_without_training_rows_is_always_wrong() -> None:
    (train, classes), (test, expected) = blobs(60, 0.5), blobs(60, 0.5, seed=1)
    expected[:30] = 7
    scores = score_vectors(train, test, task(classes, expected))
    assert scores.svm.accuracy == 0.5
    assert not scores.nearest.right[:30].any()
    assert scores.svm.balanced == pytest.approx(3 / 4)  # three classes right, the fourth wrong
    np.testing.assert_array_equal(scores.svm.recalls, [1, 1, 1, 0])


def test_scores_per_class_agree_with_scikit_learn() -> None:
    train, classes = blobs(60, 2.0)
    test, expected = blobs(90, 2.0, seed=1)
    expected[:5] = 9  # a class that nothing is taken for: its precision counts as 0
    found = nearest_accuracy(train, test, task(classes, expected))
    taken = KNeighborsClassifier(1).fit(train, classes).predict(test)
    precisions, recalls, f1, _ = precision_recall_fscore_support(
        expected, taken, labels=np.unique(expected), zero_division=0
    )
    np.testing.assert_allclose(found.precisions, precisions)
    np.testing.assert_allclose(found.recalls, recalls)
    np.testing.assert_allclose(found.f1, f1)
    assert 0.4 < found.f1[0] < 1
    assert found.f1[-1] == 0


def test_balanced_accuracy_weights_classes_equally() -> None:
    train, classes = blobs(60, 0.1)
    test, expected = blobs(30, 0.1, seed=1)
    rare = np.concatenate([np.flatnonzero(expected == 0), np.flatnonzero(expected == 1)[:1]])
    expected = expected[rare]
    expected[-1] = 2  # the only row of class 2 lies among class 1
    found = svm_accuracy(train, test[rare], task(classes, expected))
    assert found.accuracy == pytest.approx(10 / 11)
    assert found.balanced == 0.5
    assert sorted(found.recalls) == [0, 1]


def test_degenerate_vectors_do_not_stop_the_protocols() -> None:
    classes = np.arange(60) % 2
    classes[1:] = 0  # class 1 would be held out whole
    classes[1] = 1
    same = np.ones((60, 3))
    scores = score_vectors(same, same, task(classes, classes))
    assert scores.svm.accuracy == pytest.approx(59 / 60)
    assert scores.svm.penalty in PENALTIES
    assert cluster_agreement(same, task(classes, np.zeros(60, dtype=np.int64))) is None


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "MAX_SEARCH_ROWS", 50)
    seen = []
    monkeypatch.setattr(protocols, "_best_penalty", lambda vectors, classes, threads: seen.append(len(vectors)) or 1.0)
    (train, classes), (test, expected) = blobs(200, 0.5), blobs(20, 0.5, seed=1)
    assert svm_accuracy(train, test, task(classes, expected)).accuracy == 1
    assert seen == [50]


def test_a_stratified_subset_keeps_shares_and_every_class() -> None:
    classes = np.array([0] * 700 + [1] * 290 + [2] * 9 + [3])
    np.random.default_rng(0).shuffle(classes)
    rows = stratified_rows(classes, 100, seed=3)
    counts = np.bincount(classes[rows])
    assert np.array_equal(rows, np.unique(rows))
    assert counts.sum() == 100
    assert np.abs(counts - [70, 29, 1, 1]).max() <= 1
    assert counts.min() == 1
    assert np.array_equal(rows, stratified_rows(classes, 100, seed=3))
    assert not np.array_equal(rows, stratified_rows(classes, 100, seed=4))
    assert np.array_equal(stratified_rows(classes, 1000, seed=3), np.arange(1000))
    assert len(stratified_rows(np.arange(30), 10, seed=0)) == 30  # a row of each class
