"""Import TensorFlow and Keras without their messages on the terminal; the only module that imports them.

During its import TensorFlow's C++ code writes about CUDA drivers to standard error before it reads any logging level;
those lines are useless in a log. Other modules use ``from seqembed.exporter.keras.libraries import keras, tf``.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from seqembed.data.errors import UsageError


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device while the block runs; exceptions still reach the caller."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # the process has no standard error
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
    """Silence imports inside the block, and select the TensorFlow backend of Keras.

    Raises:
        UsageError: A library of the ``train`` extra is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Otherwise Keras writes settings to the user's home, and reads from there a default precision unlike the model's.
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
