"""Embed a split by a normal run, and read labels and vectors of its usable rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from seqembed.data.errors import BundleError, InputError
from seqembed.runner.evaluate.config import EvaluateConfig
from seqembed.runner.evaluate.labels import label_texts
from seqembed.runner.job.parts import Part
from seqembed.runner.job.run import Job, run_job
from seqembed.runner.options import RunOptions
from seqembed.runner.output.parts import PartCounts
from seqembed.runner.report import RunReport


@dataclass(frozen=True, slots=True)
class Split:
    """Embedded rows of one split; those without label or vector are excluded and counted.

    Attributes:
        name: ``train`` or ``test``.
        jobs: Output directory and run report of each input.
        rows: int64 (usable), ascending indices of the usable rows among all rows of the split.
        labels: Arrow strings (usable).
        num_unlabelled: Rows with a vector and no label.
        num_empty: Rows without steps.
        num_bad: Rows that are not a sequence.
    """

    name: str
    jobs: tuple[tuple[Path, RunReport], ...]
    rows: NDArray[np.int64]
    labels: pa.Array
    num_unlabelled: int
    num_empty: int
    num_bad: int

    @property
    def parts(self) -> list[tuple[Path, Part, PartCounts]]:
        """Path, part and counts of each input file, in order."""
        return _parts(self.jobs)

    @property
    def counts(self) -> PartCounts:
        """Sum over all parts."""
        return sum((counts for _, _, counts in self.parts), PartCounts())

    @property
    def seconds(self) -> float:
        """Wall time of the runner."""
        return sum(report.seconds for _, report in self.jobs)


def embed_split(config: EvaluateConfig, name: str, inputs: Sequence[str], out: Path, console: Console) -> Split:
    """Embed `inputs` into `out`, and read the labels.

    Raises:
        BundleError: The model fails a check on this host.
        InputError: An input cannot be read, or has no usable row.
    """
    # Bad rows get a null vector: the evaluation excludes and counts them.
    options = RunOptions(
        keep=(config.label,),
        threads=config.threads,
        version=config.version,
        on_bad_row="null",
        progress=config.progress,
    )
    # One output directory per input, since files of two directories may have the same name.
    directories = [out / str(index) for index in range(len(inputs))]
    jobs = tuple(
        (directory, run_job(Job((given,), config.model, str(directory), options), console.file))
        for directory, given in zip(directories, inputs, strict=True)
    )
    labels, embedded, bad = [], [], []
    for path, part, _ in _parts(jobs):
        for batch in pq.ParquetFile(path).iter_batches(columns=[config.label, "embedding", "error"]):
            labels.append(label_texts(batch.column(config.label), config.label, part.file.name))
            embedded.append(batch.column("embedding").is_valid().to_numpy(zero_copy_only=False))
            bad.append(batch.column("error").is_valid().to_numpy(zero_copy_only=False))
    all_labels = pa.concat_arrays(labels) if labels else pa.array([], pa.string())
    has_vector = np.concatenate(embedded) if embedded else np.zeros(0, dtype=bool)
    has_label = all_labels.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(has_vector & has_label)
    num_bad = int(np.concatenate(bad).sum()) if bad else 0
    split = Split(
        name=name,
        jobs=jobs,
        rows=rows,
        labels=all_labels.take(pa.array(rows)),
        num_unlabelled=int((has_vector & ~has_label).sum()),
        num_empty=int((~has_vector).sum()) - num_bad,
        num_bad=num_bad,
    )
    _refuse_nothing(split, config)
    return split


def _parts(jobs: Sequence[tuple[Path, RunReport]]) -> list[tuple[Path, Part, PartCounts]]:
    return [(directory / part.name, part, counts) for directory, report in jobs for part, counts in report.parts]


def _refuse_nothing(split: Split, config: EvaluateConfig) -> None:
    if len(split.rows):
        return
    raise InputError(
        f"--{split.name}: none of {split.counts.rows_in:,} rows can be used ({split.num_unlabelled:,} without "
        f"'{config.label}', {split.num_empty:,} without steps, {split.num_bad:,} bad). Pass rows with labels."
    )


def read_vectors(split: Split, rows: NDArray[np.int64], model: str) -> NDArray[np.float64]:
    """Return the vectors of some rows of a split.

    Args:
        split: The split.
        rows: int64 (n), ascending indices among all rows of the split; each has a vector.
        model: The bundle, for messages.

    Returns:
        float64 (n, embedding_dim).

    Raises:
        BundleError: The model returned numbers that are not finite.
    """
    found, start = [], 0
    for column in _embeddings(split):
        stop = start + len(column)
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
        taken = column.take(pa.array(here))
        found.append(taken.flatten().to_numpy().reshape(len(here), column.type.list_size).astype(np.float64))
        start = stop
    vectors = np.concatenate(found)
    if not np.isfinite(vectors).all():
        num_invalid = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise BundleError(
            f"{model}: {num_invalid:,} of {len(vectors):,} vectors of --{split.name} contain NaN or infinity; expected "
            "finite numbers. Train again with a smaller learning rate, or without relu cells."
        )
    return vectors


def _embeddings(split: Split) -> Iterator[pa.Array]:
    for path, _, _ in split.parts:
        for batch in pq.ParquetFile(path).iter_batches(columns=["embedding"]):
            yield batch.column("embedding")
