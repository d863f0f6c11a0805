"""Make one part: read, embed, stage, account for every row, and detect an input that changed during reading.

This code runs on any host that receives a `PartTask`. It reads sources of sequences, independent of files, and
publishes nothing.
"""

import functools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import is_null_id
from seqembed.data.errors import BundleError, ChangedInputError, HostError, InputError, SeqembedError, UsageError
from seqembed.data.files.census import IdCensus
from seqembed.data.files.inputs import REMOVED
from seqembed.data.host import host_fault
from seqembed.data.sequences import SequenceBlock
from seqembed.data.source import Source
from seqembed.runner.engines.count import PartCounter
from seqembed.runner.engines.finite import refuse_not_finite
from seqembed.runner.engines.pipeline import EmbeddedWindow, Pipeline
from seqembed.runner.engines.rows import counts_of, output_schema, rows_of
from seqembed.runner.engines.scores import outputs_of_run, profile_of
from seqembed.runner.engines.task import BundleReference, PartTask, shared_encoder
from seqembed.runner.output.badrows import kind_of_reason, quarantine_rows, quarantine_schema, refuse, refuse_too_many
from seqembed.runner.output.parts import PartCounts, PartFooter
from seqembed.runner.output.staging import StagedFile, StagedPart, quarantine_name
from seqembed.runner.output.writer import PartWriter
from seqembed.runner.progress import ProgressView

# Errors of input or model, not of the host: they are reported, since another attempt would fail in the same way.
_FAULTS = (InputError, UsageError, BundleError)


def make_part(
    task: PartTask,
    pipeline: Pipeline | None = None,
    source: Source | None = None,
    progress: ProgressView | None = None,
) -> StagedPart:
    """Embed the sequences of one input, and stage their part and a quarantine file.

    Args:
        task: The task.
        pipeline: The pipeline to embed with; None opens the task's bundle, once in this process.
        source: The sequences; None reads the task's file.
        progress: Notified of finished rows.

    Returns:
        The report; if input or model caused an error, with this error and without files.

    Raises:
        OutputError: The output cannot be written.
        HostError: The host lacks memory, descriptors or threads.
        BundleError: The bundle cannot be opened here.
    """
    start = time.perf_counter()
    pipeline = pipeline or _shared_pipeline(task.bundle, task.options.num_threads)
    source = source or task.source(pipeline.contract)
    try:
        maker = _PartMaker(task, pipeline, source, progress)
        files, footer = maker.make()
    except _FAULTS as error:
        fault: SeqembedError = error
        if isinstance(error, InputError):  # the file may be changing, which can look like a bad row or file
            fault = _change(task, source) or error
        return StagedPart(task.name, task.attempt, fault=fault, seconds=time.perf_counter() - start)
    except Exception as error:
        lacking = error if isinstance(error, HostError) else host_fault(error)
        if lacking is None:
            raise
        raise HostError(f"{task.name}: {lacking}") from error
    seconds = time.perf_counter() - start
    rows = maker.input_rows
    return StagedPart(task.name, task.attempt, files, footer, None, maker.reasons, maker.ids, seconds, rows)


@functools.lru_cache(maxsize=1)
def _shared_pipeline(bundle: BundleReference, threads: int) -> Pipeline:
    return Pipeline(shared_encoder(bundle), threads)


