"""What a bucket of grouped events holds; counts of buckets add up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Self

Instant = tuple[str, str]


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Events and ids of one or several buckets.

    Attributes:
        events: Events that were grouped, before any was dropped.
        duplicates: Events dropped since a later one agrees with them.
        truncated: Events dropped since their id has more than the maximum.
        ids: Rows, one per id.
        truncated_ids: Ids that lost events to the maximum.
        shortest: Events of the shortest row; 0 without ids.
        longest: Events of the longest row.
        first: First time, as a number and as text; None without ids.
        last: Last time.
        varying: Ids with several values of a kept column, by column.
    """

    events: int = 0
    duplicates: int = 0
    truncated: int = 0
    ids: int = 0
    truncated_ids: int = 0
    shortest: int = 0
    longest: int = 0
    first: Instant | None = None
    last: Instant | None = None
    varying: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "EventCounts") -> "EventCounts":
        """Return the counts of both."""
        firsts = [found for found in (self.first, other.first) if found is not None]
        lasts = [found for found in (self.last, other.last) if found is not None]
        names = {**self.varying, **other.varying}
        return EventCounts(
            self.events + other.events,
            self.duplicates + other.duplicates,
            self.truncated + other.truncated,
            self.ids + other.ids,
            self.truncated_ids + other.truncated_ids,
            min((counts.shortest for counts in (self, other) if counts.ids), default=0),
            max(self.longest, other.longest),
            min(firsts, key=_number, default=None),
            max(lasts, key=_number, default=None),
            {name: self.varying.get(name, 0) + other.varying.get(name, 0) for name in names},
        )

    @property
    def events_out(self) -> int:
        """Events in the rows."""
        return self.events - self.duplicates - self.truncated

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            TypeError, ValueError, KeyError: `value` is not a result of `to_json`.
        """
        numbers = dict(value)
        first, last = (_instant(numbers.pop(name)) for name in ("first", "last"))
        varying = {str(name): _count(count) for name, count in dict(numbers.pop("varying")).items()}
        counts = cls(
            **{name: _count(count) for name, count in numbers.items()}, first=first, last=last, varying=varying
        )
        if counts.events_out < counts.ids:
            raise ValueError(f"events do not add up: {counts}")
        return counts


def _number(instant: Instant) -> Decimal:
    return Decimal(instant[0])


def _instant(value: Any) -> Instant | None:
    if value is None:
        return None
    number, text = value
    return str(Decimal(number)), str(text)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r:.40} is not a count")
    return value
