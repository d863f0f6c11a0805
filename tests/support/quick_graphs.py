"""Settings that make small graphs cheaper to run and to convert."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from seqembed.trainer.model.backend import tf


@contextmanager
def quick_graphs() -> Iterator[None]:
    """Run TensorFlow's graphs as they were traced, and convert them without a copy before each step.

    Optimising a graph costs more than the few batches of a test gain: a fifth of a tiny training, two fifths of a tiny
    export. tf2onnx copies a graph before each of its optimisations, to go on where one fails; here that is an error.
    The complete job, and commands in processes of their own, run as users run them.
    """
    options = tf.config.optimizer.set_experimental_options
    options({"disable_meta_optimizer": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF2ONNX_CATCH_ERRORS", "FALSE")
        try:
            yield
        finally:
            options({"disable_meta_optimizer": False})