class _PartMaker:
    """One attempt at a part, with its counts so far.

    Attributes:
        reasons: Number of bad rows by reason.
        ids: The ids of its rows, in the nested layout.
        input_rows: Rows read.
    """

    def __init__(self, task: PartTask, pipeline: Pipeline, source: Source, progress: ProgressView | None) -> None:
        self._task, self._pipeline, self._source, self._progress = task, pipeline, source, progress
        self._contract, self._on_bad_row = pipeline.contract, task.options.on_bad_row
        self._counts, self.reasons, self._num_bad, self.input_rows = PartCounts(), Counter[str](), 0, 0
        self.ids = IdCensus() if self._contract.schema.layout == "nested" else None
        self._counter = PartCounter(self._contract)
        self._outputs = outputs_of_run(self._contract, score=task.options.score)
        self._errors = profile_of(self._contract, pipeline.source) if task.options.score else None

    def make(self) -> tuple[tuple[StagedFile, ...], PartFooter]:
        """Stage the part; return its files and its footer.

        Raises:
            BadRowError: A row is not a sequence and the option is ``fail``, or too many rows are bad.
            BadFileError: The source cannot be read.
            ChangedInputError: The source changed since the run was planned.
            OutputError: The output cannot be written.
        """
        task, source = self._task, self._source
        schema = output_schema(source.columns(), source.name, self._contract, self._outputs, task.options)
        vectors = [output.name for output in self._outputs if output.width is not None]
        blocks, first_row = source.blocks(task.limit), source.first_row
        if self._on_bad_row == "fail":
            blocks = _good_rows(blocks, source.name)
        with ExitStack() as stack:
            writer = stack.enter_context(task.staging.stage(task.name, task.attempt, schema, vectors))
            # Closed before an error is examined, so that no other thread reads the source.
            windows = stack.enter_context(closing(self._pipeline.embed(blocks, self._outputs)))
            quarantine: PartWriter | None = None
            for embedded in windows:
                window = refuse_not_finite(embedded, source, first_row)
                first_row += window.block.num_rows
                quarantine = self._put_aside(window, quarantine, stack)
                writer.write(rows_of(window, source.name, schema, self._on_bad_row, self._errors))
                self._count(window)
            footer = self._footer(tuple(schema.names))
            writer.finish(footer)
            if quarantine is not None:
                quarantine.finish(footer)
        staged = [(quarantine_name(task.name), quarantine), (task.name, writer)]
        files = tuple(task.staging.staged_file(name, task.attempt, file) for name, file in staged if file is not None)
        return files, footer

    def _put_aside(self, window: EmbeddedWindow, quarantine: PartWriter | None, stack: ExitStack) -> PartWriter | None:
        """Count the bad rows of a window, and write those to be quarantined.

        Returns:
            The writer of the quarantine file, opened for the first row.

        Raises:
            BadRowError: There is one, and the option is ``fail``.
        """
        task, bad = self._task, [row for _, row in window.block.bad]
        if bad and self._on_bad_row == "fail":
            refuse(self._source.name, bad[0])
        self._num_bad += len(bad)
        self.reasons.update(kind_of_reason(row.reason) for row in bad)
        if not bad or self._on_bad_row != "quarantine":
            return quarantine
        if quarantine is None:
            schema = quarantine_schema(bad[0].raw.schema)
            stage = task.staging.stage(quarantine_name(task.name), task.attempt, schema)
            quarantine = stack.enter_context(stage)
        quarantine.write(quarantine_rows(self._source.name, bad, quarantine.schema))
        return quarantine

    def _count(self, window: EmbeddedWindow) -> None:
        self._counts += counts_of(window, self._contract, self._on_bad_row)
        hashes = None if self.ids is None else hash_ids(window.block.ids)
        if self.ids is not None and hashes is not None:
            self.ids.add_rows(hashes[~is_null_id(window.block.ids)])  # rows without an id share none
        self._counter.add(window, hashes)
        self.input_rows += window.block.num_rows
        if self._progress is not None:
            # With a limit progress counts sequences, since their number of events is unknown.
            block = window.block
            rows = block.num_rows if self._task.limit is None else block.num_sequences
            self._progress.advance(rows, len(block.values), window.padded_steps)

    def _footer(self, columns: tuple[str, ...]) -> PartFooter:
        """Check that all rows are accounted for and the source is unchanged; return the part's metadata."""
        task = self._task
        refuse_too_many(self._source.name, self._num_bad, self._counts.rows_in, task.options.max_bad_fraction)
        self._counts.check(task.name)
        change = _change(task, self._source)
        if change is not None:
            raise change
        made_with, layout, bounds = task.options.result_values(), self._contract.schema.layout, None
        if task.row_groups is not None:
            made_with["rows_per_part"] = task.options.rows_per_part
            bounds = task.row_groups.start, task.row_groups.stop, task.num_row_groups
        source = task.file.location, task.content
        statistics = self._counter.statistics
        table = None if task.file.view is None else task.file.view.table
        counted = task.key, self._counts
        return PartFooter(*counted, *source, made_with, columns, layout, statistics, row_groups=bounds, table=table)


def _change(task: PartTask, source: Source) -> ChangedInputError | None:
    """Return the error for a source that changed since the run was planned, or None."""
    if source.fingerprint() == task.fingerprint:
        return None
    if task.file.view is not None:
        return ChangedInputError(
            f"{source.name}: the file changed while it was read, so its part was not published. "
            f"{REMOVED.format(task.file.view.table)}"
        )
    return ChangedInputError(
        f"{source.name}: the file changed while it was read, so its part was not published. Run again once "
        "its writer is done; better, have the writer rename finished files into place."
    )


def _good_rows(blocks: Iterator[SequenceBlock], name: str) -> Iterator[SequenceBlock]:
    for block in blocks:
        if block.bad:
            refuse(name, block.bad[0][1])
        yield block
