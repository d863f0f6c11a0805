"""What tests of the runner share: one warmed interpreter a session, whose children can be killed."""

from collections.abc import Iterator

import pytest

from nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Start it once."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery
