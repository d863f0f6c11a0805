"""Group events that are spread over files into one row per id: scan, partition, sort, publish."""
