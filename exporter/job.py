"""Run an export: load, convert, check the structure, measure parity, complete the contract, write."""

import time
from dataclasses import replace
from typing import Any

from seqembed.data.contract import ModelContract, Parity
from seqembed.data.display.events import emit
from seqembed.data.profile import QUANTILES
from seqembed.exporter.bundle import assemble, library_versions, write_bundle, write_file
from seqembed.exporter.card.card import card_text
from seqembed.exporter.card.training import read_training
from seqembed.exporter.checks.embeddings import with_embeddings
from seqembed.exporter.checks.errors import with_errors
from seqembed.exporter.checks.golden import golden_sequences
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.checks.precision import measure_quantisation
from seqembed.exporter.checks.reference import KerasReference
from seqembed.exporter.config import ExportConfig
from seqembed.exporter.destination import refuse_destination
from seqembed.exporter.onnx.convert import Conversion, check_opset, convert
from seqembed.exporter.onnx.quantise import quantise, refuse_unquantisable
from seqembed.exporter.onnx.structure import GraphStructure, check_structure
from seqembed.exporter.report import ExportReport
from seqembed.exporter.source import ExportSource, open_source
from seqembed.runner.bundle.encoder import Encoder

_MEDIAN = QUANTILES.index(0.5)
_SEED = 20240229  # fixed, so that exporting twice gives the same contract
# (units of the recurrent layer over all directions, fastest batch size up to that width): a wide state leaves the
# cache sooner. Measured on two cores with ONNX Runtime 1.32: 48 instead of 24 cost 4 % at two directions of 128 units,
# 24 instead of 48 cost 16 % at one of 64, and 64, 96 or 128 gained nothing there.
_BATCH_SIZES = ((96, 48), (128, 32))
_MIN_BATCH_SIZE = 24
# Where a recurrent layer reads few frames, the fixed cost of a call is a tenth of it in batches of 48 (24 steps in
# frames of two, one thread); in twice as many, longer sequences gained nothing and need twice the memory.
_FEW_FRAMES, _SHORT_BATCH_SIZE = 16, 96


def export_encoder(config: ExportConfig) -> ExportReport:
    """Export a trained encoder to one checked ONNX file, and describe it in a model card beside it.

    Raises:
        UsageError: The opset is not supported, the encoder cannot be quantised to int8, or the run has no decoder.
        InputError: The data given for a ``.keras`` file cannot be read.
        BundleError: The source is incomplete or has an unsupported layer, or the graph has an unexpected structure.
        QualityGateError: ONNX Runtime differs from Keras, or int8 from fp32; nothing was written.
        OutputError: A file cannot be written, or a file that is not a bundle, or not a card, exists there.
    """
    start = time.monotonic()
    emit("started", source=str(config.source), out=str(config.out), precision=config.precision)
    check_opset(config.opset)
    refuse_destination(config)
    source = open_source(config)
    training = read_training(config) if config.card else None
    converted = convert(source.model, config.opset)
    fp32 = converted.graph

    def checked(graph: Any, precision: str) -> GraphStructure:
        return check_structure(
            graph,
            num_features=source.model.num_features,
            outputs=source.model.outputs,
            num_recurrent=converted.num_recurrent,
            num_masked=converted.num_masked,
            num_decoding=converted.num_decoding,
            opset=config.opset,
            source=str(config.source),
            frame=source.model.frame,
            num_ids=[vocabulary.num_ids for vocabulary in source.contract.schema.vocabularies],
            precision=precision,
        )

    graph, structure = fp32, checked(fp32, "fp32")
    emit("converted", nodes=structure.num_nodes, recurrent_nodes=converted.num_recurrent)
    batch_size = _batch_size(structure.recurrent_width, _num_frames(source.contract))
    source = replace(source, contract=replace(source.contract, batch_size=batch_size))
    if config.precision == "int8":
        refuse_unquantisable(structure, str(config.source))
        graph = quantise(fp32)
        structure = checked(graph, "int8")
    contract, parity = _checked_contract(converted, graph, source, config)
    emit(
        "checked",
        max_difference=parity.max_difference,
        tolerance=parity.tolerance,
        sequences=parity.num_sequences,
    )
    bundle = assemble(graph, contract)
    refuse_destination(config)  # again: it may have changed since the export began
    write_bundle(bundle, config.out)
    if config.card:
        card = card_text(config.out.name, bundle, contract, training)
        write_file(card.encode(), config.card_path, "the model card")
    seconds = time.monotonic() - start
    emit("finished", exit_code=0, seconds=round(seconds, 3), bytes=len(bundle), precision=contract.precision)
    return ExportReport(
        path=config.out,
        num_bytes=len(bundle),
        num_bytes_fp32=len(assemble(fp32, contract)),
        contract=contract,
        structure=structure,
        parity=parity,
        seconds=seconds,
        card=config.card_path if config.card else None,
    )


def _num_frames(contract: ModelContract) -> int:
    """Return how many frames a recurrent layer reads of a sequence of median length; 0 if it reads single steps."""
    median = contract.training.profile.length_quantiles[_MEDIAN]
    return -(-median // contract.frame) if contract.frame > 1 else 0


def _batch_size(recurrent_width: int, num_frames: int = 0) -> int:
    """Return how many sequences make a batch; runs put several of it together where sequences are short."""
    size = next((size for width, size in _BATCH_SIZES if recurrent_width <= width), _MIN_BATCH_SIZE)
    return _SHORT_BATCH_SIZE if 0 < num_frames <= _FEW_FRAMES and size == _BATCH_SIZES[0][1] else size


def _checked_contract(
    converted: Conversion, graph: Any, source: ExportSource, config: ExportConfig
) -> tuple[ModelContract, Parity]:
    """Compare the fp32 graph with Keras, and an int8 `graph` with the fp32 one; return the complete contract.

    Both graphs run in the runner's encoder.
    """
    contract = replace(source.contract, versions={**source.contract.versions, **library_versions()})
    profile = contract.training.profile
    encoder = reference = Encoder.from_bytes(assemble(converted.graph, contract), source=str(config.out))
    keras = KerasReference(source.model)
    parity = measure_parity(
        keras,
        reference,
        source.rows,
        profile,
        tolerance=config.tolerance,
        seed=_SEED,
        masked_steps=converted.masked_steps,
    )
    if config.precision == "int8":
        contract = replace(contract, precision="int8")
        encoder = Encoder.from_bytes(assemble(graph, contract), source=str(config.out))
    golden = golden_sequences(keras, encoder, profile, seed=_SEED)
    if config.precision == "int8":
        measured = measure_quantisation(reference, encoder, source.rows, golden, source=str(config.source))
        contract = replace(contract, quantisation=measured)
    contract = with_embeddings(replace(contract, parity=parity, golden=golden), encoder, source.rows)
    contract = with_errors(contract, encoder, source.held_out, source.rows, str(config.source))
    return contract, parity
