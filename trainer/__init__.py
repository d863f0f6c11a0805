"""seqembed."""
