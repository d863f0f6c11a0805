"""Where sequences become vectors and parts: decoding, embedding and writing overlap (pipeline.py, make.py)."""
