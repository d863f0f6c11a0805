"""TensorFlow and Keras, imported in the exporter by this file, and without their messages on the user's terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from seqembed.data.display.quiet import quietly
from seqembed.data.errors import UsageError


@contextmanager
def importing() -> Iterator[None]:
    """Silence imports inside the block, as in `quietly`.

    Raises:
        UsageError: A library of the ``train`` extra is not installed.
    """
    try:
        with quietly():
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
