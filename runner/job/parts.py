"""The parts that a run plans: one per input file, or several of a large one."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from seqembed.data.files.inputs import PARQUET_SUFFIXES, InputFile
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.output.parts import PartCounts, PartKey

Action = Literal["make", "remake", "replace", "skip", "leave"]


@dataclass(frozen=True, slots=True)
class Part:
    """An output file to make or to skip.

    Attributes:
        file: The input.
        name: Path of the part, relative to the output directory.
        key: Fingerprints of everything that determines its content.
        fingerprint: Fingerprint of the input file when the run was planned.
        content: Fingerprint of the input's content then, independent of its path.
        action: ``make`` it, ``remake`` it since its input changed, ``replace`` a part of other options, another model
            or another input, ``skip`` it, or ``leave`` it, since it is finished and outside the slice of ``--only``.
        done: Counts of a part that is skipped or left.
        statistics: Statistics of a part that is skipped or left, if it holds any.
        schema: Columns of the input; None for a part that is skipped or left.
        num_rows: Its rows of the input; 0 for a part that is skipped or left.
        layout: Layout of the input of an existing part; None if there is none.
        row_groups: Row groups of the input that it holds; None for the complete file.
        num_row_groups: Row groups of the input, if `row_groups` is not None.
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
    row_groups: range | None = None
    num_row_groups: int = 0


def part_name(file: InputFile) -> str:
    """Return the path of the part for an input file: its relative path, ending in .parquet."""
    return file.name if file.name.endswith(PARQUET_SUFFIXES) else f"{file.name}.parquet"
