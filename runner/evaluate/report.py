"""The results of an evaluation, and their JSON."""

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
    """Scores of the trained embeddings or of a control.

    Attributes:
        name: Name of the vectors.
        width: Numbers per vector.
        scores: One, or one per seed; empty if `absent` is set.
        absent: Why there are no scores, or None.
        seeds: Seeds of the weights, if there are several.
    """

    name: str
    width: int
    scores: tuple[Scores, ...]
    absent: str | None = None
    seeds: tuple[int, ...] = ()

    def values(self, metric: Metric) -> list[float]:
        """Return the score of each seed: accuracy 0…1, or the adjusted Rand index; empty if there is none."""
        found = [getattr(scores, metric) for scores in self.scores]
        return [value.accuracy if isinstance(value, Accuracy) else value for value in found if value is not None]

    def mean(self, metric: Metric) -> float | None:
        """Return the mean over the seeds."""
        values = self.values(metric)
        return float(np.mean(values)) if values else None

    def standard_error(self, metric: Metric) -> float | None:
        """Return the standard error of the mean over the seeds; None with fewer than two."""
        values = self.values(metric)
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None

    def f1(self, classifier: Classifier) -> NDArray[np.float64] | None:
        """Return `Accuracy.f1` of each test class, averaged over the seeds, float64 (classes)."""
        if not self.scores:
            return None
        found: NDArray[np.float64] = np.mean([getattr(scores, classifier).f1 for scores in self.scores], axis=0)
        return found

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return JSON values; `classes` are the names of the test classes."""
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
        rows: Rows of the input.
        unlabelled, empty, bad: Rows without label, without steps, or that are not a sequence; they are excluded.
        used: Rows that were scored; all others, or a sample of ``--max-rows``.
        truncated: Sequences truncated to the model's maximum length.
        classes: Classes among the used rows.
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
    """Duration of embedding.

    Attributes:
        rows: Rows of both splits.
        seconds: Duration of the run on both, with start-up and Parquet input and output.
        encoder_rows_per_second: Rate of the encoder alone, without Parquet; None if not measured.
        threads: Number of threads.
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
    """The effect of training on SVM accuracy; each number in 0…1, or None without untrained control.

    Attributes:
        outcome: ``gain`` or ``loss`` beyond two standard errors, ``noise`` within, ``unknown`` without a control.
        difference: Trained accuracy minus the mean of the untrained ones.
        standard_error: Of the difference, from paired test rows and from the variation over seeds.
        test_standard_error: Of the trained accuracy, from the number of test rows.
        text: The same in one or two sentences.
    """

    outcome: Literal["gain", "loss", "noise", "unknown"]
    difference: float | None
    standard_error: float | None
    test_standard_error: float
    text: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        model: Path of the bundle.
        model_sha256: sha256 of the bundle.
        label: Column with the classes.
        seed: Seed of all random numbers.
        train, test: Rows of the splits.
        unseen_rows: Test rows of classes without training rows; they count as wrong.
        unseen_labels: Those classes.
        chance: 1 / training classes.
        majority: Accuracy of always predicting the most frequent training class.
        majority_label: That class.
        encoding: Duration of embedding.
        classes: Classes of the test rows, in the order of `Accuracy.recalls`.
        rows: Rows of the table, the trained encoder first.
        verdict: The effect of training.
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
        """Return accuracy and verdict; `rows` has the table."""
        accuracy = self.rows[0].mean("svm")
        shown = "" if accuracy is None else f"svm={accuracy:.4f}, "
        return (
            f"Evaluation({self.model!r}, label={self.label!r}, test_rows={self.test.used}, {shown}"
            f"majority={self.majority:.4f}, outcome={self.verdict.outcome!r})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; accuracies are shares, 0…1."""
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
    # JSON has no infinity, so a C that was not searched is null.
    penalty = scores.svm.penalty
    value["svm"]["C"] = penalty if penalty is not None and math.isfinite(penalty) else None
    value["clusters"] = {"adjusted_rand": scores.clusters}
    return value
