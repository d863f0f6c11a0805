"""The second stage of a training: fit the weights, and restart once from other weights if nothing was learned."""

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.standardise import feature_weights
from seqembed.trainer.config.automatic import has_events
from seqembed.trainer.fit.checkpoint import MAX_RESTART_PARAMETERS, Checkpoints, TrainingState
from seqembed.trainer.fit.health import Health, examine, is_cheap
from seqembed.trainer.fit.loop import Loop
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.fit.steps import Decay, Steps, seed_everything
from seqembed.trainer.input.feeds import make_feeds, monitored_fraction
from seqembed.trainer.model.network import embed
from seqembed.trainer.model.objective import Objective
from seqembed.trainer.prepare import Prepared

_BASELINE_BATCHES = 50  # of the training data, which may be too large for another pass
_SECOND_SEED = 1_000_003  # added to --seed for the second attempt: unlikely to be another run's seed


class Fit:
    """A training that can be resumed at any batch.

    Attributes:
        prepared: The data, and all options.
        network: The models.
        state: Weights, counters and history.
        loop: The training loop.
        history: The content of ``history.json``, about the weights that are kept; empty before `run` or `keep_better`.
    """

    def __init__(
        self, prepared: Prepared, checkpoints: Checkpoints, progress: Progress, checkpoint_seconds: float
    ) -> None:
        """Build the network and everything its training needs; nothing is trained or written yet.

        Args:
            prepared: The data, and all options.
            checkpoints: Where the state is saved.
            progress: Receives notes and progress.
            checkpoint_seconds: Maximum time between checkpoints.

        Raises:
            UsageError: A fixed-length decoder would be too large.
        """
        self.prepared, self._checkpoints, self._progress = prepared, checkpoints, progress
        self.history: dict[str, Any] = {}
        job, schema, intake = prepared.job, prepared.schema, prepared.intake
        seed_everything(job.training.seed)
        self.network = prepared.build()
        objective = Objective(job.model, prepared.profile, schema.categorical, feature_weights(schema.features))
        batches = job.training.num_steps(intake.num_training)
        decay: Decay = "cosine" if job.model.contrasts else "none" if has_events(schema) else "drops"
        steps = Steps(
            self.network,
            objective,
            prepared.profile,
            batches,
            learning_rate=job.training.learning_rate,
            clip_norm=job.training.clip_norm,
            decay=decay,
        )
        self.state = TrainingState(self.network, steps.optimizer, len(objective.terms), prepared.identity)
        monitored = monitored_fraction(job, schema, intake)
        training, validation = make_feeds(prepared.files, schema, job, intake, monitored)
        if monitored < intake.validation_fraction:
            some = round(intake.num_validation * monitored / intake.validation_fraction)
            progress.note(f"about {some:,} of the held-out sequences are scored during training")
        self.loop = Loop(
            steps=steps,
            objective=objective,
            training=training,
            validation=validation,
            state=self.state,
            checkpoints=checkpoints,
            config=job.training,
            progress=progress,
            checkpoint_seconds=checkpoint_seconds,
            views_per_sequence=2 if job.model.contrasts else 1,
        )

    def restore(self) -> bool:
        """Restore the newest checkpoint; return False if there is none.

        Raises:
            BundleError: The checkpoint is damaged.
            UsageError: It belongs to other options or other data.
        """
        return self._checkpoints.restore(self.state, self.prepared.identity)

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: It cannot be written.
        """
        self._checkpoints.save(self.state)

    def run(self) -> None:
        """Train to the end, once more from other weights if there was a problem and it is cheap, and keep the better.

        Raises:
            QualityGateError: The loss is no longer a number.
            InputError: A file can no longer be read.
            OutputError: A checkpoint cannot be written.
        """
        self._run_once()
        worth_it = self.health.worth_a_restart(self.loop.steps.num_done)
        if worth_it and not self.state.num_restarts and self._is_cheap:
            self._progress.note(f"{self.health.problem}: training is repeated with other initial weights")
            seed_everything(self.prepared.job.training.seed + _SECOND_SEED)
            self.state.begin_again(self._document(), self.prepared.build().scorer.get_weights())
            self.save()
            self._run_once()
        self.keep_better()

    def keep_better(self) -> None:
        """Load the weights that are kept, of the better attempt, and write `history` about it."""
        self.loop.run()  # trains no more; loads the best weights of the last attempt
        last, first = self._document(), self.state.first_attempt
        kept, other = last, first
        if first is not None and _rank(first) <= _rank(last):
            self.state.restore_first()
            self._forget_figures()
            kept, other = first, last
        discarded = None if other is None else {"epochs": other["epochs"], "health": other["health"]}
        self.history = {**kept, "num_restarts": self.state.num_restarts, "discarded_attempt": discarded}

    def _run_once(self) -> None:
        loop, done = self.loop, self.state.epochs_done
        unit = "interval" if self.prepared.job.training.in_steps else "epoch"
        rows = loop.rows_per_epoch(self.prepared.intake.num_training)
        self._progress.training_starts(loop.num_epochs, rows, done, unit)
        loop.run()
        self._forget_figures()

    def _forget_figures(self) -> None:
        for figures in ("best", "baseline", "training_baseline", "health", "embeddings"):
            self.__dict__.pop(figures, None)  # of weights that were replaced

    @property
    def _is_cheap(self) -> bool:
        profile, job = self.prepared.profile, self.prepared.job
        length = profile.num_steps / max(profile.num_sequences, 1)
        read = self.loop.steps.num_done * job.training.batch_size * length
        small = self.network.num_parameters <= MAX_RESTART_PARAMETERS
        return small and is_cheap(read * self.loop.views_per_sequence, self.network.num_parameters)

    @cached_property
    def best(self) -> dict[str, float]:
        """Losses and metrics of the final weights, by name; those of held-out sequences begin with ``val_``."""
        loop, chosen = self.loop, self.loop.chosen_epoch
        if not chosen:
            held_out = loop.validation is not None
            return loop.steps.evaluate(self._monitored_feed.epoch(0), "val_" if held_out else "")
        record = self.state.history[chosen - 1]
        return {name: value for name, value in record.items() if name not in ("epoch", "step", "rows_per_second")}

    @cached_property
    def baseline(self) -> dict[str, float]:
        """Losses and metrics of always predicting the mean, on the monitored data."""
        return self.loop.steps.baseline(self._monitored_feed.epoch(0))

    @cached_property
    def training_baseline(self) -> dict[str, float]:
        """The same on some of the batches that were trained on, whose losses may lie elsewhere."""
        return self.loop.steps.baseline(islice(self.loop.training.epoch(1), _BASELINE_BATCHES))

    @property
    def _monitored_feed(self) -> Any:
        return self.loop.training if self.loop.validation is None else self.loop.validation

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """What the network makes of the sample of training sequences, float32 (sequences, numbers)."""
        return embed(self.network, self.prepared.sample)

    @cached_property
    def health(self) -> Health:
        """Whether the model learned anything."""
        prepared = self.prepared
        blocks, trained = prepared.embedding_blocks, bool(self.state.history)
        baselines = {"": self.baseline} if trained else {}
        if trained and self.loop.validation is not None:
            baselines = {"val_": self.baseline, "": self.training_baseline}
        return examine(prepared.job.model, self.embeddings, blocks, self.best, baselines, trained=trained)

    def _document(self) -> dict[str, Any]:
        """Return the content of ``history.json``, but for what a restart adds."""
        loop, state, training = self.loop, self.state, self.prepared.job.training
        return {
            "epochs": state.history,
            "monitored": loop.monitored,
            "best_epoch": loop.chosen_epoch,
            "best_loss": self.best[loop.monitored],
            "best_val_loss": self.best.get("val_loss"),
            "best": self.best,
            "baseline": self.baseline,
            "health": self.health.to_json(),
            # One of the views in a full batch is correct; all but the view itself are candidates.
            "contrast_chance": 1 / (2 * training.batch_size - 1) if self.prepared.job.model.contrasts else None,
            "num_parameters": self.network.num_parameters,
            "num_training": self.prepared.intake.num_training,
            "num_validation": self.prepared.intake.num_validation,
            "measured_in": training.measured_in,
            "num_steps": loop.steps.num_done,
            "seconds": state.seconds,
            "rows_per_second": state.num_rows / state.seconds if state.seconds else 0.0,
            "stopped_early": loop.stopped_early,
            "patience": training.patience or None,
        }


def _rank(document: Mapping[str, Any]) -> tuple[bool, float]:
    """Return how an attempt ranks: without a problem first, then by the monitored loss."""
    return document["health"]["problem"] is not None, document["best_loss"]
