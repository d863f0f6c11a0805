"""Checks of an exported graph: parity with Keras, accuracy of int8, and golden sequences."""
