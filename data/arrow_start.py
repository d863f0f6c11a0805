"""Keep pandas out of a process that needs Arrow alone."""

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
            raise ModuleNotFoundError("pandas is not looked for at the start of a job", name=fullname)
        return None


def settle_without_pandas() -> None:
    """Have pyarrow do without pandas in this process, unless something has imported it already.

    At its first conversion from or to Python or numpy, pyarrow imports pandas where it is installed, to know its types:
    more than a second of every night's job, for types that no part of the job makes. It asks once; here the answer is
    no. Who imports pandas later gets it, and ``to_pandas`` asks anew and works.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
