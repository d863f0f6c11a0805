"""The errors seqembed raises on purpose, and the exit code each one ends a command with.

    SeqembedError            1  a bug, if raised directly
    ├── UsageError           2  options that are invalid or contradict each other
    ├── InputError           3  input data that cannot be read as the requested sequences
    │   ├── BadRowError      3  a row that is not a valid sequence (±inf, ragged features, null id)
    │   ├── BadFileError     3  a file that cannot be read at all (truncated, not Parquet, bit rot)
    │   └── ChangedInputError 3  a file that was rewritten while it was read
    ├── BundleError          4  a model file or contract that is damaged or does not fit the data
    ├── QualityGateError     5  a failed check of numbers (parity, golden sequences at export, NaN loss)
    │   └── DriftError       5  a run with --fail-on-drift whose rows moved too far from the training data
    ├── OutputError          6  an output that is not writable, full, or not written by seqembed
    └── HostError            6  a host without the memory, file descriptors or threads that are needed

Every message names the location, what was found, what was expected, and the remedy.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from seqembed.data.drift.drift import Drift


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
    """A row that is not a valid sequence."""


class BadFileError(InputError):
    """A file that is missing, not Parquet, truncated, encrypted or damaged."""


class ChangedInputError(InputError):
    """A file that was rewritten while it was being read."""


class BundleError(SeqembedError):
    """A model bundle, run directory or contract that is damaged, modified or of another version."""

    exit_code = 4


class QualityGateError(SeqembedError):
    """A failed check of numbers; nothing was written."""

    exit_code = 5


class DriftError(QualityGateError):
    """Rows of a run that moved too far from the training data; the parts are complete, the success marker is missing.

    Attributes:
        drift: How far each measure moved.
    """

    def __init__(self, message: str, drift: "Drift") -> None:
        super().__init__(message)
        self.drift = drift


class OutputError(SeqembedError):
    """An output location that is not writable, or holds files not written by seqembed."""

    exit_code = 6


class HostError(SeqembedError):
    """The host lacks memory, file descriptors or threads; no file and no option is at fault."""

    exit_code = 6
