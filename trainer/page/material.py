"""What the page of a training is made from: the data, the options, the losses, and outputs of the finished network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.batching import pad, plan_batches
from seqembed.data.decode.ids import id_text
from seqembed.data.decode.times import GAPS
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock
from seqembed.data.statistics.statistics import Statistics
from seqembed.trainer.config.automatic import Findings
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.resolved import ResolvedJob
from seqembed.trainer.input.intake import Intake
from seqembed.trainer.model.network import Network, embed
from seqembed.trainer.plots.pictures import decode, generate
from seqembed.trainer.prepare import Prepared

# Decoding is not compiled, and an autoregressive decoder runs once per step over all steps before.
_MAX_DECODED, _MAX_GENERATED, _MAX_DECODED_STEPS = 256, 16, 60_000
_BATCH_SIZE, _MAX_BATCH_STEPS = 64, 16_384
MAX_GENERATED_STEPS = 120
_GAP_UNIT = "log1p of seconds"


@dataclass(frozen=True, slots=True)
class Material:
    """What the page is made from.

    Attributes:
        schema: Names of the features and categories.
        intake: The data: profile, sample, counts.
        statistics: Totals of the training sequences.
        given, job: The options as given and in force.
        found: What the data showed.
        history: The content of ``history.json``.
        warnings: What is wrong with the model and what to try.
        num_files: Number of input files.
        units: Unit of a feature, by its name, where the files name one, and of the times since other steps.
        embeddings: float32 (sequences, embedding_dim) of the sample.
        blocks: Name and width of the blocks of the embedding.
        decoded: Reconstruction of a sequence of the sample, by its row: float32 (time, features + fields), numbers in
            raw units and ids; empty without a decoder.
        versions: Library → version.
    """

    schema: SequenceSchema
    intake: Intake
    statistics: Statistics
    given: TrainJob
    job: ResolvedJob
    found: Findings
    history: Mapping[str, Any]
    warnings: tuple[str, ...]
    num_files: int
    units: Mapping[str, str]
    embeddings: NDArray[np.float32]
    blocks: tuple[tuple[str, int], ...]
    decoded: Mapping[int, NDArray[np.float32]]
    versions: Mapping[str, str]

    @property
    def sample(self) -> SequenceBlock:
        """Some of the training sequences, none of them empty."""
        return self.intake.survey.sample

    @property
    def profile(self) -> SequenceProfile:
        """Statistics of all training sequences."""
        return self.intake.survey.profile

    @property
    def label(self) -> str | None:
        """The label column."""
        return self.job.data.label

    def values(self, row: int) -> NDArray[np.float32]:
        """Return the numbers of a sequence of the sample, float32 (time, features), raw units."""
        return self.sample.values[self.sample.offsets[row] : self.sample.offsets[row + 1]]

    def categories(self, row: int) -> NDArray[np.int32]:
        """Return the ids of a sequence of the sample, int32 (time, fields)."""
        return self.sample.categories[self.sample.offsets[row] : self.sample.offsets[row + 1]]

    def labels(self) -> list[str | None] | None:
        """Return the label of each sequence of the sample as text, None where it is null; None without a label."""
        return None if self.label is None else [id_text(value) for value in self.sample.kept[self.label]]

    def name(self, row: int) -> str:
        """Return the id of a sequence of the sample."""
        value = self.sample.ids[row]
        return id_text(value) or ("" if value.is_valid else "missing")


def gather(
    prepared: Prepared,
    network: Network,
    history: Mapping[str, Any],
    warnings: tuple[str, ...],
    versions: Mapping[str, str],
) -> Material:
    """Run the finished network over the sample, and collect everything else.

    Args:
        prepared: The data and the options.
        network: The models as they are saved.
        history: The content of ``history.json``.
        warnings: What is wrong with the model.
        versions: Library → version.
    """
    return Material(
        schema=prepared.schema,
        intake=prepared.intake,
        statistics=prepared.statistics,
        given=prepared.given,
        job=prepared.job,
        found=prepared.found,
        history=history,
        warnings=warnings,
        num_files=len(prepared.files),
        units=units(prepared.files[0].footer()[0], prepared.schema),
        embeddings=embed(network, prepared.sample),
        blocks=tuple((block.name, block.width) for block in prepared.embedding_blocks),
        decoded={} if network.decoder is None else _decoded(prepared, network),
        versions=versions,
    )


def units(columns: pa.Schema, schema: SequenceSchema) -> dict[str, str]:
    """Return the unit of each feature whose Parquet field names one, in the metadata ``unit`` or ``units``.

    Times since the previous and the first step are logarithms, and have a unit of their own.
    """
    found = {
        feature.name: _GAP_UNIT for feature in schema.features if feature.component in GAPS and feature.kind == "time"
    }
    for feature in schema.features:
        metadata = columns.field(feature.column).metadata or {}
        unit = metadata.get(b"unit", metadata.get(b"units"))
        if unit and feature.kind == "numeric":
            found[feature.name] = unit.decode("utf-8", errors="replace")
    return found


def _decoded(prepared: Prepared, network: Network) -> dict[int, NDArray[np.float32]]:
    sample, config = prepared.sample, prepared.job.model
    runs_freely = config.decoder == "autoregressive"
    mean = max(1, len(sample.categories) // max(1, sample.num_sequences))
    most = _MAX_GENERATED if runs_freely else min(_MAX_DECODED, max(_MAX_GENERATED, _MAX_DECODED_STEPS // mean))
    rows = np.unique(np.linspace(0, sample.num_sequences - 1, most).astype(np.int64))
    found: dict[int, NDArray[np.float32]] = {}
    for places in plan_batches(sample.lengths[rows], _BATCH_SIZE, _MAX_BATCH_STEPS):
        batch = pad(sample, rows[places])
        written = (
            generate(network, config, prepared.profile, batch, max_steps=MAX_GENERATED_STEPS)
            if runs_freely
            else decode(network, batch)
        )
        for row, steps, length in zip(rows[places].tolist(), written, batch.lengths.tolist(), strict=True):
            found[row] = steps[:length]
    return dict(sorted(found.items()))
