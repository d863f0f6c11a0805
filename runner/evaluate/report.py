"""What an evaluation found, and its JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.runner.evaluate.scores import MAX_SEARCH_ROWS, Accuracy, Scores

FORMAT_VERSION = 1
Metric = Literal["svm", "logistic", "nearest", "clusters"]
Classifier = Literal["svm", "logistic", "nearest"]
CLASSIFIERS: tuple[Classifier, ...] = ("svm", "logistic", "nearest")
METRICS: dict[Metric, str] = {"svm": "SVM", "logistic": "logistic", "nearest": "1-NN", "clusters": "ARI"}
TRAINED, UNTRAINED = "trained encoder", "untrained encoder"


@dataclass(frozen=True, slots=True)
class Row:
    """One set of vectors, judged.

    Attributes:
        name: What the vectors are.
        width: Numbers a vector.
        scores: One, or one for each seed; empty where `absent`.
        absent: Why there are no scores.
        seeds: Of the weights, where there are several draws.
    """

    name: str
    width: int
    scores: tuple[Scores, ...]
    absent: str | None = None
    seeds: tuple[int, ...] = ()

    def values(self, metric: Metric) -> list[float]:
        """Return the figure of each draw: accuracy 0…1, or the adjusted Rand index; empty where there is none."""
        found = [getattr(scores, metric) for scores in self.scores]
        return [value.accuracy if isinstance(value, Accuracy) else value for value in found if value is not None]

    def mean(self, metric: Metric) -> float | None:
        """Return the mean over the draws."""
        values = self.values(metric)
        return float(np.mean(values)) if values else None

    def standard_error(self, metric: Metric) -> float | None:
        """Return the standard error of the mean over the draws; None with fewer than two."""
        values = self.values(metric)
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None

    def f1(self, classifier: Classifier) -> NDArray[np.float64] | None:
        """Return `Accuracy.f1` of each test class, mean over the draws, float64 (classes)."""
        if not self.scores:
            return None
        found: NDArray[np.float64] = np.mean([getattr(scores, classifier).f1 for scores in self.scores], axis=0)
        return found

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain values; `classes` names those of the test rows."""
        value: dict[str, Any] = {"name": self.name, "width": self.width, "absent": self.absent}
        if self.seeds:
            value["seeds"] = list(self.seeds)
        value["scores"] = [_scores_json(scores, classes) for scores in self.scores]
        value["mean"] = {metric: self.mean(metric) for metric in METRICS}
        value["standard_error"] = {metric: self.standard_error(metric) for metric in METRICS}
        return value


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Rows of a split.

    Attributes:
        rows: In the input.
        unlabelled, empty, bad: Dropped: no label, no steps, no sequence.
        used: Judged; fewer than are left only above ``--max-rows``.
        truncated: Cut to the model's longest length.
        classes: Among the used.
    """

    rows: int
    unlabelled: int
    empty: int
    bad: int
    used: int
    truncated: int
    classes: int

    @property
    def usable(self) -> int:
        """Rows with a label and a vector."""
        return self.rows - self.unlabelled - self.empty - self.bad


@dataclass(frozen=True, slots=True)
class Encoding:
    """What embedding cost.

    Attributes:
        rows: Of both splits.
        seconds: Of the runner on both, start-up, Parquet in and out included.
        encoder_rows_per_second: Of the graph alone, without Parquet; None where it was not timed.
        threads: That embedded.
    """

    rows: int
    seconds: float
    encoder_rows_per_second: float | None
    threads: int

    @property
    def rows_per_second(self) -> float:
        """Rows over the wall time of the runner."""
        return self.rows / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What training bought, by SVM accuracy; each figure 0…1, None without an untrained control.

    Attributes:
        outcome: ``gain`` or ``loss`` beyond two standard errors, ``noise`` within, ``unknown`` without a control.
        difference: Trained minus the mean of the untrained.
        standard_error: Of the difference: test rows in pairs, and the luck of a single draw of weights.
        test_standard_error: Of the trained accuracy on so many test rows.
        text: The same in a plain sentence or two.
    """

    outcome: Literal["gain", "loss", "noise", "unknown"]
    difference: float | None
    standard_error: float | None
    test_standard_error: float
    text: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All of it.

    Attributes:
        model: Path of the bundle.
        model_sha256: Of its bytes.
        label: Column with the classes.
        seed: Of every draw.
        train, test: Rows of the splits.
        unseen_rows: Test rows of classes that no training row has; they count as wrong.
        unseen_labels: Those classes.
        chance: 1 / training classes.
        majority: Accuracy of always naming the most frequent training class.
        majority_label: That class.
        encoding: What embedding cost.
        classes: Of the test rows, in the order of every `Accuracy.recalls`.
        rows: The table, the trained encoder first.
        verdict: What training bought.
    """

    model: str
    model_sha256: str
    label: str
    seed: int
    train: SplitCounts
    test: SplitCounts
    unseen_rows: int
    unseen_labels: tuple[str, ...]
    chance: float
    majority: float
    majority_label: str
    encoding: Encoding
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: Verdict

    def __repr__(self) -> str:
        """Return accuracy and verdict; `rows` holds the table."""
        accuracy = self.rows[0].mean("svm")
        shown = "" if accuracy is None else f"svm={accuracy:.4f}, "
        return (
            f"Evaluation({self.model!r}, label={self.label!r}, test_rows={self.test.used}, {shown}"
            f"majority={self.majority:.4f}, outcome={self.verdict.outcome!r})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; accuracies are shares, 0…1."""
        return {
            "format_version": FORMAT_VERSION,
            "seqembed": metadata.version("seqembed"),
            "scikit_learn": metadata.version("scikit-learn"),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "label": self.label,
            "seed": self.seed,
            "svm_search_rows": min(self.train.used, MAX_SEARCH_ROWS),
            "train": asdict(self.train),
            "test": {**asdict(self.test), "unseen_rows": self.unseen_rows, "unseen_labels": list(self.unseen_labels)},
            "chance": self.chance,
            "majority": {"label": self.majority_label, "accuracy": self.majority},
            "encoding": {**asdict(self.encoding), "rows_per_second": self.encoding.rows_per_second},
            "rows": [row.to_json(self.classes) for row in self.rows],
            "verdict": asdict(self.verdict),
        }


def _scores_json(scores: Scores, classes: Sequence[str]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name in CLASSIFIERS:
        found: Accuracy = getattr(scores, name)
        value[name] = {"accuracy": found.accuracy, "balanced_accuracy": found.balanced}
        for figure, by_class in (("recall", found.recalls), ("precision", found.precisions), ("f1", found.f1)):
            value[name][figure] = dict(zip(classes, by_class.tolist(), strict=True))
    # JSON has no infinity: a C that was not searched is null.
    penalty = scores.svm.penalty
    value["svm"]["C"] = penalty if penalty is not None and math.isfinite(penalty) else None
    value["clusters"] = {"adjusted_rand": scores.clusters}
    return value
