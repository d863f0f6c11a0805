"""Embed sequences and write parts; decoding, embedding and writing overlap (pipeline.py, make.py)."""
