"""The int8 graph: one quantised node per layer, close to fp32, and independent of the padding."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.data.errors import BundleError, UsageError
from seqembed.data.profile import ProfileAccumulator
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.checks.fidelity import compare_vectors
from seqembed.exporter.checks.precision import embed_in_job_batches
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.exporter.onnx import quantise as module
from seqembed.exporter.onnx.convert import OPSETS, convert
from seqembed.exporter.onnx.quantise import quantise, quantised_weights, refuse_unquantisable
from seqembed.exporter.onnx.structure import check_structure
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.model.encoder import build_encoder

layers = keras.layers
WORDS = CategoricalField("word", "word", Vocabulary("string", ("b", "a", "c"), (50, 30, 10), 5, 5))
HYBRID = {"channels": "both", "normalization": "sequence", "pooling": "concat", "embedding_dim": None}
# Options of the encoder, fields, recurrent layers, and of these how many read something else than another's steps.
CASES = {
    "forward": ({"bidirectional": False, "pooling": "last"}, (), 1, 1),
    "stacked, both ways": ({"layers": 2, "pooling": "concat"}, (), 2, 1),
    "relu": ({"activation": "relu", "pooling": "mean"}, (), 1, 1),
    "frames": ({"frame": 3, "layers": 2, "pooling": "max"}, (), 2, 1),
    "default recipe": ({"frame": 2, **HYBRID}, (), 2, 2),
    "categories": ({"channels": "both", "normalization": "sequence"}, (WORDS,), 2, 2),
    "stacked branches of categories in frames": ({"layers": 2, "frame": 2, **HYBRID}, (WORDS,), 4, 2),
}
GARBAGE = [0.0, 1e6, -1e30, np.nan, np.inf, -np.inf]


@dataclass(frozen=True)
class Pair:
    """An encoder in fp32 and in int8, with its export."""

    made: Any
    graph: Any
    fp32: Encoder
    int8: Encoder
    rows: SequenceBlock
    num_layers: int
    num_wiped: int


def check(made: Any, graph: Any, num_recurrent: int, precision: str = "int8", fields: tuple = ()) -> Any:
    return check_structure(
        graph,
        num_features=made.model.num_features,
        outputs=made.model.outputs,
        num_recurrent=num_recurrent,
        opset=17,
        source="model",
        frame=made.model.frame,
        num_ids=[field.num_ids for field in fields],
        precision=precision,
    )


def in_int8(made: Any, graph: Any) -> Encoder:
    return Encoder.from_bytes(assemble(graph, replace(made.contract, precision="int8")), source="int8")


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def pair(
    request: pytest.FixtureRequest, rows: SequenceBlock, exported: Callable[..., Any], randomise: Callable[..., Any]
) -> Pair:
    """Return one encoder of each kind of the trainer."""
    keras.utils.set_random_seed(0)
    options, fields, num_layers, num_wiped = request.param
    ids = np.random.default_rng(2).integers(WORDS.num_ids, size=(len(rows.values), len(fields))).astype(np.int32)
    rows = as_block(rows.values, rows.lengths, ids)
    accumulator = ProfileAccumulator(rows.values.shape[1])
    accumulator.update(rows)
    profile = accumulator.finish()
    config = resolved(**{"units": 16, "embedding_dim": 12, "channels": "values", "normalization": "dataset", **options})
    made = exported(
        randomise(build_encoder(config, profile, None, fields), scale=0.1),
        fields=fields,
        profile=profile,
        frame=config.frame or 1,
    )
    graph = quantise(made.graph)
    structure = check(made, graph, num_layers, fields=fields)
    assert structure.op_counts["DynamicQuantizeLSTM"] == structure.num_recurrent == num_layers
    return Pair(made, graph, made.encoder, in_int8(made, graph), rows, num_layers, num_wiped)


def test_vectors_stay_close_to_fp32(pair: Pair) -> None:
    vectors, reference = embed_in_job_batches(pair.int8, pair.rows), embed_in_job_batches(pair.fp32, pair.rows)
    assert 1e-5 < np.abs(vectors - reference).max()  # it is not the fp32 graph that ran
    found = compare_vectors(vectors, reference)
    assert found.mean_cosine >= 0.999
    assert found.neighbour_agreement >= 0.95


def test_other_rows_hardly_change_a_vector(pair: Pair) -> None:
    singles = [pad(pair.rows, np.array([row])) for row in range(pair.rows.num_sequences)]
    alone = np.concatenate([pair.int8.embed(one.values, one.lengths, one.categories) for one in singles])
    assert compare_vectors(alone, embed_in_job_batches(pair.int8, pair.rows)).mean_cosine >= 0.999


def embed_with(encoder: Encoder, rows: SequenceBlock, garbage: float, extra: int = 0) -> Any:
    """Return the vectors of all rows in one batch, with garbage in its padding."""
    batch = pad(rows, np.arange(rows.num_sequences), int(rows.lengths.max()) + extra)
    padding = np.arange(batch.values.shape[1]) >= batch.lengths[:, None]
    batch.values[padding] = garbage
    batch.categories[padding] = 0 if np.isnan(garbage) else np.clip(garbage, -5, 2**31 - 1)
    return encoder.embed(batch.values, batch.lengths, batch.categories)


@pytest.mark.parametrize("extra", [0, 9])
def test_padding_changes_no_bit(pair: Pair, extra: int) -> None:
    vectors = [embed_with(pair.int8, pair.rows, garbage, extra) for garbage in GARBAGE]
    assert np.isfinite(vectors).all()
    for other in vectors[1:]:
        np.testing.assert_array_equal(other, vectors[0])


def test_an_outlier_does_not_degrade_other_rows(pair: Pair) -> None:
    """The trainer's encoders bound the input of recurrent layers; otherwise one value would use all 256 levels."""
    batch = pad(pair.rows, np.arange(20))
    calm = pair.int8.embed(batch.values, batch.lengths, batch.categories)
    batch.values[7] = 1e30
    beside = pair.int8.embed(batch.values, batch.lengths, batch.categories)
    others = np.arange(20) != 7
    found = compare_vectors(beside[others], calm[others])
    assert np.isfinite(beside).all()
    assert found.mean_cosine >= 0.999


