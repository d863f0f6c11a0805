"""The complete state of a training, saved as one: weights, optimizer, best weights, counters, history, identity.

A checkpoint is a single `tf.train.Checkpoint`, so a kill cannot leave weights and history of different moments.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError, OutputError, UsageError
from seqembed.data.host import raise_host_fault
from seqembed.trainer.model.backend import hidden_stderr, tf
from seqembed.trainer.model.network import Network

_KEEP = 2
_STATE = "checkpoint"  # the file in which TensorFlow names the newest checkpoint
# Observed when reading damaged checkpoints: TensorFlow's errors, and those of the JSON inside.
_UNREADABLE = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AssertionError,
    AttributeError,
    RuntimeError,
    OSError,
    tf.errors.OpError,
)
# Options that may change when a training is resumed: none of them affects the weights of the epochs already run.
FREE_OPTIONS = frozenset({"inputs", "epochs", "steps", "patience", "label"})


MAX_RESTART_PARAMETERS = 2_000_000  # of larger networks the weights of a first attempt are not kept


class TrainingState:
    """Everything that changes during a training, as variables.

    Attributes:
        epochs_done: Finished epochs.
        batches_done: Batches done of the current epoch.
        totals: float64 (terms, 3), the sums over those batches.
        history: One record per epoch.
        best_epoch: Epoch with the lowest monitored loss, 0 before the first.
        best_loss: That loss.
        num_restarts: How often the training was restarted with other weights after it had learned nothing.
        first_attempt: The content of ``history.json`` at the end of the first attempt; None without a restart.
        seconds: Training time, over all resumptions.
        num_rows: Sequences trained on, over all epochs.
    """

    def __init__(self, network: Network, optimizer: Any, num_terms: int, identity: Mapping[str, Any]) -> None:
        self._scorer, self._optimizer = network.scorer, optimizer
        self._weights = network.trainable
        self._random = [variable.value for variable in network.scorer.non_trainable_variables]
        self._best = [tf.Variable(variable) for variable in self._weights]
        small = network.num_parameters <= MAX_RESTART_PARAMETERS
        self._first = [tf.Variable(variable) for variable in self._weights] if small else []
        self._counters = tf.Variable(np.zeros(5, np.int64))
        self._numbers = tf.Variable(np.zeros(2, np.float64))
        self._totals = tf.Variable(np.zeros((num_terms, 3), np.float64))
        self._history = tf.Variable("[[], null]", dtype=tf.string)
        self.checkpoint = tf.train.Checkpoint(
            weights=self._weights,
            best=self._best,
            first=self._first,
            random=self._random,
            optimizer=[variable.value for variable in optimizer.variables],
            counters=self._counters,
            numbers=self._numbers,
            totals=self._totals,
            history=self._history,
            identity=tf.Variable(json.dumps(identity, sort_keys=True), dtype=tf.string),
        )
        self.epochs_done = self.batches_done = self.best_epoch = self.num_restarts = self.num_rows = 0
        self.best_loss, self.seconds = float("inf"), 0.0
        self.totals: NDArray[np.float64] = np.zeros((num_terms, 3))
        self.history: list[dict[str, Any]] = []
        self.first_attempt: dict[str, Any] | None = None

    def remember_best(self, loss: float) -> None:
        """Remember the current weights as the best so far."""
        self.best_epoch, self.best_loss = self.epochs_done, loss
        for best, variable in zip(self._best, self._weights, strict=True):
            best.assign(variable)

    def begin_again(self, first_attempt: dict[str, Any], weights: Sequence[Any]) -> None:
        """Restart from the first batch with other initial weights, and remember the current ones.

        Args:
            first_attempt: What to keep of the training so far.
            weights: Arrays, in the order of the network's weights.
        """
        for first, variable in zip(self._first, self._weights, strict=True):
            first.assign(variable)
        self._scorer.set_weights(weights)
        for variable in self._optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self.epochs_done = self.batches_done = self.best_epoch = 0
        self.best_loss = float("inf")
        self.totals, self.history = self.totals * 0, []
        self.num_restarts, self.first_attempt = self.num_restarts + 1, first_attempt

    def restore_first(self) -> None:
        """Load the weights of the first attempt into the network; later checkpoints keep those of the second."""
        for first, variable in zip(self._first, self._weights, strict=True):
            variable.assign(first)

    def restore_best(self) -> None:
        """Load the best weights into the network; earlier checkpoints keep the latest weights."""
        for best, variable in zip(self._best, self._weights, strict=True):
            variable.assign(best)

    def weights_are_finite(self) -> bool:
        """Return whether all weights are finite."""
        return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in self._weights)

    def pack(self) -> None:
        """Copy the Python attributes into the variables that are saved."""
        counters = [self.epochs_done, self.batches_done, self.best_epoch, self.num_restarts, self.num_rows]
        self._counters.assign(np.array(counters, np.int64))
        self._numbers.assign(np.array([self.best_loss, self.seconds]))
        self._totals.assign(self.totals)
        self._history.assign(json.dumps([self.history, self.first_attempt]))

    def unpack(self) -> None:
        """Read the Python attributes back after a restore."""
        counters = (int(count) for count in self._counters.numpy())
        self.epochs_done, self.batches_done, self.best_epoch, self.num_restarts, self.num_rows = counters
        self.best_loss, self.seconds = (float(number) for number in self._numbers.numpy())
        self.totals = self._totals.numpy()
        self.history, self.first_attempt = json.loads(self._history.numpy())


class Checkpoints:
    """The checkpoints of a run directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def exist(self) -> bool:
        """Whether there is a checkpoint, readable or not."""
        return (self._directory / _STATE).exists() or any(self._directory.glob("ckpt-*.index"))

    @property
    def latest(self) -> str | None:
        """Path of the newest complete checkpoint; None if there is none.

        Raises:
            BundleError: The file that names the newest checkpoint is damaged, or names one that does not exist.
        """
        if not self.exist:
            return None
        if not (self._directory / _STATE).exists():  # killed between the first checkpoint and the file that names it
            return str(max(self._directory.glob("ckpt-*.index"), key=_number).with_suffix(""))
        try:
            with hidden_stderr():
                found: str | None = tf.train.latest_checkpoint(str(self._directory))
        except _UNREADABLE as error:
            raise_host_fault(error)
            raise _damaged(self._directory / _STATE, type(error).__name__) from error
        if found is None:
            raise _damaged(self._directory, f"'{_STATE}' names no existing checkpoint")
        if Path(found).parent.resolve() != self._directory.resolve():
            raise _damaged(self._directory / _STATE, f"it names {found}, which is outside this run")
        return found

    def save(self, state: TrainingState) -> None:
        """Write the state as the newest checkpoint and delete all but the last two.

        Raises:
            OutputError: The directory is not writable or the disk is full.
        """
        state.pack()
        manager = tf.train.CheckpointManager(state.checkpoint, str(self._directory), max_to_keep=_KEEP)
        try:
            manager.save()
        except (OSError, tf.errors.OpError) as error:
            raise OutputError(
                f"{self._directory}: the checkpoint could not be written ({error}). Free space, or fix the "
                "permissions, then continue with --resume."
            ) from error

    def restore(self, state: TrainingState, identity: Mapping[str, Any]) -> bool:
        """Restore the newest checkpoint; return False if there is none.

        Args:
            state: The state to restore into.
            identity: Options and data of this training, to compare with those of the checkpoint.

        Raises:
            BundleError: The checkpoint is damaged.
            UsageError: It belongs to other options or other data.
        """
        path = self.latest
        if path is None:
            return False
        try:
            saved = tf.train.load_checkpoint(path).get_tensor("identity/.ATTRIBUTES/VARIABLE_VALUE")
            refuse_other_identity(json.loads(saved), identity)
            state.checkpoint.restore(path).assert_consumed()
            state.unpack()
        except _UNREADABLE as error:
            raise _damaged(
                path, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            ) from error
        return True


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("ckpt-")
    return int(digits) if digits.isdecimal() else -1


def _damaged(path: Path | str, reason: str) -> BundleError:
    return BundleError(
        f"{path}: the checkpoint cannot be read ({reason}). Train again with --overwrite, or into another --out."
    )


def refuse_other_identity(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse to resume with options or data that differ from those of the checkpoint.

    Raises:
        UsageError: Names every difference.
    """
    names = sorted((saved.keys() | identity.keys()) - FREE_OPTIONS)
    changed = [name for name in names if saved.get(name) != identity.get(name)]
    if changed:
        changes = "; ".join(
            f"{name} was {_shown(saved.get(name))} and is now {_shown(identity.get(name))}" for name in changed
        )
        raise UsageError(
            f"--resume: the run was started differently: {changes}. Pass the options and data it was started with, or "
            "train again with --overwrite or into another --out."
        )


def _shown(value: object) -> str:
    return "unset" if value is None else repr(value)
