"""Models for tests that build networks without a training."""

from typing import Any

from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.resolved import ResolvedModel, resolve_model


def resolved(**options: Any) -> ResolvedModel:
    """Return the model of `options` of `ModelConfig`, as if the data were numbers that ask for nothing special.

    What is unset becomes frames of one step without overlap, trajectory, kernels or pairs; contrastive objectives
    get both channels.
    """
    given = ModelConfig(**options)
    channels = "values" if given.objective_for(events=False) == "reconstruct" else "both"
    return resolve_model(given, events=False, channels=channels, frame=1, overlap=0, trajectory=0, kernels=0, pairs=0)