def test_padding_is_zeroed_once_per_layer_unless_it_reads_the_steps_of_another(pair: Pair) -> None:
    wheres = [node for node in pair.graph.graph.node if node.op_type == "Where" and "/wiped/" in node.name]
    assert len(wheres) == pair.num_wiped


def test_a_sequence_without_steps_is_finite(pair: Pair) -> None:
    values = np.full((2, 6, pair.made.model.num_features), np.nan, np.float32)
    categories = np.zeros((2, 6, pair.made.model.num_fields), np.int32)
    assert np.isfinite(pair.int8.embed(values, np.array([0, 0], np.int32), categories)).all()


def test_the_embedding_depends_on_each_step(pair: Pair) -> None:
    """The tests above would also pass for an encoder that ignores its input."""
    one = pad(pair.rows, np.array([int(pair.rows.lengths.argmax())]))
    values = np.nan_to_num(one.values)
    base = pair.int8.embed(values, one.lengths, one.categories)
    for step in range(values.shape[1]):
        changed = values.copy()
        changed[0, step] += pair.made.contract.training.profile.std
        assert np.abs(pair.int8.embed(changed, one.lengths, one.categories) - base).max() > 1e-4


def test_without_zeroing_the_vectors_depend_on_padding(
    plain: Any, rows: SequenceBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer does not mask the padding if only recurrent layers read it."""
    monkeypatch.setattr(module, "_is_zero_padded", lambda *_: True)
    careless = in_int8(plain, quantise(plain.graph))
    assert np.abs(embed_with(careless, rows, 1e6) - embed_with(careless, rows, 0.0)).max() > 1e-3


def test_extra_steps_do_not_reach_the_scale(stacked: Any, rows: SequenceBlock) -> None:
    int8 = in_int8(stacked, quantise(stacked.graph))
    expected = embed_with(int8, rows, 0.0)
    np.testing.assert_allclose(embed_with(int8, rows, 1e6, extra=20), expected, atol=1e-6)  # sums in another order


def test_weights_of_a_column_are_within_half_a_step_and_seven_bits() -> None:
    weights = np.random.default_rng(0).normal(size=(2, 12, 5)).astype(np.float32)
    weights[1, 3] = 0
    weights[0, 4] *= 1000
    integers, scales = quantised_weights(weights)
    assert integers.dtype == np.int8 and integers.shape == (2, 5, 12) and scales.shape == (2, 12)
    assert (
        2 * 255 * int(np.abs(integers.astype(int)).max()) < 2**15
    )  # two products of a byte and a weight fit in 16 bits
    assert (scales > 0).all() and not integers[1, :, 3].any()
    assert sorted(set(np.abs(integers).max(axis=1).ravel())) == [0, 64]  # every other column fills its range
    found = (integers * scales[:, None]).transpose(0, 2, 1)
    assert (np.abs(found - weights) <= scales[:, :, None] * 0.5001).all()


@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_the_oldest_and_the_newest_opset(plain: Any, rows: SequenceBlock, opset: int) -> None:
    int8 = in_int8(plain, quantise(convert(plain.model, opset).graph))
    vectors = embed_in_job_batches(int8, rows)
    assert compare_vectors(vectors, embed_in_job_batches(plain.encoder, rows)).mean_cosine >= 0.999


def test_passed_states_and_other_layers_in_between(exported: Callable[..., Any], rows: SequenceBlock) -> None:
    """A model trained elsewhere: an LSTM starts from the states of another and reads them through a Dense layer."""
    values = keras.Input((None, 3))
    steps, *states = layers.LSTM(9, return_sequences=True, return_state=True)(layers.BatchNormalization()(values))
    backwards = layers.LSTM(6, return_sequences=True, go_backwards=True)(layers.Dense(7)(steps))
    final = layers.LSTM(9)(layers.Rescaling(3.0)(steps), initial_state=states)
    made = exported(keras.Model(values, layers.Concatenate()([final, layers.GlobalMaxPooling1D()(backwards)])))
    graph = quantise(made.graph)
    assert check(made, graph, 3).op_counts["Where"] >= 3
    int8 = in_int8(made, graph)
    found, expected = embed_in_job_batches(int8, rows), embed_in_job_batches(made.encoder, rows)
    assert compare_vectors(found, expected).mean_centred_cosine > 0.99
    for garbage in GARBAGE:
        np.testing.assert_array_equal(embed_with(int8, rows, garbage), embed_with(int8, rows, 7.0))


def quantised_nodes(graph: Any) -> list[Any]:
    return [node for node in graph.graph.node if node.op_type == "DynamicQuantizeLSTM"]


def test_an_int8_graph_is_not_valid_as_fp32_and_vice_versa(stacked: Any) -> None:
    with pytest.raises(BundleError, match=r"operators outside standard ONNX: com\.microsoft\.DynamicQuantizeLSTM"):
        check(stacked, quantise(stacked.graph), 2, precision="fp32")
    with pytest.raises(BundleError, match="has 0 DynamicQuantizeLSTM nodes"):
        check(stacked, stacked.graph, 2)


def test_other_operators_of_that_domain_are_refused(stacked: Any) -> None:
    graph = quantise(stacked.graph)
    graph.graph.node.append(onnx.helper.make_node("Gelu", ["embedding"], ["x"], domain="com.microsoft"))
    with pytest.raises(BundleError, match=r"com\.microsoft\.Gelu"):
        check(stacked, graph, 2)


def test_unconnected_lengths_are_refused(stacked: Any) -> None:
    graph = quantise(stacked.graph)
    quantised_nodes(graph)[1].input[4] = ""
    with pytest.raises(BundleError, match="sequence_lens of DynamicQuantizeLSTM node .* comes from 'nowhere'"):
        check(stacked, graph, 2)


def test_the_fp32_graph_is_unchanged(stacked: Any) -> None:
    before = stacked.graph.SerializeToString()
    quantise(stacked.graph)
    assert stacked.graph.SerializeToString() == before


@pytest.mark.parametrize("counts", [{"GRU": 2}, {"GRU": 1, "LSTM": 1}, {"MatMul": 1}])
def test_layers_without_quantised_operator_are_refused(stacked: Any, counts: dict) -> None:
    with pytest.raises(UsageError, match="model: --precision int8 quantises LSTM layers.*--precision fp32, or train"):
        refuse_unquantisable(replace(stacked.structure, op_counts=counts), "model")
