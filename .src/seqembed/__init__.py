"""Variable-length sequences to fixed-length vectors.

The folders of the repository are the subpackages: `seqembed.data`, `seqembed.runner`, `seqembed.trainer` and
`seqembed.exporter`. What is imported here is imported by every command, so this file imports nothing heavy.
"""
