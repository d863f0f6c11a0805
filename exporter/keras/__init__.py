"""Load Keras models, check that they can be exported, and prepare their layers for the conversion."""
