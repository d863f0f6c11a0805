"""Which fault ends a run whose parts are reported in any order: that of the first part in the order of the inputs.

So every engine reports the fault that a local run meets, however its workers race, and a user who repairs one file
after another is led through them in order.
"""

import logging
from collections.abc import Sequence

from seqembed.data.errors import SeqembedError

logger = logging.getLogger("seqembed")


class FirstFault:
    """Holds faults back until all parts before them are reported."""

    def __init__(self, names: Sequence[str]) -> None:
        """Begin without a fault; `names` are those of the parts, in the order of the inputs."""
        self._names, self._reported, self._num_before = names, set[str](), 0
        self._faults: dict[str, SeqembedError] = {}

    @property
    def is_none(self) -> bool:
        """Whether no fault was reported so far; once there is one, no further part needs to be begun."""
        return not self._faults

    def add(self, name: str, fault: SeqembedError | None) -> None:
        """Add the report of a part.

        Raises:
            SeqembedError: The first fault, as soon as all parts before it are reported.
        """
        self._reported.add(name)
        if fault is not None:
            self._faults[name] = fault
        while self._num_before < len(self._names) and self._names[self._num_before] in self._reported:
            first = self._faults.get(self._names[self._num_before])
            if first is not None:
                raise first
            self._num_before += 1
        if fault is not None:
            logger.info("%s failed; parts before it are still being made", name)

    def raise_first(self) -> None:
        """Raise the first fault that was reported, once no more reports come.

        Raises:
            SeqembedError: There is one.
        """
        for name in self._names:
            if name in self._faults:
                raise self._faults[name]
