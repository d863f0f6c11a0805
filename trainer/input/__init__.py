"""The data of a training: checked, learned from, split and streamed in batches."""
