"""Embed tables in memory: the encoder returned by `seqembed.load`, and its sources."""
