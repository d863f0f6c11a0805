"""All that a training is at one moment, saved as one: weights, optimizer, best weights, place, history, identity.

A checkpoint is one `tf.train.Checkpoint`, so no kill can leave weights of one moment beside a history of another.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError, OutputError, UsageError
from seqembed.data.host import raise_host_fault
from seqembed.trainer.backend import hidden_stderr, tf
from seqembed.trainer.network import Network

_KEEP = 2
_STATE = "checkpoint"  # the file in which TensorFlow names the newest checkpoint
# What reading a damaged checkpoint was seen to raise: TensorFlow's errors, and those of the JSON inside.
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
# What may differ between a training and its resumption: nothing that shapes the weights of the epochs already run.
FREE_OPTIONS = frozenset({"inputs", "epochs", "steps", "patience", "label"})


class TrainingState:
    """The moving parts of a training, as variables.

    Attributes:
        epochs_done: Finished epochs.
        batches_done: Batches taken inside the epoch that runs.
        totals: float64 (parts, 3): the sums of those batches.
        history: One record an epoch.
        best_epoch: Epoch with the lowest watched loss, 0 before the first.
        best_loss: That loss.
        num_restarts: How often the training began again from other weights, after it had learned nothing.
        first_attempt: What ``history.json`` keeps of the training before that; None without one.
        seconds: Time spent in training, over all resumptions.
        num_rows: Sequences learned from, over all epochs.
    """

    def __init__(self, network: Network, optimizer: Any, num_parts: int, identity: Mapping[str, Any]) -> None:
        self._scorer, self._optimizer = network.scorer, optimizer
        self._weights = network.trainable
        self._random = [variable.value for variable in network.scorer.non_trainable_variables]
        self._best = [tf.Variable(variable) for variable in self._weights]
        self._place = tf.Variable(np.zeros(5, np.int64))
        self._numbers = tf.Variable(np.zeros(2, np.float64))
        self._totals = tf.Variable(np.zeros((num_parts, 3), np.float64))
        self._history = tf.Variable("[[], null]", dtype=tf.string)
        self.checkpoint = tf.train.Checkpoint(
            weights=self._weights,
            best=self._best,
            random=self._random,
            optimizer=[variable.value for variable in optimizer.variables],
            place=self._place,
            numbers=self._numbers,
            totals=self._totals,
            history=self._history,
            identity=tf.Variable(json.dumps(identity, sort_keys=True), dtype=tf.string),
        )
        self.epochs_done = self.batches_done = self.best_epoch = self.num_restarts = self.num_rows = 0
        self.best_loss, self.seconds = float("inf"), 0.0
        self.totals: NDArray[np.float64] = np.zeros((num_parts, 3))
        self.history: list[dict[str, Any]] = []
        self.first_attempt: dict[str, Any] | None = None

    def remember_best(self, loss: float) -> None:
        """Take the present weights for the best so far."""
        self.best_epoch, self.best_loss = self.epochs_done, loss
        for best, variable in zip(self._best, self._weights, strict=True):
            best.assign(variable)

    def begin_again(self, first_attempt: dict[str, Any], weights: Sequence[Any]) -> None:
        """Forget what was learned and go back to the first batch, with other weights.

        Args:
            first_attempt: What is to be kept of the training so far.
            weights: Arrays, in the order of the network's weights.
        """
        self._scorer.set_weights(weights)
        for variable in self._optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self.epochs_done = self.batches_done = self.best_epoch = 0
        self.best_loss = float("inf")
        self.totals, self.history = self.totals * 0, []
        self.num_restarts, self.first_attempt = self.num_restarts + 1, first_attempt

    def restore_best(self) -> None:
        """Put the best weights into the network; checkpoints written before keep the latest ones."""
        for best, variable in zip(self._best, self._weights, strict=True):
            variable.assign(best)

    def weights_are_finite(self) -> bool:
        """Say whether every weight is a number."""
        return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in self._weights)

    def pack(self) -> None:
        """Copy the plain attributes into the variables that are saved."""
        place = [self.epochs_done, self.batches_done, self.best_epoch, self.num_restarts, self.num_rows]
        self._place.assign(np.array(place, np.int64))
        self._numbers.assign(np.array([self.best_loss, self.seconds]))
        self._totals.assign(self.totals)
        self._history.assign(json.dumps([self.history, self.first_attempt]))

    def unpack(self) -> None:
        """Read the plain attributes back after a restore."""
        places = (int(place) for place in self._place.numpy())
        self.epochs_done, self.batches_done, self.best_epoch, self.num_restarts, self.num_rows = places
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
        """Where the newest complete checkpoint lies, None where none was completed.

        Raises:
            BundleError: What names the newest checkpoint is damaged, or names one that is not there.
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
            raise _damaged(self._directory, f"'{_STATE}' names no checkpoint that is there")
        if Path(found).parent.resolve() != self._directory.resolve():
            raise _damaged(self._directory / _STATE, f"it names {found}, which lies outside this run")
        return found

    def save(self, state: TrainingState) -> None:
        """Write the state as the newest checkpoint and drop all but the last two.

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
                "permissions, then go on with --resume."
            ) from error

    def restore(self, state: TrainingState, identity: Mapping[str, Any]) -> bool:
        """Bring the state to the newest checkpoint; return False where there is none.

        Args:
            state: A state of the same options.
            identity: Options and data of this training, to be held against those of the checkpoint.

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


def _damaged(place: Path | str, reason: str) -> BundleError:
    return BundleError(
        f"{place}: the checkpoint cannot be read ({reason}). Train anew with --overwrite, or into another --out."
    )


def refuse_other_identity(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse to resume with other options or data than those a checkpoint was made with.

    Raises:
        UsageError: Names every difference.
    """
    names = sorted((saved.keys() | identity.keys()) - FREE_OPTIONS)
    changed = [name for name in names if saved.get(name) != identity.get(name)]
    if changed:
        told = "; ".join(f"{name} was {saved.get(name)!r} and is now {identity.get(name)!r}" for name in changed)
        raise UsageError(
            f"--resume: the run was started differently: {told}. Give the options and data it was started with, or "
            "train anew with --overwrite or into another --out."
        )
