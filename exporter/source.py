"""Load an encoder, its contract and sample rows, from a run directory or from a single ``.keras`` file."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqembed.data.contract import RETRAIN, ModelContract, TrainingData
from seqembed.data.errors import BundleError, InputError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.fingerprints import combined_fingerprint
from seqembed.data.files.inputs import is_utf8, printable
from seqembed.data.layout import RunLayout
from seqembed.data.profile import SequenceProfile
from seqembed.data.sample_rows import read_sequences
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock
from seqembed.data.statistics.measure import define, measure
from seqembed.data.survey import survey
from seqembed.exporter.columns import find_columns
from seqembed.exporter.config import ELSEWHERE, KERAS_SUFFIX, ExportConfig
from seqembed.exporter.keras.model import EncoderModel, load_encoder
from seqembed.exporter.keras.reconstruction import load_reconstruction
from seqembed.runner.bundle.contract_check import check_contract

_SURVEY_SEED = 0


@dataclass(frozen=True, slots=True)
class ExportSource:
    """The inputs of an export.

    Attributes:
        model: The Keras encoder.
        contract: The contract, without the measurements of the exporter.
        rows: Sequences of the data, each of at least one step.
        held_out: The same of sequences that were held out of the training, for a model with a decoder; None without.
    """

    model: EncoderModel
    contract: ModelContract
    rows: SequenceBlock
    held_out: SequenceBlock | None = None


def open_source(config: ExportConfig) -> ExportSource:
    """Load `config.source`.

    Raises:
        BundleError: The run directory or model is incomplete, damaged or not exportable, or its name is not UTF-8.
        InputError: The data given for a ``.keras`` file cannot be read.
    """
    if not is_utf8(os.path.abspath(config.source)):
        raise BundleError(f"{printable(str(config.source))}: the name is not UTF-8. Rename the file or directory.")
    if not config.is_run_directory:
        return _open_model(config)
    return _open_run(RunLayout(config.source), with_decoder=config.with_decoder)


def _open_run(layout: RunLayout, *, with_decoder: bool) -> ExportSource:
    if not layout.root.is_dir():
        raise BundleError(
            f"{layout.root}: there is no such run directory. Train one with `seqembed train INPUT --out "
            f"{layout.root}`, or pass a .keras file."
        )
    missing = [path.name for path in (layout.encoder, layout.contract, layout.sample) if not path.is_file()]
    if missing:
        unfinished = layout.checkpoints.exists() or layout.config.exists()
        remedy = "training did not finish: continue with `seqembed train … --resume`" if unfinished else "it is no run"
        raise BundleError(f"{layout.root}: the run directory lacks {', '.join(missing)}; {remedy}.")
    try:
        contract = ModelContract.from_json(layout.contract.read_text(encoding="utf-8"), str(layout.contract))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{layout.root}: the run directory is damaged: {error}. Train again.") from error
    check_contract(contract, str(layout.contract), RETRAIN)
    model = load_encoder(layout.encoder, contract.frame)
    _check_widths(model, contract.schema, "the run's contract")
    rows = _read_rows(layout.sample, model)
    if model.embedding_dim != contract.embedding_dim or not model.handles_padding:
        raise BundleError(
            f"{layout.encoder}: the encoder returns {model.embedding_dim} numbers from {len(model.keras_model.inputs)} "
            f"input(s); the run's contract says {contract.embedding_dim} from values and lengths. The files are from "
            "different trainings: train again."
        )
    found = ExportSource(model, contract, rows)
    return _with_decoder(found, layout) if with_decoder else found


def _with_decoder(found: ExportSource, layout: RunLayout) -> ExportSource:
    """Return an opened run with its decoder and its held-out sequences.

    Raises:
        UsageError: It has no decoder.
        BundleError: A file is damaged.
    """
    decoder = load_reconstruction(layout.autoencoder, found.model.keras_model, found.contract)
    model = replace(found.model, reconstruction=decoder)
    contract = replace(found.contract, other_outputs=model.outputs[1:])
    held_out = _read_rows(layout.held_out, model) if layout.held_out.is_file() else None
    return replace(found, model=model, contract=contract, held_out=held_out)


def _read_rows(path: Path, model: EncoderModel) -> SequenceBlock:
    """Return the sequences of a sample, each of at least one step.

    Raises:
        BundleError: The file is damaged, or other than what the model reads.
    """
    try:
        rows, _ = read_sequences(path)
    except (OSError, InputError) as error:
        raise BundleError(f"{path.parent}: the run directory is damaged: {error}. Train again.") from error
    if (rows.values.shape[1], rows.categories.shape[1]) != (model.num_features, model.num_fields):
        raise BundleError(
            f"{path}: {rows.values.shape[1]} features and {rows.categories.shape[1]} categorical fields; the encoder "
            f"takes {model.num_features} and {model.num_fields}. The files are from different trainings: train again."
        )
    return _with_steps(rows)


def _open_model(config: ExportConfig) -> ExportSource:
    model = load_encoder(config.source)
    if model.num_fields:
        raise BundleError(
            f"{config.source}: the model takes categories as ids, and a {KERAS_SUFFIX} file does not contain the "
            "values of the ids. Export the run directory it was trained in, whose contract has the vocabularies."
        )
    files, schema = find_columns(config)
    refuse_ids_in_several_files(files, schema)
    _check_widths(model, schema, "--data")
    found = survey(files, schema, LengthPolicy(), seed=_SURVEY_SEED)
    if not found.profile.num_sequences:
        raise InputError(
            f"{', '.join(config.data)}: every sequence is empty. Pass data with steps to check the export on."
        )
    definition = define(schema, found.profile, found.sample, frame=1)
    statistics = measure(files, schema, LengthPolicy(), definition)
    contract = ModelContract(
        schema=schema,
        length_policy=LengthPolicy(),
        embedding_dim=model.embedding_dim,
        architecture=_describe(model, found.profile),
        training=TrainingData(combined_fingerprint(files), len(files), found.profile, statistics),
        versions={},
    )
    # Missing values and padding are filled with the mean, in raw units, as the model was trained: a typical value.
    fill = np.array(found.profile.mean, np.float32)
    return ExportSource(replace(model, fill=fill), contract, _with_steps(found.sample))


def _check_widths(model: EncoderModel, schema: SequenceSchema, where: str) -> None:
    if model.num_fields != schema.num_fields:
        names = ", ".join(field.name for field in schema.categorical) or "none"
        raise BundleError(
            f"{model.source}: the model takes {model.num_fields} categories per step, {where} has {schema.num_fields} "
            f"({names}). The files are from different trainings: train again."
        )
    if model.num_features != schema.num_features:
        names = ", ".join(schema.feature_names[:8]) + (", …" if schema.num_features > 8 else "")
        raise BundleError(
            f"{model.source}: the model takes {model.num_features} features per step, {where} has "
            f"{schema.num_features} ({names}). List the model's features, in its order, with --features."
        )


def _describe(model: EncoderModel, profile: SequenceProfile) -> dict[str, Any]:
    """Return a human-readable description of the architecture."""
    layers = [f"{type(layer).__name__} {layer.name}" for layer in model.keras_model.layers]
    return {
        "made_by": ELSEWHERE,
        "layers": layers,
        "parameters": int(model.keras_model.count_params()),
        "missing_values": "handled by the model" if model.handles_padding else "replaced by the mean of the data",
    }


def _with_steps(rows: SequenceBlock) -> SequenceBlock:
    return rows.take(np.flatnonzero(rows.lengths > 0))
