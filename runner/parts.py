"""Parts of an output directory: one Parquet file for each input file, whose footer says what made it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import pyarrow as pa

from data.arrow import plain_type
from data.contract import ModelContract
from data.errors import InputError, SeqembedError
from data.inputs import PARQUET_SUFFIXES, InputFile
from runner.options import RunOptions

FOOTER_KEY = b"seqembed.part"
Action = Literal["make", "remake", "replace", "skip"]


@dataclass(frozen=True, slots=True)
class PartKey:
    """What made a part; equal keys mean equal bytes.

    Attributes:
        input_fingerprint: sha256 of the input file's size, times and footer; under --limit also of the files before.
        model_sha256: sha256 of the bundle.
        options_hash: sha256 of the options that change the result.
    """

    input_fingerprint: str
    model_sha256: str
    options_hash: str


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Rows and steps of a part; each sequence is exactly one of embedded, null and quarantined.

    Attributes:
        unknown_steps: Steps whose category is not in the vocabulary, by the name of each categorical field; empty for a
            model without any.
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
        """Add up, count by count."""
        mine, theirs = asdict(self), asdict(other)
        ours, others = mine.pop("unknown_steps"), theirs.pop("unknown_steps")
        unknown = {name: ours.get(name, 0) + others.get(name, 0) for name in {**ours, **others}}
        return PartCounts(**{name: mine[name] + theirs[name] for name in mine}, unknown_steps=unknown)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; unknown categories only where there are fields."""
        value = asdict(self)
        return value if self.unknown_steps else {name: value[name] for name in value if name != "unknown_steps"}

    def check(self, name: str) -> None:
        """Check that every row is accounted for.

        Raises:
            SeqembedError: Rows in and rows out do not add up; the part must not be published.
        """
        if self.rows_in != self.rows_embedded + self.rows_null + self.rows_quarantined:
            raise SeqembedError(f"{name}: rows do not add up: {self}. The part was not published.")


@dataclass(frozen=True, slots=True)
class PartFooter:
    """What a finished part says of itself."""

    key: PartKey
    counts: PartCounts

    def to_json(self) -> str:
        """Return the footer's text."""
        return json.dumps({**asdict(self.key), **self.counts.to_json()})

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> Self | None:
        """Read a Parquet file's key-value metadata; None where no seqembed run made the file."""
        text = (metadata or {}).get(FOOTER_KEY)
        if text is None:
            return None
        value: dict[str, Any] = json.loads(text)
        key = PartKey(*(value.pop(name) for name in PartKey.__slots__))
        return cls(key, PartCounts(**value))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the Parquet files of an output directory say of themselves.

    Attributes:
        parts: Footer of each finished part, by name.
        foreign: Names of whole Parquet files that no seqembed run made.
    """

    parts: dict[str, PartFooter]
    foreign: frozenset[str]


@dataclass(frozen=True, slots=True)
class Part:
    """One file to make, or to leave alone.

    Attributes:
        file: The input.
        name: Path of the part below the output directory.
        key: What it will be made of.
        fingerprint: Of the input file, when it was planned.
        action: ``make`` it, ``remake`` it since its input changed, ``replace`` what other options or another model
            made, or ``skip`` it.
        done: Counts of a part that is skipped.
    """

    file: InputFile
    name: str
    key: PartKey
    fingerprint: str
    action: Action
    done: PartCounts | None = None


def part_name(file: InputFile) -> str:
    """Return where the part for an input file lies: under the input's own relative path, ending in .parquet."""
    return file.name if file.name.endswith(PARQUET_SUFFIXES) else f"{file.name}.parquet"


def output_schema(arrow_schema: pa.Schema, file: InputFile, contract: ModelContract, options: RunOptions) -> pa.Schema:
    """Return the columns of a part: id, kept columns, ``embedding`` as a list of fixed size, and ``error``.

    Ids and kept columns have the plain types that they are read in (`data.arrow.plain_type`).

    Raises:
        InputError: The id or a kept column is called like one of the columns that are added.
    """
    added = ("embedding", "error") if options.on_bad_row == "null" else ("embedding",)
    for name in (contract.schema.id, *options.keep):
        if name in added:
            raise InputError(
                f"{file.name}: column '{name}' is the {'id' if name == contract.schema.id else 'kept'} column; the "
                f"output has a column '{name}' of its own"
                + (" with --on-bad-row null" if name == "error" else "")
                + ". Rename the column"
                + (" in the training data too, and train again." if name == contract.schema.id else ".")
            )
    fields = [pa.field(contract.schema.id, plain_type(arrow_schema.field(contract.schema.id).type))]
    for name in options.keep:
        kind = pa.string() if name in file.partitions else plain_type(arrow_schema.field(name).type)
        fields.append(pa.field(name, kind))
    number = pa.float16() if options.dtype == "float16" else pa.float32()
    fields.append(pa.field("embedding", pa.list_(pa.field("element", number), contract.embedding_dim)))
    if options.on_bad_row == "null":
        fields.append(pa.field("error", pa.string()))
    return pa.schema(fields)
