"""Embed the rows of a Ray Dataset: `seqembed.ray.embed(dataset, "encoder.onnx")`; needs the extra ``ray``."""

from seqembed.runner.tables.ray import embed

__all__ = ["embed"]
