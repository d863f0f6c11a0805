"""TensorFlow and Keras, imported in the trainer by this file, and without their messages on the user's terminal."""

from seqembed.data.display.quiet import hidden_stderr, quietly

with quietly():
    import keras
    import tensorflow as tf

__all__ = ["hidden_stderr", "keras", "tf"]
