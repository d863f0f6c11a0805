"""How far the rows of a run moved from the training data: measures, their thresholds, and what they say."""
