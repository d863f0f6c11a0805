"""The training loop: epochs or intervals of batches, early stopping, checkpoints, and an end at a loss of NaN."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from seqembed.data.display.events import emit
from seqembed.data.errors import QualityGateError
from seqembed.trainer.config.resolved import ResolvedTraining
from seqembed.trainer.fit.checkpoint import Checkpoints, TrainingState
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.fit.steps import Steps
from seqembed.trainer.input.feed import Feed
from seqembed.trainer.model.losses import Batch
from seqembed.trainer.model.objective import Objective

CHECKPOINT_SECONDS = 300.0
NUM_INTERVALS = 20  # of a training measured in steps; each ends with a record and a checkpoint


@dataclass(frozen=True, slots=True)
class Loop:
    """A training loop that can be resumed at any batch.

    Attributes:
        steps: Compiled training and evaluation steps.
        objective: Loss and metrics.
        training: Training batches.
        validation: Held-out batches; None monitors the training loss instead.
        state: Weights, counters and history.
        checkpoints: Where the state is saved.
        config: Length and patience.
        progress: Receives progress.
        checkpoint_seconds: Maximum time between checkpoints.
        views_per_sequence: Rows of a batch that belong to one sequence.
    """

    steps: Steps
    objective: Objective
    training: Feed
    validation: Feed | None
    state: TrainingState
    checkpoints: Checkpoints
    config: ResolvedTraining
    progress: Progress
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    views_per_sequence: int = 1

    @property
    def monitored(self) -> str:
        """Name of the loss that decides which weights are best."""
        return "loss" if self.validation is None else "val_loss"

    @property
    def stopped_early(self) -> bool:
        """Whether patience has run out."""
        return bool(self.config.patience) and self._recorded - self._best_step >= self.config.patience

    @property
    def finished(self) -> bool:
        """Whether no batches are left to train on."""
        done = self._recorded if self.config.in_steps else self.state.epochs_done
        return self.stopped_early or done >= self.config.length

    @property
    def num_epochs(self) -> int:
        """Records of a complete training: passes over the data, or intervals of batches."""
        return -(-self.config.length // self._interval) if self.config.in_steps else self.config.length

    @property
    def chosen_epoch(self) -> int:
        """Epoch of the final weights, from 1: the best one with patience, else the last one."""
        return self.state.best_epoch if self.config.patience else self.state.epochs_done

    def rows_per_epoch(self, num_training: int) -> int:
        """Return the number of training sequences between two records."""
        return self._interval * self.config.batch_size if self.config.in_steps else num_training

    @property
    def _interval(self) -> int:
        """Batches between two records of a training that is measured in steps."""
        return -(-self.config.length // NUM_INTERVALS)

    @property
    def _recorded(self) -> int:
        """Batches up to the last record; more are done if a training was stopped within an interval."""
        return int(self.state.history[-1]["step"]) if self.state.history else 0

    @property
    def _best_step(self) -> int:
        """Batches up to the record with the lowest monitored loss; 0 before the first."""
        best = self.state.best_epoch
        return int(self.state.history[best - 1]["step"]) if best else 0

    @property
    def _until_record(self) -> int:
        """Batches left of the interval; 0 if a training was stopped between its last batch and its record."""
        end = min((self._recorded // self._interval + 1) * self._interval, self.config.length)
        return max(0, end - self.steps.num_done)

    def run(self) -> None:
        """Train to the end or until patience has run out; then, with patience, restore the best weights.

        Raises:
            QualityGateError: The loss became NaN or infinite.
            InputError: A file can no longer be read.
            OutputError: A checkpoint cannot be written.
        """
        stream = self.training.stream(skip=self.steps.num_done) if self.config.in_steps else None
        while not self.finished:
            number = self.state.epochs_done + 1
            if stream is None:
                batches = self.training.epoch(number, skip=self.state.batches_done)
            else:
                batches = islice(stream, self._until_record)
            self._epoch(number, batches)
        if self.config.patience and self.state.best_epoch:
            self.state.restore_best()

    def _epoch(self, number: int, batches: Iterable[Batch]) -> None:
        state = self.state
        self.progress.epoch_starts(number)
        started = last_save = time.monotonic()
        num_rows = 0
        for batch in batches:
            num_rows += self._learn(batch, number)
            now = time.monotonic()
            if now - last_save >= self.checkpoint_seconds:
                state.seconds += now - last_save
                self.checkpoints.save(state)
                last_save = time.monotonic()
        record = {"epoch": number, "step": self.steps.num_done, **self.objective.report(state.totals)}
        if self.validation is not None:
            record |= self.steps.evaluate(self.validation.epoch(0), prefix="val_")
        monitored = record[self.monitored] if state.weights_are_finite() else math.nan
        self._refuse_nan(monitored, number)
        now = time.monotonic()
        record["rows_per_second"] = num_rows / max(now - started, 1e-9)
        state.seconds += now - last_save
        self._close(record)
        figures = {name: value for name, value in record.items() if name not in ("epoch", "step")}
        emit("epoch", epoch=number, step=record["step"], figures=figures)
        self.progress.epoch_ends(record, best=state.best_epoch == number and bool(self.config.patience))

    def _learn(self, batch: Batch, number: int) -> int:
        sums = self.steps.learn(batch)
        self.state.totals += sums
        self.state.batches_done += 1
        num_rows = int(batch.lengths.shape[0]) // self.views_per_sequence
        self.state.num_rows += num_rows
        loss = self.objective.report(sums)["loss"]
        self._refuse_nan(loss, number)
        self.progress.batch_ends(num_rows, self.objective.report(self.state.totals)["loss"])
        return num_rows

    def _close(self, record: dict[str, float]) -> None:
        state = self.state
        state.epochs_done, state.batches_done = int(record["epoch"]), 0
        state.totals = state.totals * 0
        state.history.append(record)
        if record[self.monitored] < state.best_loss:
            state.remember_best(record[self.monitored])
        self.checkpoints.save(state)

    def _refuse_nan(self, loss: float, number: int) -> None:
        if math.isfinite(loss):
            return
        raise QualityGateError(
            f"epoch {number}, batch {self.state.batches_done}: the loss is {loss}, expected a finite number, so the "
            "training stopped. Lower --learning-rate, pass --activation tanh or a --clip-norm above 0, or look for "
            "features with outliers (`seqembed inspect` shows their scale)."
        )
