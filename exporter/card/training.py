"""Read how a training ended, for the model card."""

import json
from dataclasses import dataclass
from typing import Any

from seqembed.data.errors import BundleError
from seqembed.data.layout import RunLayout
from seqembed.exporter.config import ExportConfig


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        num_batches: Batches it took.
        loss: Loss of the weights that were kept.
        baseline: Loss of a model that learned nothing.
        held_out: Whether the losses are of sequences that were not trained on.
        problem: What was wrong with the training; None if nothing was.
    """

    num_batches: int
    loss: float
    baseline: float
    held_out: bool
    problem: str | None


def read_training(config: ExportConfig) -> TrainingResult | None:
    """Return how the training of a run ended; None for a model trained elsewhere, or without a history.

    Raises:
        BundleError: The history is damaged.
    """
    path = RunLayout(config.source).history
    if not config.is_run_directory or not path.exists():
        return None
    try:
        history: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        problem = history["health"]["problem"]
        return TrainingResult(
            num_batches=int(history["num_steps"]),
            loss=float(history["best_loss"]),
            baseline=float(history["baseline"]["loss"]),
            held_out=history["monitored"].startswith("val_"),
            problem=None if problem is None else str(problem),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path}: the history of the run is damaged ({type(error).__name__}), so the model card cannot name its "
            "loss. Pass --no-card, or train again."
        ) from error
