"""Fixtures of the runner's tests: one preloaded interpreter per session, whose children can be killed."""

from collections.abc import Iterator

import pytest

from child_runner import ChildRunner


@pytest.fixture(scope="session")
def child_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildRunner]:
    """Start it once."""
    with ChildRunner(tmp_path_factory.mktemp("child_runner")) as child_runner:
        yield child_runner
