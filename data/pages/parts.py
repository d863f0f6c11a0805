"""The parts that every page has: alerts on top, figures beside what was expected, and a list of sections."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Alert:
    """What a reader should see first.

    Attributes:
        name: In a word or two.
        text: What was found, and what to do.
        level: A ``warning``, or a ``note`` that needs no action.
    """

    name: str
    text: str
    level: Literal["warning", "note"] = "warning"


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure in large type.

    Attributes:
        name: What it is.
        value: The figure.
        beside: What was expected, or what to compare it with.
    """

    name: str
    value: str
    beside: str


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the list of sections.

    Attributes:
        id: Anchor.
        name: Heading.
    """

    id: str
    name: str
