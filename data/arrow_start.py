"""Prevent pyarrow from importing pandas in a process that does not need it."""

import pyarrow as pa

from seqembed.data.hidden_imports import hidden


def settle_without_pandas() -> None:
    """Let pyarrow decide that there is no pandas in this process, unless it is already imported.

    At its first conversion from or to Python or numpy, pyarrow imports pandas if it is installed, to recognise its
    types. That takes more than a second of every run, for types that the job never uses. pyarrow tries only once, and
    here the import fails. A later import of pandas works as usual, and so does ``to_pandas``, which tries again.
    """
    with hidden("pandas"):
        pa.array([0])
