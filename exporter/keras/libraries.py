"""TensorFlow and Keras, imported here alone, and without their messages on the user's terminal.

TensorFlow writes about CUDA drivers to the process's standard error while it is imported, from C++, before any
logging level is read. A nightly log or a person at a terminal can do nothing with those lines. The other modules of
this package say ``from seqembed.exporter.keras.libraries import keras, tf``.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from seqembed.data.errors import UsageError


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere while the block runs; Python exceptions still reach the caller."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # the process was started without a standard error: there is nothing to keep clean
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextmanager
def importing() -> Iterator[None]:
    """Import quietly inside the block, on the TensorFlow backend of Keras.

    Raises:
        UsageError: A library of the ``train`` extra is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Keras would write its settings into the user's home, and read from there another precision than that of a model.
    os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
    try:
        with silent_stderr():
            yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"seqembed export needs {error.name!r}, which is not installed here. "
            "Install the training libraries with: pip install 'seqembed[train]'"
        ) from error


with importing():
    import keras
    import onnx
    import tensorflow as tf

__all__ = ["importing", "keras", "onnx", "tf"]
