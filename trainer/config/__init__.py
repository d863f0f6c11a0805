"""The options of a training, and how those that are unset are chosen from the data."""
