"""Make one part: read, embed, write, account for every row, and notice an input that changed meanwhile."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.census import IdCensus
from data.contract import ModelContract
from data.errors import BadFileError, ChangedInputError, InputError, UsageError
from data.fingerprints import fingerprint
from data.hashing import hash_ids
from data.inputs import InputFile, OpenedFile
from data.reader import read_blocks
from data.sequences import SequenceBlock
from data.vocabulary import UNKNOWN_ID
from runner.engines.finite import refuse_not_finite
from runner.engines.pipeline import EmbeddedWindow, LocalEngine
from runner.options import RunOptions
from runner.output.badrows import (
    QUARANTINE,
    kind_of_reason,
    quarantine_rows,
    quarantine_schema,
    refuse,
    refuse_too_many,
)
from runner.output.directory import OutputDirectory
from runner.output.parts import Part, PartCounts, PartFooter, output_schema
from runner.output.writer import PartWriter
from runner.progress import ProgressView


class PartMaker:
    """Makes parts with one engine into one output directory; they are staged, and published by whoever asked.

    Attributes:
        ids: Counts the ids that several rows of the nested layout share.
        reasons: How many rows were bad for which reason.
        quarantined: Names of the quarantine files, below the output directory.
    """

    def __init__(
        self, contract: ModelContract, options: RunOptions, output: OutputDirectory, engine: LocalEngine
    ) -> None:
        """Keep what every part needs."""
        self._contract, self._options, self._output, self._engine = contract, options, output, engine
        self.ids = IdCensus()
        self.reasons: Counter[str] = Counter()
        self.quarantined: list[str] = []

    def make(
        self, part: Part, progress: ProgressView, limit: int | None, opened: OpenedFile | None = None
    ) -> PartCounts:
        """Embed one input file and stage its part, and its quarantined rows beside it.

        Args:
            part: What to make.
            progress: Sees rows go by.
            limit: Most sequences; None embeds all.
            opened: The input, where it is open already.

        Raises:
            BadRowError: A row is no sequence and the options say ``fail``, or too many are.
            BadFileError: The file cannot be read.
            ChangedInputError: The file is not the one that was planned any more.
            OutputError: The output cannot be written.
        """
        try:
            return self._stage(part, progress, limit, opened or part.file.open())
        except InputError:
            self._refuse_changed(part)  # what looks like a bad row or file may be one that is being rewritten
            raise

    def _stage(self, part: Part, progress: ProgressView, limit: int | None, opened: OpenedFile) -> PartCounts:
        contract, options = self._contract, self._options
        schema = output_schema(opened.schema_arrow, part.file, contract, options)
        blocks = read_blocks(part.file, contract.schema, contract.length_policy, options.keep, limit, opened)
        if options.on_bad_row == "fail":
            blocks = _good_rows(blocks, part.file)
        counts, num_bad = PartCounts(), 0
        with ExitStack() as stack:
            writer = stack.enter_context(self._output.stage(part.name, schema))
            quarantine: PartWriter | None = None
            first_row = 0
            for embedded in self._engine.embed(blocks):
                window = refuse_not_finite(embedded, part.file, contract.schema, options.keep, first_row)
                first_row += window.block.num_rows
                bad = window.block.bad
                if bad and options.on_bad_row == "fail":
                    refuse(part.file, bad[0][1])
                num_bad += len(bad)
                self.reasons.update(kind_of_reason(row.reason) for _, row in bad)
                if bad and options.on_bad_row == "quarantine":
                    shape = quarantine_schema(bad[0][1].raw.schema)
                    if quarantine is None:
                        quarantine = stack.enter_context(self._output.stage(f"{QUARANTINE}/{part.name}", shape))
                    quarantine.write(quarantine_rows(part.file, [row for _, row in bad], quarantine.schema))
                writer.write(self._rows(part, window, schema))
                counts += self._count(window)
                if contract.schema.layout == "nested":
                    self.ids.add_rows(hash_ids(window.block.ids))
                # Under a limit the bar counts sequences: nobody knows how many events those have.
                rows = window.block.num_rows if options.limit is None else window.block.num_sequences
                progress.advance(rows, len(window.block.values), window.padded_steps)
            refuse_too_many(part.file, num_bad, counts.rows_in, options.max_bad_fraction)
            counts.check(part.name)
            self._refuse_changed(part, opened.source)
            made_with = options.result_values()
            footer = PartFooter(
                part.key,
                counts,
                part.file.location,
                part.content,
                made_with,
                tuple(schema.names),
                contract.schema.layout,
            )
            writer.finish(footer)
            # Before the part in either case: killed in between, the part's old footer has it made again.
            if quarantine is not None:
                quarantine.finish(footer)
                self.quarantined.append(f"{QUARANTINE}/{part.name}")
            else:
                self._output.withdraw(f"{QUARANTINE}/{part.name}")
        return counts

    def _refuse_changed(self, part: Part, source: pa.NativeFile | None = None) -> None:
        try:
            now = fingerprint(part.file, source)
        except BadFileError:
            now = None  # it was readable when the run was planned
        if now != part.fingerprint:
            raise ChangedInputError(
                f"{part.file.name}: the file changed while it was read, so its part was not published. Run again once "
                "its writer is done; better, have the writer rename finished files into place."
            )

    def _count(self, window: EmbeddedWindow) -> PartCounts:
        num_bad, embedded = len(window.block.bad), int(window.has_embedding.sum())
        quarantined = num_bad if self._options.on_bad_row == "quarantine" else 0
        return PartCounts(
            rows_in=window.block.num_sequences,
            rows_embedded=embedded,
            rows_null=window.block.num_sequences - embedded - quarantined,
            rows_quarantined=quarantined,
            rows_truncated=window.block.num_truncated,
            steps=len(window.block.values),
            padded_steps=window.padded_steps,
            unknown_steps=self._unknown_steps(window.block),
        )

    def _unknown_steps(self, block: SequenceBlock) -> dict[str, int]:
        found = np.count_nonzero(block.categories == UNKNOWN_ID, axis=0).tolist()
        names = [field.name for field in self._contract.schema.categorical]
        return dict(zip(names, found, strict=True))

    def _rows(self, part: Part, window: EmbeddedWindow, schema: pa.Schema) -> pa.RecordBatch:
        """Return a window as rows of the output."""
        missing = None if window.has_embedding.all() else pa.array(~window.has_embedding)
        vectors = window.embeddings if self._options.dtype == "float32" else _halves(window.embeddings, part.file)
        kind = schema.field("embedding").type
        # Not by pa.array, which imports numpy.ma to ask whether it is a masked array: a twentieth of a small job.
        numbers = pa.Array.from_buffers(kind.value_type, vectors.size, [None, pa.py_buffer(vectors)])
        embedding = pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=missing)
        columns = [window.block.ids, *window.block.kept.values()]
        plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
        plain.append(embedding)
        places = np.array([place for place, _ in window.block.bad], dtype=np.int64)
        if self._options.on_bad_row == "null":
            reasons = np.full(window.block.num_sequences, None, dtype=object)
            reasons[places] = [row.reason for _, row in window.block.bad]
            plain.append(pa.array(reasons, pa.string()))
        rows = pa.RecordBatch.from_arrays(plain, schema=schema)
        if self._options.on_bad_row == "quarantine" and len(places):
            stays = np.ones(window.block.num_sequences, dtype=bool)
            stays[places] = False
            rows = rows.filter(pa.array(stays))
        return rows


def _halves(vectors: NDArray[np.float32], file: InputFile) -> NDArray[np.float16]:
    """Return vectors (sequences, embedding_dim) as float16.

    Raises:
        UsageError: A number is beyond what float16 holds.
    """
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    if np.isinf(halves).any():
        raise UsageError(
            f"{file.name}: a vector holds {np.abs(vectors).max():.4g}; float16 ends at 65,504. "
            "Run with --dtype float32."
        )
    return halves


def _good_rows(blocks: Iterator[SequenceBlock], file: InputFile) -> Iterator[SequenceBlock]:
    for block in blocks:
        if block.bad:
            refuse(file, block.bad[0][1])
        yield block
