"""TensorFlow and Keras without their log lines on the user's terminal; who imports them does so inside `quietly`.

While it is imported, TensorFlow writes lines about missing GPU libraries directly to file descriptor 2, from C++,
before any logging level is read. They are irrelevant when training on a CPU, and a log or a person at a terminal can
do nothing with them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from seqembed.data.hidden_imports import hidden

# Keras imports them where they are installed: for scikit-learn's interface, tables of pandas and galleries of images.
_OF_KERAS = ("matplotlib", "pandas", "scipy", "sklearn")
_hidden: list[str] = []


def hide_unused_libraries() -> None:
    """Let Keras start without libraries that no command uses through it: two seconds of processor time instead of 3.4.

    For a process that runs a command, which may still import them itself. In a process of the user, Keras would go on
    without them.
    """
    _hidden[:] = _OF_KERAS


@contextmanager
def stderr_in(path: str | os.PathLike[str]) -> Iterator[None]:
    """Append to a file what this process and those it starts inside write to descriptor 2; exceptions pass."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # a daemon may have closed it
        yield
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.dup2(file, 2)
        finally:
            os.close(file)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def hidden_stderr() -> AbstractContextManager[None]:
    """Redirect descriptor 2 to the null device inside the context."""
    return stderr_in(os.devnull)


@contextmanager
def quietly() -> Iterator[None]:
    """Import TensorFlow, Keras and what builds on them inside, on the TensorFlow backend of Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Keras would write its settings into the user's home, and read from there another precision than that of a model.
    os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
    with hidden_stderr(), hidden(*_hidden):
        yield
