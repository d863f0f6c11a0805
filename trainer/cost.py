"""How long a training will take on this machine, measured on one batch before it starts."""

import time

import numpy as np

from data.batching import pad
from data.profile import SequenceProfile
from data.sequences import SequenceBlock
from data.vocabulary import MISSING_ID
from trainer.config import ModelConfig
from trainer.losses import Batch
from trainer.progress import duration
from trainer.steps import Steps

_NUM_TRIED = 3
_LEARNING_OVER_SCORING = 3.0  # measured with two LSTM branches of 48 units: 2.3 to 3.2
_MOST_TRIED = 60  # steps or frames: a longer sequence is tried by its beginning
_SHARE_OF_A_CROP = 0.75  # on average


def told_cost(
    steps: Steps,
    num_parameters: int,
    config: ModelConfig,
    profile: SequenceProfile,
    sample: SequenceBlock,
    *,
    batch_size: int,
    num_steps: int,
) -> str:
    """Return a line that tells how long a training will take, and what an epoch of it computes.

    One batch of sequences near the mean length is scored, without being learned from.

    Args:
        steps: Its compiled steps.
        num_parameters: Trainable numbers.
        config: Its architecture.
        profile: Statistics of the training sequences.
        sample: Some of them.
        batch_size: Sequences in a batch.
        num_steps: Batches that are learned from at most.
    """
    views = 2 if config.contrasts else 1
    mean = max(1.0, profile.num_steps / max(profile.num_sequences, 1))
    batch = _tried_batch(sample, mean, views * batch_size, _MOST_TRIED * (config.frame or 1))
    steps.evaluate([batch])  # compiles
    start = time.perf_counter()
    steps.evaluate([batch] * _NUM_TRIED)
    seconds = _LEARNING_OVER_SCORING * (time.perf_counter() - start) / _NUM_TRIED
    share = _SHARE_OF_A_CROP if config.contrasts else 1.0
    scale = views * batch_size * mean * share / float(np.sum(batch.lengths))
    most = "" if config.contrasts else "at most "
    return f"{num_parameters:,} weights; {most}about {duration(num_steps * seconds * scale)} on this machine"


def _tried_batch(sample: SequenceBlock, mean: float, num_rows: int, most_steps: int) -> Batch:
    nearest = np.argsort(np.abs(sample.lengths - mean), kind="stable")
    rows = np.resize(nearest[:num_rows], num_rows)
    padded = pad(sample, rows)
    values = padded.values[:, :most_steps]
    categories = padded.categories[:, :most_steps]
    return Batch(
        values=values,
        lengths=np.minimum(padded.lengths, most_steps),
        targets=values,
        next_step=np.full((num_rows, values.shape[2]), np.nan, dtype=np.float32),
        categories=categories,
        category_targets=categories,
        next_categories=np.full((num_rows, categories.shape[2]), MISSING_ID, dtype=np.int32),
    )
