"""The whole export: load, convert, check the structure, measure parity, complete the contract, write."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.contract import ModelContract, Parity
from exporter.bundle import assemble, library_versions, write_bundle
from exporter.config import ExportConfig
from exporter.convert import check_opset, convert
from exporter.golden import embedding_profile, golden_sequences
from exporter.parity import measure_parity
from exporter.reference import KerasReference
from exporter.source import ExportSource, open_source
from exporter.structure import GraphStructure, check_structure
from runner.encoder import Encoder

_SEED = 20240229  # of every random draw: exporting twice gives the same contract
# Units of the recurrent layer, all directions together, up to which so many sequences a call are embedded fastest: a
# wide state leaves the cache sooner. Measured on two cores with ONNX Runtime 1.32: 48 instead of 24 cost 4 % at two
# directions of 128 units, 24 instead of 64 cost 10 % at one of 64.
_BATCH_SIZES = ((64, 64), (96, 48), (128, 32))
_LEAST_BATCH_SIZE = 24


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export made.

    Attributes:
        path: The bundle.
        num_bytes: Its size.
        contract: What it carries.
        structure: Nodes of its graph.
        parity: How far ONNX Runtime was from Keras.
        seconds: From loading to the renamed file.
    """

    path: Path
    num_bytes: int
    contract: ModelContract
    structure: GraphStructure
    parity: Parity
    seconds: float


def export_encoder(config: ExportConfig) -> ExportReport:
    """Turn a trained encoder into one checked ONNX file.

    Raises:
        UsageError: The opset is not supported.
        InputError: The data given for a lone model cannot be read.
        BundleError: The source is incomplete or holds an unsupported layer, or its graph is not of the right form.
        QualityGateError: ONNX Runtime and Keras differ; nothing was written.
        OutputError: The file cannot be written.
    """
    start = time.monotonic()
    check_opset(config.opset)
    source = open_source(config)
    graph, num_recurrent = convert(source.model, config.opset)
    structure = check_structure(
        graph,
        num_features=source.model.num_features,
        embedding_dim=source.model.embedding_dim,
        num_recurrent=num_recurrent,
        opset=config.opset,
        source=str(config.source),
        frame=source.model.frame,
        num_ids=[vocabulary.num_ids for vocabulary in source.contract.schema.vocabularies],
    )
    source = replace(source, contract=replace(source.contract, batch_size=_batch_size(structure.recurrent_width)))
    contract, parity = _checked_contract(graph, source, config)
    bundle = assemble(graph, contract)
    write_bundle(bundle, config.out)
    return ExportReport(
        path=config.out,
        num_bytes=len(bundle),
        contract=contract,
        structure=structure,
        parity=parity,
        seconds=time.monotonic() - start,
    )


def _batch_size(recurrent_width: int) -> int:
    return next((size for width, size in _BATCH_SIZES if recurrent_width <= width), _LEAST_BATCH_SIZE)


def _checked_contract(graph: Any, source: ExportSource, config: ExportConfig) -> tuple[ModelContract, Parity]:
    """Measure the graph against Keras through the runner's encoder, and return the completed contract."""
    contract = replace(source.contract, versions={**source.contract.versions, **library_versions()})
    profile = contract.training.profile
    encoder = Encoder.from_bytes(assemble(graph, contract), source=str(config.out))
    reference = KerasReference(source.model)
    parity = measure_parity(reference, encoder, source.rows, profile, tolerance=config.tolerance, seed=_SEED)
    contract = replace(
        contract,
        parity=parity,
        embeddings=embedding_profile(encoder, source.rows),
        golden=golden_sequences(reference, encoder, profile, seed=_SEED),
    )
    return contract, parity
