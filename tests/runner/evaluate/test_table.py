"""The table of classes: F1 of embeddings and controls, by the classifier that is best for the trained ones."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from seqembed.runner.evaluate.report import Encoding, Evaluation, Row, SplitCounts, Verdict
from seqembed.runner.evaluate.scores import Accuracy, Scores
from seqembed.runner.evaluate.table import MAX_CLASSES, class_table, lines_before, table


def accuracy(*shares: float) -> Accuracy:
    """Return scores with equal recall, precision and F1."""
    mean, by_class = float(np.mean(shares)), np.array(shares)
    return Accuracy(mean, mean, by_class, by_class, np.ones(3, dtype=bool))


def row(name: str, svm: tuple[float, ...], logistic: tuple[float, ...]) -> Row:
    return Row(name, 2, (Scores(accuracy(*svm), accuracy(*logistic), accuracy(*[0.0] * len(svm)), None),))


@pytest.fixture
def evaluation() -> Evaluation:
    """Return results in which logistic regression is best for the trained vectors, and the SVM for the control."""
    counts = SplitCounts(3, 0, 0, 0, 3, 0, 3)
    rows = (
        row("trained encoder", (0.5, 0.5, 0.5), (0.9, 1.0, 0.25)),
        row("mean and spread", (1.0, 1.0, 1.0), (0.125, 0.0, 0.75)),
        Row("raw values", 0, (), "sequences differ in length"),
    )
    return Evaluation(
        model="m.onnx",
        model_sha256="0",
        label="kind",
        seed=0,
        train=counts,
        test=counts,
        unseen_rows=0,
        unseen_labels=(),
        chance=1 / 3,
        majority=1 / 3,
        majority_label="plain",
        encoding=Encoding(6, 1.0, None, 1),
        classes=("[b]order", "plain", "timing"),
        rows=rows,
        verdict=Verdict("unknown", None, None, 0.1, "unknown"),
    )


def shown(evaluation: Evaluation) -> list[list[str]]:
    table = class_table(evaluation)
    assert table is not None
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    lines = text.getvalue().splitlines()
    return [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines if line[0] in "│┃"
    ]


def test_each_class_has_a_column_per_control_with_scores(evaluation: Evaluation) -> None:
    assert shown(evaluation) == [
        ["kind, F1 by logistic", "trained encoder", "mean and spread"],
        ["[b]order", "90.0%", "12.5%"],
        ["plain", "100.0%", "0.0%"],
        ["timing", "25.0%", "75.0%"],
    ]


def test_seeds_are_averaged(evaluation: Evaluation) -> None:
    one, two = (row("untrained encoder", recalls, recalls).scores[0] for recalls in ((1.0, 0.0, 0.5), (0.5, 0.0, 0.0)))
    rows = (evaluation.rows[0], Row("untrained encoder", 2, (one, two), None, (0, 1)))
    assert [line[2] for line in shown(replace(evaluation, rows=rows))[1:]] == ["75.0%", "0.0%", "25.0%"]


@pytest.mark.parametrize("number", [2, MAX_CLASSES + 1])
def test_two_classes_or_very_many_are_not_listed(evaluation: Evaluation, number: int) -> None:
    recalls = (0.5,) * number
    rows = (row("trained encoder", recalls, recalls),)
    names = tuple(f"class {index}" for index in range(number))
    assert class_table(replace(evaluation, classes=names, rows=rows)) is None


def test_an_index_that_rounds_to_zero_has_no_sign(evaluation: Evaluation) -> None:
    (trained,) = evaluation.rows[0].scores
    rows = [replace(evaluation.rows[0], scores=(replace(trained, clusters=index),)) for index in (-0.0049, -0.006)]
    text = io.StringIO()
    Console(width=120, file=text).print(table(replace(evaluation, rows=tuple(rows))))
    ends = [line.strip("│ ").split()[-1] for line in text.getvalue().splitlines() if "trained encoder" in line]
    assert ends == ["0.00", "-0.01"]


@pytest.mark.parametrize(
    ("num", "said"),
    [
        (1, "1 test row has a label without training rows ('x'), and counts as wrong"),
        (2, "2 test rows have labels without training rows ('x'), and count as wrong"),
    ],
)
def test_rows_of_unseen_labels_are_counted_in_words(evaluation: Evaluation, num: int, said: str) -> None:
    assert said in lines_before(replace(evaluation, unseen_rows=num, unseen_labels=("x",)))
