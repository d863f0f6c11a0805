"""The gates of an export: parity with Keras, the int8 gate and the golden sequences."""
