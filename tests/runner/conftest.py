"""Fixtures of the runner's tests: one preloaded interpreter per session, whose children can be killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_testing import ports, store

from child_runner import ChildRunner
from seqembed_testing import Tiny, done, shared_directory

__all__ = ["child_runner", "ports", "store"]


@pytest.fixture(scope="session")
def child_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildRunner]:
    """Start it once."""
    with ChildRunner(tmp_path_factory.mktemp("child_runner")) as child_runner:
        yield child_runner


@pytest.fixture(scope="session")
def scored(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with its decoder."""
    with shared_directory(tmp_path_factory, "scored") as directory:
        bundle = directory / "encoder.onnx"
        if not bundle.exists():
            done("export", tiny.run, "--out", bundle, "--with-decoder")
    return bundle
