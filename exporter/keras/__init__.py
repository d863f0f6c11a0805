"""Keras models: what can be exported, and how their layers are prepared for the conversion."""
