"""The errors seqembed raises on purpose, and the exit code each one ends a command with.

    SeqembedError            1  a bug, when raised bare
    ├── UsageError           2  options that contradict each other or make no sense
    ├── InputError           3  input data that cannot be read as the sequences asked for
    │   ├── BadRowError      3  one row that is no sequence (±inf, ragged features, null id)
    │   ├── BadFileError     3  one file that cannot be read at all (truncated, not Parquet, bit rot)
    │   └── ChangedInputError 3  a file that was rewritten while it was read
    ├── BundleError          4  a model file or contract that is broken or does not fit the data
    ├── QualityGateError     5  numbers that must agree and do not (parity, golden sequences at export, NaN loss)
    ├── OutputError          6  an output that is not writable, full, or made by something else
    └── HostError            6  a host without the memory, file descriptors or threads that the work needs

Every message says where, what was found, what was expected, and the remedy.
"""

from typing import ClassVar


class SeqembedError(Exception):
    """An error with an exit code; its text is complete and meant for the user."""

    exit_code: ClassVar[int] = 1


class UsageError(SeqembedError):
    """Options that contradict each other, or a value outside its range."""

    exit_code = 2


class InputError(SeqembedError):
    """Input data that is missing, unreadable or not of the expected columns and types."""

    exit_code = 3


class BadRowError(InputError):
    """A single row that cannot be a sequence."""


class BadFileError(InputError):
    """A file that is missing, not Parquet, cut short, encrypted or damaged."""


class ChangedInputError(InputError):
    """A file that somebody rewrote while it was being read."""


class BundleError(SeqembedError):
    """A model bundle, run directory or contract that is broken, tampered with or of another version."""

    exit_code = 4


class QualityGateError(SeqembedError):
    """Numbers that had to agree and do not; nothing was written."""

    exit_code = 5


class OutputError(SeqembedError):
    """An output location that cannot take the result, or holds somebody else's."""

    exit_code = 6


class HostError(SeqembedError):
    """The host lacks memory, file descriptors or threads; no file and no option is at fault."""

    exit_code = 6
