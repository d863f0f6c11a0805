"""Evaluate embeddings on labelled data and compare them with those of an untrained encoder; needs no TensorFlow."""
