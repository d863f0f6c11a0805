"""`export --with-decoder`: the reconstruction error of every decoder, against Keras's own and by the laws."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batching_testing import assert_alone_equals_batched, batches, examples
from hypothesis import given
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.data.contract import ModelContract, TrainingData
from seqembed.data.embedding_blocks import block_scales, fit_projection
from seqembed.data.errors import BundleError, UsageError
from seqembed.data.layout import RunLayout
from seqembed.data.outputs import RECONSTRUCTION_ERROR
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.sample_rows import write_sequences
from seqembed.data.schema.classes import frequencies, num_classes
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import MISSING_ID, Vocabulary
from seqembed.data.sequences import LengthPolicy, SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.config import ExportConfig
from seqembed.exporter.job import export_encoder
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.model import load_encoder
from seqembed.exporter.onnx.convert import convert
from seqembed.exporter.onnx.structure import check_structure
from seqembed.exporter.report import ExportReport
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.model.blocks import OutputMap, embedding_blocks
from seqembed.trainer.model.network import build_network, embed

TOLERANCE = 1e-5
FIXED_LENGTH = 12
WORDS = Vocabulary("string", ("b", "a", "c"), (50, 30, 10), num_unknown=5, num_missing=5)
FIELDS = (CategoricalField("word", "word", WORDS),)
# By name: features, fields, and options of the model. Between them every decoder, cell, objective, task and frame; the
# encoder reads both ways in one of them.
CASES: dict[str, tuple[int, tuple[CategoricalField, ...], dict[str, Any]]] = {
    "positional": (3, (), {"objective": "hybrid", "decoder": "positional", "frame": 2, "embedding_dim": 9}),
    "repeat": (3, (), {"decoder": "repeat", "cell": "lstm", "frame": 3, "decoder_layers": 2, "bidirectional": True}),
    "autoregressive": (3, FIELDS, {"decoder": "autoregressive", "cell": "gru", "reverse_target": True}),
    "reshape": (3, (), {"decoder": "reshape", "cell": "lstm", "task": "composite"}),
    "dense": (3, FIELDS, {"decoder": "dense", "cell": "gru"}),
    "binary": (2, (), {"decoder": "repeat", "loss": "binary_crossentropy", "cell": "gru"}),
    "categories": (0, FIELDS, {"decoder": "positional", "normalization": "sequence", "embedding_dim": 10}),
}
HELD_OUT = "binary"  # the case with held-out sequences


@dataclass(frozen=True)
class Run:
    """A run directory with random weights, and its export."""

    layout: RunLayout
    out: Path
    report: ExportReport
    encoder: Encoder


def block_of(lengths: list[int], num_features: int, fields: tuple[CategoricalField, ...], seed: int) -> SequenceBlock:
    """Return sequences, a tenth of whose numbers and some of whose categories are missing."""
    random = np.random.default_rng(seed)
    if num_features == 2:  # zeros and ones
        values = random.integers(2, size=(sum(lengths), 2)).astype(np.float32)
    else:
        values = random.normal(size=(sum(lengths), num_features)) * [1, 2, 30][:num_features]
        values = (values + np.array([0, 5, -4000])[:num_features]).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    ids = [random.integers(field.num_ids, size=sum(lengths)) for field in fields]
    categories = np.stack(ids, axis=1).astype(np.int32) if fields else None
    return as_block(values, np.array(lengths), categories)


def profile_of(block: SequenceBlock) -> SequenceProfile:
    accumulator = ProfileAccumulator(block.values.shape[1])
    accumulator.update(block)
    return accumulator.finish()


def write_run(root: Path, name: str, randomise: Callable[..., Any]) -> RunLayout:
    """Write the run directory of a network with random weights."""
    num_features, fields, options = CASES[name]
    rows = block_of([1, FIXED_LENGTH, *range(1, 13), *range(1, 13)], num_features, fields, seed=3)
    profile = profile_of(rows)
    config = resolved(**{"units": 6, "objective": "reconstruct", "decoder_units": 7, "bidirectional": False, **options})
    network = build_network(config, profile, FIXED_LENGTH, None, fields)
    blocks = embedding_blocks(config, num_features, fields)
    randomise(network.autoencoder, scale=0.1)
    if config.projects:  # scaled and projected after the training
        vectors = embed(network, rows)
        scales = block_scales(vectors, blocks)
        projection = fit_projection(vectors * scales, [block.width for block in blocks], config.embedding_dim)
        mapped = OutputMap(scales, projection)
        network = build_network(config, profile, FIXED_LENGTH, None, fields, mapped, trained=network)
        randomise(network.decoder, scale=0.1)
    layout = RunLayout(root)
    root.mkdir(parents=True)
    network.encoder.save(layout.encoder)
    network.autoencoder.save(layout.autoencoder)
    features = tuple(Feature(f"f{index}", f"f{index}") for index in range(num_features))
    contract = ModelContract(
        schema=SequenceSchema("id", features, "nested", categorical=fields),
        length_policy=LengthPolicy(),
        embedding_dim=network.encoder.output_shape[-1],
        architecture=config.to_options(),
        training=TrainingData("0" * 64, 1, profile),
        versions={"keras": "0"},
        frame=config.frame,
    )
    layout.contract.write_text(contract.to_json(), encoding="utf-8")
    write_sequences(layout.sample, rows, contract.schema)
    if name == HELD_OUT:
        write_sequences(layout.held_out, block_of([3] * 40, num_features, fields, seed=5), contract.schema)
    return layout


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory, randomise: Callable[..., Any]) -> Callable[[str], Run]:
    """Return a function that makes the export of a case once; tests that change its directory change a copy."""

    @cache
    def export(name: str) -> Run:
        keras.utils.set_random_seed(0)
        root = tmp_path_factory.mktemp(name)
        layout = write_run(root / "run", name, randomise)
        report = export_encoder(ExportConfig(layout.root, root / "encoder.onnx", with_decoder=True, card=False))
        return Run(layout, report.path, report, Encoder.open(report.path))

    return export


@pytest.fixture(params=CASES)
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> Run:
    """Return the export of each case."""
    if CASES[request.param][2].get("objective") == "hybrid":  # whose decoder undoes a tanh
        request.getfixturevalue("rounding_counts")
    return run_of(request.param)


@pytest.fixture
def repeat(run_of: Callable[[str], Run]) -> Run:
    """Return the export of a decoder that repeats the embedding."""
    return run_of("repeat")


@pytest.fixture
def copied(repeat: Run, tmp_path: Path) -> RunLayout:
    """Return a copy of its run directory, to change."""
    return RunLayout(Path(shutil.copytree(repeat.layout.root, tmp_path / "run")))


def expected_errors(run: Run, block: SequenceBlock) -> np.ndarray:
    """Return the errors by their definition, from what ``autoencoder.keras`` writes in raw units."""
    autoencoder = keras.models.load_model(run.layout.autoencoder, compile=False)
    # Traced once: called directly, it takes several times as long.
    signature = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in autoencoder.input.items()}
    call = tf.function(autoencoder, input_signature=[signature], autograph=False)
    schema, profile = run.report.contract.schema, run.report.contract.training.profile
    errors = []
    for row in range(block.num_sequences):
        one = pad(block, np.array([row]))
        given = {"values": one.values, "categories": one.categories, "lengths": one.lengths}
        written = call({name: tf.constant(given[name]) for name in autoencoder.input})
        written = written if isinstance(written, dict) else {"reconstruction": written}
        found = []
        if schema.features:
            raw = written["reconstruction"].numpy()[0].astype(np.float64)
            scaled = np.clip((one.values[0] - profile.mean) / profile.std, -10, 10)
            found.append(((raw - profile.mean) / profile.std - scaled) ** 2)
        for index, field in enumerate(schema.categorical):
            ids = one.categories[0, :, index]
            shares = frequencies(field) / frequencies(field).sum()
            entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
            chosen = written[f"reconstruction.{field.name}"].numpy()[0, np.arange(len(ids)), ids]
            found.append(np.where(ids == MISSING_ID, np.nan, -np.log(chosen) / entropy)[:, None])
        errors.append(np.nanmean(np.concatenate(found, axis=1)))
    return np.array(errors)


def test_the_error_is_that_of_the_reconstruction_of_keras(run: Run) -> None:
    num_features, fields = run.report.structure, run.report.contract.schema.categorical
    num_features = run.report.contract.schema.num_features
    # Longer sequences than a decoder of fixed length writes, too: its other steps do not count.
    block = block_of([2, 5, FIXED_LENGTH, 19], num_features, fields, seed=8)
    batch = pad(block, np.arange(4))
    found = run.encoder.run(batch.values, batch.lengths, batch.categories)[RECONSTRUCTION_ERROR]
    in_order = np.empty(4)
    in_order[batch.rows] = found
    np.testing.assert_allclose(in_order, expected_errors(run, block), rtol=2e-4)


def test_parity_golden_sequences_and_the_contract_go_over_the_error(run: Run) -> None:
    contract = run.encoder.contract
    assert [output.name for output in contract.outputs] == ["embedding", RECONSTRUCTION_ERROR]
    assert contract.parity is not None
    assert contract.parity.max_difference <= TOLERANCE
    assert contract.parity.num_real >= 26
    assert all(RECONSTRUCTION_ERROR in golden.outputs for golden in contract.golden)
    assert run.encoder.replay_golden() <= TOLERANCE
    assert contract.errors is not None
    held_out = run.layout.held_out.is_file()
    assert (contract.errors.held_out, contract.errors.num_sequences) == (held_out, 40 if held_out else 26)
    again = ModelContract.from_json(contract.to_json(), "again")
    assert again.errors == contract.errors
    counts = run.report.structure.op_counts
    assert not {"Loop", "Scan", "If"} & set(counts)


@pytest.mark.parametrize("name", ["positional", "autoregressive", "categories"])
def test_the_embedding_keeps_its_bytes(name: str, run_of: Callable[[str], Run]) -> None:
    """Of the conversion without the decoder, which the next test exports.

    With the projection of an embedding undone, with a decoder that reads the values too, and with one of categories.
    """
    run = run_of(name)
    contract, model = run.report.contract, load_encoder(run.layout.encoder, run.report.contract.frame)
    converted, schema = convert(model, 17), contract.schema
    structure = check_structure(
        converted.graph,
        num_features=model.num_features,
        outputs=model.outputs,
        num_recurrent=converted.num_recurrent,
        opset=17,
        source="plain",
        frame=model.frame,
        num_ids=[vocabulary.num_ids for vocabulary in schema.vocabularies],
    )
    assert structure.recurrent_width == run.report.structure.recurrent_width  # which decides on the size of batches
    plain_contract = replace(contract, other_outputs=(), golden=(), errors=None)
    plain = Encoder.from_bytes(assemble(converted.graph, plain_contract), source="plain")
    for lengths in ([1], [3, 12, 5], [*range(1, 40)]):
        block = block_of(lengths, schema.num_features, schema.categorical, seed=len(lengths))
        batch = pad(block, np.arange(len(lengths)))
        given = batch.values, batch.lengths, batch.categories
        expected = plain.run(*given)["embedding"]
        np.testing.assert_array_equal(run.encoder.run(*given)["embedding"], expected)
        np.testing.assert_array_equal(run.encoder.embed(*given), expected)  # without the nodes of the decoder


def test_an_export_without_the_decoder_differs_in_nothing_else(repeat: Run, tmp_path: Path) -> None:
    plain = Encoder.open(export_encoder(ExportConfig(repeat.layout.root, tmp_path / "plain.onnx", card=False)).path)
    assert plain.contract.batch_size == repeat.encoder.contract.batch_size
    assert [output.name for output in plain.contract.outputs] == ["embedding"]
    batch = pad(block_of([3, 12, 5], 3, (), seed=3), np.arange(3))
    expected = repeat.encoder.run(batch.values, batch.lengths)["embedding"]
    np.testing.assert_array_equal(plain.run(batch.values, batch.lengths)["embedding"], expected)


@examples(15)
@given(drawn=st.fixed_dictionaries(batches(25, 12, 20)), garbage_id=st.sampled_from([-1, 0, 2**31 - 1]))
def test_alone_equals_batched_shuffled_and_padded(run: Run, drawn: dict[str, Any], garbage_id: int) -> None:
    schema = run.encoder.contract.schema
    block = block_of(drawn.pop("lengths"), schema.num_features, schema.categorical, drawn["seed"])
    # The projection of a hybrid model is undone by an arctanh, which amplifies the last bit.
    rtol = 1e-4 if run.encoder.contract.architecture["objective"] == "hybrid" else 5e-6
    assert_alone_equals_batched(run.encoder, block, **drawn, garbage_id=garbage_id, rtol=rtol)


def test_only_known_values_count(run: Run) -> None:
    schema = run.encoder.contract.schema
    values = np.full((2, 4, schema.num_features), np.nan, np.float32)
    categories = np.full((2, 4, schema.num_fields), MISSING_ID, np.int32)
    values[1, 2, :1] = 1.0
    categories[1, 2, :1] = 0
    lengths = np.array([4, 4], np.int32)
    unknown, known = run.encoder.run(values, lengths, categories)[RECONSTRUCTION_ERROR]
    assert unknown == -1.0
    assert known > 0
    assert (run.encoder.run(values, np.array([0, 0], np.int32), categories)[RECONSTRUCTION_ERROR] == -1.0).all()


def test_a_rare_category_counts_as_the_last_class(randomise: Callable[..., Any]) -> None:
    many = Vocabulary("integer", tuple(range(1_500)), tuple(range(3_000, 1_500, -1)), num_unknown=0, num_missing=0)
    field = CategoricalField("code", "code", many)
    assert num_classes(field) == 1_003
    from seqembed.exporter.keras.reconstruction import _category_sums

    written = np.full((1, 2, 1_003), 1e-5, np.float32)
    written[0, :, 1_002] = 0.5
    ids = np.array([[1_400, MISSING_ID]], np.int32)
    total, count = _category_sums(ids, written, np.array([[True, True]]), 2.0)
    assert (float(total[0]), float(count[0])) == pytest.approx((np.log(2) / 2, 1))


def test_int8_passes_its_gate_over_the_error_too(tmp_path: Path, repeat: Run) -> None:
    config = ExportConfig(repeat.layout.root, tmp_path / "int8.onnx", with_decoder=True, precision="int8", card=False)
    report = export_encoder(config)
    assert report.structure.op_counts["DynamicQuantizeLSTM"] == 3
    assert report.contract.quantisation is not None
    assert Encoder.open(report.path).replay_golden() <= report.contract.quantisation.golden_tolerance


def test_files_of_different_trainings_are_refused(
    tmp_path: Path, copied: RunLayout, randomise: Callable[..., Any]
) -> None:
    layout = copied
    keras.utils.set_random_seed(7)
    model = keras.models.load_model(layout.autoencoder, compile=False)
    randomise(model, seed=9)
    model.save(layout.autoencoder)
    with pytest.raises(BundleError, match="other weights than encoder.keras"):
        export_encoder(ExportConfig(layout.root, tmp_path / "encoder.onnx", with_decoder=True))
    layout.autoencoder.unlink()
    with pytest.raises(BundleError, match=r"autoencoder.keras: there is no such file"):
        export_encoder(ExportConfig(layout.root, tmp_path / "encoder.onnx", with_decoder=True))


def test_a_run_or_file_without_a_decoder_is_refused(
    tmp_path: Path, copied: RunLayout, profile: SequenceProfile
) -> None:
    layout = copied
    config = resolved(units=6, objective="contrast", embedding_dim=4)
    build_network(config, profile, FIXED_LENGTH).autoencoder.save(layout.autoencoder)
    with pytest.raises(UsageError, match="this one has none: it was trained with --objective contrast"):
        export_encoder(ExportConfig(layout.root, tmp_path / "encoder.onnx", with_decoder=True))
    with pytest.raises(UsageError, match=r"--with-decoder exports the decoder of a run; .* is a .keras file"):
        ExportConfig(layout.encoder, tmp_path / "encoder.onnx", data=("x.parquet",), with_decoder=True)
    assert not (tmp_path / "encoder.onnx").exists()


def test_errors_of_held_out_rows_are_measured_where_there_are_some(run_of: Callable[[str], Run]) -> None:
    errors = run_of(HELD_OUT).report.contract.errors
    assert errors is not None
    assert (errors.held_out, errors.num_sequences) == (True, 40)


def test_held_out_rows_of_another_training_are_refused(tmp_path: Path, copied: RunLayout) -> None:
    schema = ModelContract.from_json(copied.contract.read_text(encoding="utf-8"), "run").schema
    block = block_of([3] * 40, 2, (), seed=5)
    write_sequences(copied.held_out, block, replace(schema, features=schema.features[:2]))
    with pytest.raises(BundleError, match=r"held_out.parquet: 2 features .* encoder takes 3"):
        export_encoder(ExportConfig(copied.root, tmp_path / "encoder.onnx", with_decoder=True, card=False))
