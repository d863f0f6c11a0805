"""Parts of an output directory: one Parquet file per input file, or slice of one, or bucket of grouped events.

The footer of each records its origin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from seqembed.data.errors import SeqembedError
from seqembed.data.files.inputs import TableVersion
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.output.event_counts import EventCounts

FOOTER_KEY = b"seqembed.part"


@dataclass(frozen=True, slots=True)
class PartKey:
    """Hashes of everything that determines a part; equal keys mean equal bytes.

    Attributes:
        input_fingerprint: sha256 of the input file's size, times and footer; for a slice of the file also of its row
            groups, with --limit also of previous parts.
        model_sha256: sha256 of the bundle.
        options_hash: sha256 of the options that change the result.
    """

    input_fingerprint: str
    model_sha256: str
    options_hash: str


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Numbers of rows and steps of a part; each sequence is either embedded, null or quarantined.

    Attributes:
        unknown_steps: Steps whose category is not in the vocabulary, by categorical field; empty for a model without
            fields.
    """

    rows_in: int = 0
    rows_embedded: int = 0
    rows_null: int = 0
    rows_quarantined: int = 0
    rows_truncated: int = 0
    steps: int = 0
    padded_steps: int = 0
    unknown_steps: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "PartCounts") -> "PartCounts":
        """Return the sum of each count."""
        mine, theirs = asdict(self), asdict(other)
        ours, others = mine.pop("unknown_steps"), theirs.pop("unknown_steps")
        unknown = {name: ours.get(name, 0) + others.get(name, 0) for name in {**ours, **others}}
        return PartCounts(**{name: mine[name] + theirs[name] for name in mine}, unknown_steps=unknown)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; unknown categories only if there are fields."""
        value = asdict(self)
        return value if self.unknown_steps else {name: value[name] for name in value if name != "unknown_steps"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            ValueError: The rows do not add up.
            KeyError, TypeError, AttributeError: `value` is not a result of `to_json`.
        """
        numbers = dict(value)
        unknown = {_text(name): _count(count) for name, count in numbers.pop("unknown_steps", {}).items()}
        counts = cls(**{name: _count(count) for name, count in numbers.items()}, unknown_steps=unknown)
        if not counts.add_up:
            raise ValueError(f"rows do not add up: {counts}")
        return counts

    @property
    def rows_out(self) -> int:
        """Rows of the part."""
        return self.rows_in - self.rows_quarantined

    @property
    def add_up(self) -> bool:
        """Return whether every row is accounted for exactly once."""
        return self.rows_in == self.rows_embedded + self.rows_null + self.rows_quarantined

    def check(self, name: str) -> None:
        """Check that every row is accounted for.

        Raises:
            SeqembedError: Rows in and rows out do not add up; the part must not be published.
        """
        if not self.add_up:
            raise SeqembedError(f"{name}: rows do not add up: {self}. The part was not published.")


# Names of the counts, to read totals from JSON with other entries, such as the success marker.
COUNTED = tuple(field.name for field in fields(PartCounts))


@dataclass(frozen=True, slots=True)
class PartFooter:
    """Metadata in the footer of a finished part.

    Attributes:
        key: Hashes of its input, model and options.
        counts: Its rows.
        input: Location of the input file (`InputFile.location`).
        input_content: Fingerprint of the content of the file, independent of its path.
        options: The options that change the result, by name, for messages.
        columns: Its columns, in order.
        layout: Layout of the input.
        statistics: Statistics of its valid rows; None if the model's contract defines none.
        events: What a bucket of grouped events holds, whose `counts` count its ids; None for vectors.
        row_groups: First row group of the input that the part holds, end of those, and number of all; None for the
            complete file.
        table: The version of the table that listed the input when the part was made; None for plain Parquet.
    """

    key: PartKey
    counts: PartCounts
    input: str
    input_content: str
    options: Mapping[str, Any]
    columns: tuple[str, ...]
    layout: str
    statistics: Statistics | None = None
    events: EventCounts | None = None
    row_groups: tuple[int, int, int] | None = None
    table: TableVersion | None = None

    def to_json(self) -> str:
        """Return the footer's text."""
        events = {} if self.events is None else {"events": self.events.to_json()}
        return json.dumps(
            {
                **asdict(self.key),
                "input": self.input,
                "input_content": self.input_content,
                "options": dict(self.options),
                "columns": list(self.columns),
                "layout": self.layout,
                "counts": self.counts.to_json(),
                "statistics": None if self.statistics is None else self.statistics.to_json(),
                **events,
                **({} if self.row_groups is None else {"row_groups": list(self.row_groups)}),
                **({} if self.table is None else {"table": asdict(self.table)}),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Rebuild from `to_json`.

        Raises:
            ValueError: The text is not a result of `to_json`, or its rows do not add up.
        """
        try:
            value = json.loads(text)
            key = PartKey(*(_text(value[name]) for name in PartKey.__slots__))
            counts = PartCounts.from_json(value["counts"])
            source = _text(value["input"]), _text(value["input_content"])
            statistics = None if value["statistics"] is None else Statistics.from_json(value["statistics"])
            if statistics is not None and statistics.number("sequences") != counts.rows_embedded:
                raise ValueError("the statistics are not those of its rows")
            return cls(
                key,
                counts,
                *source,
                dict(value["options"]),
                tuple(map(_text, value["columns"])),
                _text(value["layout"]),
                statistics,
                EventCounts.from_json(value["events"]) if "events" in value else None,
                _row_groups(value["row_groups"]) if "row_groups" in value else None,
                _table(value["table"]) if "table" in value else None,
            )
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"not a part's footer ({type(error).__name__}: {error})") from error

    def fits(self, num_rows: int, columns: Sequence[str]) -> bool:
        """Return whether a file with these rows and columns matches the footer."""
        return (num_rows, tuple(columns)) == (self.counts.rows_out, self.columns)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _table(value: Any) -> TableVersion:
    return TableVersion(_text(value["kind"]), _text(value["root"]), _count(value["version"]))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r:.40} is not a count")
    return value


def _row_groups(value: Any) -> tuple[int, int, int]:
    start, end, num = map(_count, value)
    return start, end, num


@dataclass(frozen=True, slots=True)
class Ledger:
    """The files of an output directory by state.

    Attributes:
        parts: Footer of each finished part, by name.
        outdated: Names of files written by seqembed that are not finished parts: damaged, or changed since.
        others: Names of files that seqembed did not write.
    """

    parts: dict[str, PartFooter]
    outdated: frozenset[str]
    others: frozenset[str]
