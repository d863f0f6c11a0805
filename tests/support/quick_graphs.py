"""Settings that make small graphs cheaper to run and to convert."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from seqembed.trainer.model.backend import tf


@contextmanager
def quick_graphs() -> Iterator[None]:
    """Run TensorFlow's graphs as they were traced, and convert them without a copy before each step.

    Optimising a graph costs more than the few batches of a test gain: a fifth of a tiny training, two fifths of a tiny
    export. tf2onnx copies a graph before each of its optimisations, to go on where one fails; here that is an error.
    The complete job, and commands in processes of their own, run as users run them.
    """
    with pytest.MonkeyPatch.context() as patch, _optimised(False):
        patch.setenv("TF2ONNX_CATCH_ERRORS", "FALSE")
        yield


def optimised_graphs() -> AbstractContextManager[None]:
    """Run TensorFlow's graphs as users do, where weights are compared to the last bit with those of another process."""
    return _optimised(True)


@contextmanager
def _optimised(wanted: bool) -> Iterator[None]:
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


class _Untraced:
    """TensorFlow, but for `tf.function`, which returns the function as it is."""

    def function(self, function: Any, **options: Any) -> Any:
        return function

    def __getattr__(self, name: str) -> Any:
        return getattr(tf, name)


@contextmanager
def untraced_steps() -> Iterator[None]:
    """Run the steps of a training without tracing them, which costs more than the first dozen batches gain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqembed.trainer.fit.steps.tf", _Untraced())
        yield
