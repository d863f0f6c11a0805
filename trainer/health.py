"""Whether a training learned anything: does it beat the mean, and do the numbers of the embedding differ at all?

A model can end with a finite, slowly falling loss and still be worthless: a decoder that writes the mean whatever it is
given, an embedding that is the same for every sequence, relu units that answer 0 to everything. Nothing fails then, so
it has to be looked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.data.parts import EmbeddingPart
from seqembed.trainer.config import ModelConfig

Problem = Literal["mean", "overfitting", "constant", "dead units"]

_NO_BETTER = 0.95  # of the loss of always answering with the mean
_STILL = 1e-6  # a spread that float32 makes of equal numbers, relative to them
_MANY_DEAD = 0.25  # of an embedding's numbers
_LEARNED_PARTS = ("steps", "values", "differences")  # others, such as a level, may rightly be the same for all
_FEW_BATCHES = 500
# A second training is started without asking where it takes a minute or two: float32 multiplications of one core.
_CHEAP_MULTIPLICATIONS = 3e11
_FEW_TO_RESTART = 100  # batches: a loss that stands where it began after fewer needs more of them, not other weights


@dataclass(frozen=True, slots=True)
class Health:
    """What was found.

    Attributes:
        problem: ``mean`` (no better than always answering with the mean), ``overfitting`` (no better on the held-out
            sequences alone), ``constant`` (every sequence gets the same embedding), ``dead units`` (a quarter of the
            embedding's numbers or more never change), or None.
        loss_over_mean: The monitored loss, divided by that of always answering with the mean (of views: that all are
            alike); None for an untrained model.
        constant_dimensions: Numbers of the embedding that are the same for every sequence of the sample.
        learned_dimensions: Numbers of the embedding that recurrent layers make.
    """

    problem: Problem | None
    loss_over_mean: float | None
    constant_dimensions: int
    learned_dimensions: int

    def to_json(self) -> dict[str, Any]:
        """Return the field of ``history.json``."""
        return asdict(self)

    def worth_a_restart(self, num_batches: int) -> bool:
        """Say whether other initial weights may help, after so many batches of training."""
        return self.problem in ("constant", "dead units") or (self.problem == "mean" and num_batches >= _FEW_TO_RESTART)


def examine(
    config: ModelConfig,
    embeddings: NDArray[np.float32],
    parts: Sequence[EmbeddingPart],
    best: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    trained: bool,
) -> Health:
    """Look at a finished training.

    Args:
        config: The architecture and the objective.
        embeddings: float32 (sequences, embedding_dim) of some training sequences.
        parts: What they are made of, in their order.
        best: Figures of the weights that are kept, by name; those of held-out sequences begin with ``val_``.
        baseline: Figures of always answering with the mean, for the same data.
        trained: Whether there was any training.
    """
    learned = _learned(embeddings, parts)
    spread, size = learned.std(axis=0), np.abs(learned).max(axis=0, initial=0)
    constant = int((spread <= _STILL * np.maximum(size, 1.0)).sum()) if len(learned) > 1 else 0
    held_out, training = (_over_mean(config, best, baseline, prefix) for prefix in ("val_", ""))
    problem: Problem | None = None
    if not trained:
        held_out = training = None
    elif training is not None and training >= _NO_BETTER:
        problem = "mean"
    elif constant == learned.shape[1]:
        problem = "constant"
    elif constant >= _MANY_DEAD * learned.shape[1]:
        problem = "dead units"
    elif held_out is not None and held_out >= _NO_BETTER:
        problem = "overfitting"
    return Health(problem, training if held_out is None else held_out, constant, learned.shape[1])


def is_cheap(num_steps_read: float, num_parameters: int) -> bool:
    """Say whether a training may be done once more without asking; the same on every machine.

    Args:
        num_steps_read: Steps of all sequences that it learns from, over all passes.
        num_parameters: Of the network.
    """
    return 3.0 * num_steps_read * num_parameters <= _CHEAP_MULTIPLICATIONS  # forwards once, backwards twice as much


def advice(health: Health, config: ModelConfig, num_batches: int) -> list[str]:
    """Return what to tell the user of a problem and what to try, a line each; none without a problem."""
    if health.problem is None:
        return []
    what = {
        "mean": "the model answers no better than always with the mean: its vectors say nothing of the sequences",
        "overfitting": "on held-out sequences the model answers no better than always with the mean",
        "constant": "every sequence gets the same vector",
        "dead units": f"{health.constant_dimensions} of {health.learned_dimensions} numbers of the embedding never "
        "change, whatever the sequence",
    }[health.problem]
    tries = []
    if health.problem != "overfitting" and num_batches < _FEW_BATCHES:
        tries.append(f"more --steps (this training took {num_batches:,} batches)")
    if health.problem == "overfitting":
        tries += ["more data", "fewer --units", "a larger --validation-fraction, if few sequences are held out"]
    else:
        tries += ["--activation tanh"] if config.activation == "relu" else []
        tries += ["another --seed", "a lower --learning-rate", "more --units"]
        tries += ["more --decoder-units"] if config.reconstructs else []
        tries += ["other --features: `seqembed inspect` on the data shows what they hold"]
    return [f"WARNING: {what}.", f"Try {'; '.join(tries)}."]


def _learned(embeddings: NDArray[np.float32], parts: Sequence[EmbeddingPart]) -> NDArray[np.float64]:
    """Return the numbers that recurrent layers make, float64 (sequences, width)."""
    starts = np.cumsum([0, *(part.width for part in parts)]).tolist()
    columns = [
        np.arange(start, start + part.width)
        for part, start in zip(parts, starts, strict=False)
        if part.name in _LEARNED_PARTS
    ]
    return embeddings[:, np.concatenate(columns)].astype(np.float64)


def _over_mean(
    config: ModelConfig, best: Mapping[str, float], baseline: Mapping[str, float], prefix: str
) -> float | None:
    """Return a loss as a share of the baseline's; None where there is none, or nothing to learn.

    Where views are compared, only that counts: a decoder beside it may find nothing to write and do no harm.
    """
    alone = len(config.heads) == 1 or not config.contrasts
    name = "loss" if alone else "contrast_loss"
    mean = baseline[name]
    return best[prefix + name] / mean if prefix + name in best and mean > 0 else None
