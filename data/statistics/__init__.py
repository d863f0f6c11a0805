"""Counts of sequences that merge exactly: of the training data, of each part, and of a whole run."""
