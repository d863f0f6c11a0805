"""Embed the rows of a Spark DataFrame: `seqembed.spark.embed(frame, "encoder.onnx")`; needs the extra ``spark``."""

from seqembed.runner.tables.spark import embed

__all__ = ["embed"]
