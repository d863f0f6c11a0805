"""Fixtures of the runner's tests: one preloaded interpreter per session, whose children can be killed."""

from collections.abc import Iterator

import pytest
from s3_testing import ports, store

from child_runner import ChildRunner

__all__ = ["child_runner", "ports", "store"]


@pytest.fixture(scope="session")
def child_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildRunner]:
    """Start it once."""
    with ChildRunner(tmp_path_factory.mktemp("child_runner")) as child_runner:
        yield child_runner
