"""TensorFlow and Keras without their log lines on the user's terminal; who imports them does so inside `quietly`.

While it is imported, TensorFlow writes lines about missing GPU libraries directly to file descriptor 2, from C++,
before any logging level is read. They are irrelevant when training on a CPU, and a log or a person at a terminal can
do nothing with them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device inside the context; exceptions are raised as usual."""
    if sys.stderr is not None:
        sys.stderr.flush()
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


@contextmanager
def quietly() -> Iterator[None]:
    """Import TensorFlow, Keras and what builds on them inside, on the TensorFlow backend of Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Keras would write its settings into the user's home, and read from there another precision than that of a model.
    os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
    with hidden_stderr():
        yield
