"""Write the files of a finished training, each of them atomically, and the contract last.

An existing ``contract.json`` means that all other files exist and belong together.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from seqembed.data.contract import ModelContract, TrainingData
from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.data.errors import OutputError
from seqembed.data.layout import CONFIG_HEADER, RunLayout
from seqembed.data.profile import SequenceProfile
from seqembed.data.sample_rows import write_sequences
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.statistics.statistics import Statistics
from seqembed.data.survey import Survey
from seqembed.trainer.config.resolved import ResolvedJob
from seqembed.trainer.model.network import Network

_LIBRARIES = ("seqembed", "tensorflow", "keras", "numpy")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; afterwards it is synced and renamed.

    Raises:
        OutputError: The directory is not writable or the disk is full.
    """
    temporary = path.with_name(f".writing-{path.name}")  # keep the suffix: Keras and matplotlib choose formats by it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error}). Free space, or fix the permissions.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_config(layout: RunLayout, job: ResolvedJob) -> None:
    """Write the effective options, so that ``seqembed train --config`` repeats the run."""
    write_text(layout.config, CONFIG_HEADER + tomli_w.dumps(job.to_options()))


def write_models(layout: RunLayout, network: Network) -> None:
    """Save encoder, decoder (if there is one) and autoencoder."""
    models = {layout.encoder: network.encoder, layout.decoder: network.decoder, layout.autoencoder: network.autoencoder}
    for path, model in models.items():
        if model is not None:
            with replacing(path) as temporary:
                model.save(temporary)


def write_samples(layout: RunLayout, found: Survey, schema: SequenceSchema) -> None:
    """Write the sample of training sequences, and that of held-out ones if there are any."""
    with replacing(layout.sample) as temporary:
        write_sequences(temporary, found.sample, schema)
    if found.aside.num_sequences:
        with replacing(layout.held_out) as temporary:
            write_sequences(temporary, found.aside, schema)


def write_history(layout: RunLayout, history: Mapping[str, Any]) -> None:
    """Write losses and totals."""
    write_text(layout.history, json.dumps(history, indent=1, allow_nan=False))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that made a model, and of Python."""
    return {**{name: metadata.version(name) for name in _LIBRARIES}, "python": platform.python_version()}


def write_contract(
    layout: RunLayout,
    job: ResolvedJob,
    schema: SequenceSchema,
    profile: SequenceProfile,
    statistics: Statistics,
    *,
    fingerprint: str,
    num_files: int,
    blocks: tuple[EmbeddingBlock, ...],
    num_parameters: int,
) -> None:
    """Write the contract, which marks the run as finished."""
    contract = ModelContract(
        schema=schema,
        length_policy=job.data.length_policy,
        embedding_dim=job.model.embedding_dim or sum(block.width for block in blocks),
        projected=job.model.projects,
        blocks=blocks,
        frame=job.model.frame,
        architecture={**job.model.to_options(), "num_parameters": num_parameters},
        training=TrainingData(fingerprint, num_files, profile, statistics),
        versions=versions(),
    )
    write_text(layout.contract, contract.to_json())
