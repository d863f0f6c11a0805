"""Fixtures of all tests: one tiny model, trained and exported once per session by the real commands."""

import pytest
from hypothesis import settings

from seqembed_testing import Tiny, done, sequences, write_sequences

# Tests run on shared, noisy machines: a slow example is not a failure.
settings.register_profile("seqembed", deadline=None)
settings.load_profile("seqembed")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train and export once."""
    root = tmp_path_factory.mktemp("tiny")
    data = write_sequences(root / "train.parquet", sequences(120, seed=0))
    layers = ["--cell", "gru", "--units", 8, "--embedding-dim", 6, "--pooling", "concat", "--bidirectional"]
    done("train", data, "--out", root / "run", "--epochs", 2, "--features", "x,y", *layers)
    done("export", root / "run", "--out", root / "encoder.onnx")
    return Tiny(data, root / "run", root / "encoder.onnx")
