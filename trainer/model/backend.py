"""The only import of TensorFlow and Keras, without their log lines; the rest of the trainer imports them from here.

While it is imported, TensorFlow writes lines about missing GPU libraries directly to file descriptor 2, whatever
``TF_CPP_MIN_LOG_LEVEL`` says. They are irrelevant when training on a CPU, so the descriptor is redirected during the
import. A failing import still raises as usual.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device inside the context."""
    try:
        saved = os.dup(2)
    except OSError:  # a daemon may have closed it
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


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
# Keras would write its settings into the user's home directory, and read its precision from there.
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
with hidden_stderr():
    import keras
    import tensorflow as tf

__all__ = ["hidden_stderr", "keras", "tf"]
