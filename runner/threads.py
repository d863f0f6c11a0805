"""Map a function in threads: reading thousands of footers waits for storage, not for the processor."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_READERS = 8


def in_threads(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return `work(item)` for every item, in order; the first error is raised."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="footer") as pool:
        return list(pool.map(work, items))
