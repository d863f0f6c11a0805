"""Prevent pyarrow from importing pandas in a process that does not need it."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is hidden while pyarrow starts", name=fullname)
        return None


def settle_without_pandas() -> None:
    """Let pyarrow decide that there is no pandas in this process, unless it is already imported.

    At its first conversion from or to Python or numpy, pyarrow imports pandas if it is installed, to recognise its
    types. That takes more than a second of every run, for types that the job never uses. pyarrow tries only once, and
    here the import fails. A later import of pandas works as usual, and so does ``to_pandas``, which tries again.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
