"""TensorFlow and Keras, imported here once and quietly; every other file of the trainer takes them from here.

TensorFlow writes lines about missing GPU libraries straight to file descriptor 2 while it is imported, whatever
``TF_CPP_MIN_LOG_LEVEL`` says. They are no news to somebody who trains on a CPU, so the descriptor points elsewhere
for the length of the import. An import that fails still raises as usual.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere inside the block, and give it back afterwards."""
    try:
        saved = os.dup(2)
    except OSError:  # a daemon may have closed it: then there is nothing to hide
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
# Keras would write its settings into the user's home, and take its precision from there.
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
with hidden_stderr():
    import keras
    import tensorflow as tf

__all__ = ["hidden_stderr", "keras", "tf"]
