"""The parts that a run would make, as it plans them: one for each input file."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from seqembed.data.files.inputs import PARQUET_SUFFIXES, InputFile
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.output.parts import PartCounts, PartKey

Action = Literal["make", "remake", "replace", "skip"]


@dataclass(frozen=True, slots=True)
class Part:
    """One file to make, or to leave alone.

    Attributes:
        file: The input.
        name: Path of the part below the output directory.
        key: What it will be made of.
        fingerprint: Of the input file, when it was planned.
        content: What the input file held then, wherever it lay.
        action: ``make`` it, ``remake`` it since its input changed, ``replace`` what other options, another model or
            another input made, or ``skip`` it.
        done: Counts of a part that is skipped.
        statistics: Of a part that is skipped, where it holds any.
        schema: Columns of the input; None for a part that is skipped.
        num_rows: Rows of the input; 0 for a part that is skipped.
        layout: How the part that is there reads its input; None where there is none.
    """

    file: InputFile
    name: str
    key: PartKey
    fingerprint: str
    content: str
    action: Action
    done: PartCounts | None = None
    schema: pa.Schema | None = None
    num_rows: int = 0
    layout: str | None = None
    statistics: Statistics | None = None


def part_name(file: InputFile) -> str:
    """Return where the part for an input file lies: under the input's own relative path, ending in .parquet."""
    return file.name if file.name.endswith(PARQUET_SUFFIXES) else f"{file.name}.parquet"
