"""The nightly job: plan, check the model on this host, embed every part, publish, say so."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console

from data.inputs import InputFile
from data.reader import read_blocks
from data.sequences import SequenceBlock
from data.survey import refuse_bad_rows
from runner.encoder import Encoder, read_bundle
from runner.engines.local import EmbeddedWindow, LocalEngine
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import Part, PartCounts, PartFooter, output_schema
from runner.plan import RunPlan, bundle_sha256, plan_run
from runner.progress import ProgressView, show_progress
from runner.report import RunReport


@dataclass(frozen=True, slots=True)
class Job:
    """A planned run.

    Attributes:
        encoder: The model.
        model: Path of the bundle.
        model_sha256: sha256 of the bundle.
        output: Where parts go.
        options: What was asked for.
        plan: What is to be done.
    """

    encoder: Encoder
    model: str
    model_sha256: str
    output: OutputDirectory
    options: RunOptions
    plan: RunPlan


def plan_job(inputs: Sequence[str], model: str, out: str, options: RunOptions) -> Job:
    """Load the model and hold every input file against its contract; nothing is written.

    Raises:
        BundleError: The model cannot be loaded.
        InputError, UsageError, OutputError: See `plan_run`.
    """
    content = read_bundle(model)
    encoder = Encoder.from_bytes(content, source=model)
    output = OutputDirectory(out)
    sha256 = bundle_sha256(content)
    plan = plan_run(inputs, output, encoder.contract, sha256, options)
    return Job(encoder, model, sha256, output, options, plan)


def run_job(job: Job, console: Console) -> RunReport:
    """Make what the plan says, and write the success marker.

    A run that finds every part finished changes no byte.

    Raises:
        BundleError: The golden sequences come out differently on this host; nothing was written.
        BadRowError, InputError: An input cannot be read; parts finished before stay.
        OutputError: The output cannot be written; parts finished before stay.
    """
    start = time.perf_counter()
    plan, output = job.plan, job.output
    golden = job.encoder.replay_golden() if plan.to_make else None
    made: dict[str, PartCounts] = {}
    if plan.to_make:
        output.begin()
        try:
            made = _make_parts(job, console)
            report = _report(job, made, start, golden)
            output.succeed(report.to_json(job.model, job.model_sha256, job.options))
        finally:
            output.clean()
        return report
    report = _report(job, made, start, golden)
    if output.read_success() is None:
        output.begin()
        try:
            output.succeed(report.to_json(job.model, job.model_sha256, job.options))
        finally:
            output.clean()
    return report


def _report(job: Job, made: dict[str, PartCounts], start: float, golden: float | None) -> RunReport:
    counted = [(part, made.get(part.name, part.done)) for part in job.plan.parts]
    parts = tuple((part, counts) for part, counts in counted if counts is not None)
    return RunReport(
        parts=parts,
        orphans=job.plan.orphans,
        num_made=len(made),
        counts=sum((counts for _, counts in parts), PartCounts()),
        made=sum(made.values(), PartCounts()),
        seconds=time.perf_counter() - start,
        golden_difference=golden,
    )


def _make_parts(job: Job, console: Console) -> dict[str, PartCounts]:
    # Old parts stay readable until all new ones are complete where the old ones come from another maker.
    at_the_end = any(part.action == "replace" for part in job.plan.parts)
    total = sum(part.num_file_rows for part in job.plan.to_make)
    left = job.options.limit
    made: dict[str, PartCounts] = {}
    with (
        LocalEngine(job.encoder, job.options.threads) as engine,
        show_progress(job.options.progress, total if left is None else min(total, left), console) as progress,
    ):
        for part in job.plan.parts:
            if part.action == "skip":
                counts = part.done or PartCounts()
            else:
                counts = made[part.name] = _make_part(job, part, engine, progress, left)
                if not at_the_end:
                    job.output.publish()
            left = None if left is None else left - counts.rows_in
            if left == 0:
                break
        job.output.publish()
    return made


def _make_part(job: Job, part: Part, engine: LocalEngine, progress: ProgressView, limit: int | None) -> PartCounts:
    contract, keep = job.encoder.contract, job.options.keep
    schema = output_schema(part.file.open().schema_arrow, part.file, contract, keep)
    blocks = read_blocks(part.file, contract.schema, contract.length_policy, keep, limit)
    counts = PartCounts()
    with job.output.stage(part.name, schema) as writer:
        for window in engine.embed(_good_rows(blocks, part.file)):
            writer.write(_rows(window, schema))
            counts += _count(window)
            rows = window.block.num_sequences if contract.schema.layout == "nested" else len(window.block.values)
            progress.advance(rows, len(window.block.values), window.padded_steps)
        writer.finish(PartFooter(part.key, counts))
    return counts


def _good_rows(blocks: Iterator[SequenceBlock], file: InputFile) -> Iterator[SequenceBlock]:
    for block in blocks:
        refuse_bad_rows(block, file)
        yield block


def _count(window: EmbeddedWindow) -> PartCounts:
    embedded = int(window.has_embedding.sum())
    return PartCounts(
        rows_in=window.block.num_sequences,
        rows_embedded=embedded,
        rows_null=window.block.num_sequences - embedded,
        rows_truncated=window.block.num_truncated,
        steps=len(window.block.values),
        padded_steps=window.padded_steps,
    )


def _rows(window: EmbeddedWindow, schema: pa.Schema) -> pa.RecordBatch:
    """Return a window as rows of the output."""
    dim = window.embeddings.shape[1]
    kind = schema.field("embedding").type
    missing = None if window.has_embedding.all() else pa.array(~window.has_embedding)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(window.embeddings.reshape(-1)), dim, mask=missing)
    columns = [window.block.ids, *window.block.kept.values()]
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
    return pa.RecordBatch.from_arrays([*plain, embedding.cast(kind)], schema=schema)
