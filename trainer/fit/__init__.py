"""Fitting the weights: steps, epochs, checkpoints, progress, and the check whether anything was learned."""
