"""Check whether a training learned anything: does it beat the mean, and do the embeddings differ at all?

A model can end with a finite, slowly falling loss and still be useless: a decoder that always writes the mean, an
embedding that is equal for all sequences, relu units that are always 0. None of this raises an error, so it is checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.trainer.config.resolved import ResolvedModel

Problem = Literal["mean", "overfitting", "constant", "dead units"]

_NO_BETTER = 0.95  # of the loss of always predicting the mean
_STILL = 1e-6  # relative spread of equal numbers in float32
_MANY_DEAD = 0.25  # of the embedding's dimensions
_LEARNED_BLOCKS = ("steps", "values", "differences")  # others, such as statistics, may be equal for all sequences
_FEW_BATCHES = 500
# A restart is automatic if it takes only a minute or two: float32 multiplications on one core.
_CHEAP_MULTIPLICATIONS = 3e11
_FEW_TO_RESTART = 100  # batches: with fewer, a loss that has not improved needs more batches, not other weights


@dataclass(frozen=True, slots=True)
class Health:
    """The findings of the check.

    Attributes:
        problem: ``mean`` (no better than always predicting the mean), ``overfitting`` (no better than that on held-out
            sequences only), ``constant`` (all sequences have the same embedding), ``dead units`` (at least a quarter of
            the embedding's dimensions are constant), or None.
        loss_over_mean: The monitored loss, divided by that of always predicting the mean (for views: that all are
            equal); None for an untrained model.
        constant_dimensions: Dimensions of the embedding that are constant over the sample.
        learned_dimensions: Dimensions of the embedding that recurrent layers compute.
    """

    problem: Problem | None
    loss_over_mean: float | None
    constant_dimensions: int
    learned_dimensions: int

    def to_json(self) -> dict[str, Any]:
        """Return the field of ``history.json``."""
        return asdict(self)

    def worth_a_restart(self, num_batches: int) -> bool:
        """Return whether other initial weights may help, after `num_batches` of training."""
        if self.loss_over_mean is None:  # untrained, or data that holds nothing to learn
            return False
        return self.problem in ("constant", "dead units") or (self.problem == "mean" and num_batches >= _FEW_TO_RESTART)


def examine(
    config: ResolvedModel,
    embeddings: NDArray[np.float32],
    blocks: Sequence[EmbeddingBlock],
    best: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    *,
    trained: bool,
) -> Health:
    """Check a finished training.

    Args:
        config: The architecture and the objective.
        embeddings: float32 (sequences, embedding_dim) of some training sequences.
        blocks: Their blocks, in order.
        best: Losses and metrics of the final weights, by name; those of held-out sequences begin with ``val_``.
        baselines: Losses and metrics of always predicting the mean, by the prefix of the losses of `best` that they are
            to be compared with: ``""`` on training sequences, ``val_`` on held-out ones if there are any. Losses of
            views depend on the size of a batch, so the two may lie far apart.
        trained: Whether the model was trained at all.
    """
    learned = _learned(embeddings, blocks)
    spread, size = learned.std(axis=0), np.abs(learned).max(axis=0, initial=0)
    constant = int((spread <= _STILL * np.maximum(size, 1.0)).sum()) if len(learned) > 1 else 0
    held_out, training = (_over_mean(config, best, baselines.get(prefix, {}), prefix) for prefix in ("val_", ""))
    monitored = training if held_out is None else held_out
    problem: Problem | None = None
    if not trained:
        monitored = None
    elif monitored is not None and monitored >= _NO_BETTER and (training is None or training >= _NO_BETTER):
        problem = "mean"
    elif constant == learned.shape[1]:
        problem = "constant"
    elif constant >= _MANY_DEAD * learned.shape[1]:
        problem = "dead units"
    elif monitored is not None and monitored >= _NO_BETTER:
        problem = "overfitting"
    return Health(problem, monitored, constant, learned.shape[1])


def is_cheap(num_steps_read: float, num_parameters: int) -> bool:
    """Return whether a training may be repeated without asking; the answer is the same on every machine.

    Args:
        num_steps_read: Steps of all training sequences, over all passes.
        num_parameters: Parameters of the network.
    """
    return 3.0 * num_steps_read * num_parameters <= _CHEAP_MULTIPLICATIONS  # forwards once, backwards twice as much


def advice(health: Health, config: ResolvedModel, num_batches: int) -> list[str]:
    """Return a warning and what to try, one line each; nothing without a problem."""
    if health.problem is None:
        return []
    if health.loss_over_mean is None:
        return [
            "WARNING: all sequences get the same vector, since the features are constant or missing everywhere.",
            "Try other --features (`seqembed inspect` shows what the data holds).",
        ]
    chance = "the loss that compares views is hardly below that of chance, so training has changed little"
    what = {
        "mean": chance
        if config.contrasts
        else "the loss is hardly below that of always predicting the mean, so training has changed little",
        "overfitting": "on held-out sequences the loss that compares views is hardly below that of chance"
        if config.contrasts
        else "on held-out sequences the loss is hardly below that of always predicting the mean",
        "constant": "all sequences get the same vector",
        "dead units": f"{health.constant_dimensions} of {health.learned_dimensions} dimensions of the embedding are "
        "constant over all sequences",
    }[health.problem]
    tries = []
    if health.problem != "overfitting" and num_batches < _FEW_BATCHES:
        tries.append(f"more --steps (this training took {num_batches:,} batches)")
    if health.problem == "overfitting":
        tries += ["more data", "fewer --units", "a larger --validation-fraction if few sequences are held out"]
    else:
        tries += ["--activation tanh"] if config.activation == "relu" else []
        tries += ["another --seed", "a lower --learning-rate", "more --units"]
        tries += ["more --decoder-units"] if config.reconstructs else []
        tries += ["other --features (`seqembed inspect` shows what the data holds)"]
    return [f"WARNING: {what}.", f"Try {'; '.join(tries)}."]


def _learned(embeddings: NDArray[np.float32], blocks: Sequence[EmbeddingBlock]) -> NDArray[np.float64]:
    """Return the dimensions that recurrent layers compute, float64 (sequences, width)."""
    starts = np.cumsum([0, *(block.width for block in blocks)]).tolist()
    columns = [
        np.arange(start, start + block.width)
        for block, start in zip(blocks, starts, strict=False)
        if block.name in _LEARNED_BLOCKS
    ]
    return embeddings[:, np.concatenate(columns)].astype(np.float64)


def _over_mean(
    config: ResolvedModel, best: Mapping[str, float], baseline: Mapping[str, float], prefix: str
) -> float | None:
    """Return a loss divided by the baseline's; None if there is no such loss, or nothing to learn.

    For contrastive objectives only the contrastive loss counts: a useless decoder beside it does no harm.
    """
    alone = len(config.heads) == 1 or not config.contrasts
    name = "loss" if alone else "contrast_loss"
    mean = baseline.get(name, 0.0)
    return best[prefix + name] / mean if prefix + name in best and mean > 0 else None
