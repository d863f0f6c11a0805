"""Models trained elsewhere: supported layers and options equal Keras, all others are refused by name."""

import json
import zipfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from seqembed.data.errors import BundleError, QualityGateError
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.keras import layers as supported
from seqembed.exporter.keras.libraries import keras
from seqembed.exporter.keras.model import load_encoder

layers, ops = keras.layers, keras.ops


def stack(*model_layers: Any) -> Any:
    return keras.Sequential([keras.Input((None, 3)), *model_layers])


def functional(function: Callable[[Any], Any]) -> Any:
    values = keras.Input((None, 3))
    return keras.Model(values, function(values))


def lstm(units: int = 4, **options: Any) -> Any:
    return layers.LSTM(units, **options)


def gru(units: int = 4, **options: Any) -> Any:
    return layers.GRU(units, **options)


def both(layer: Any, **options: Any) -> Any:
    return layers.Bidirectional(layer, **options)


def average() -> Any:
    return layers.GlobalAveragePooling1D()


def largest() -> Any:
    return layers.GlobalMaxPooling1D()


def beside(*branches: Callable[[Any], Any]) -> Any:
    """Join the embeddings of several branches: none can hide a wrong number of another."""
    return functional(lambda values: layers.Concatenate()([branch(values) for branch in branches]))


def in_turn(*model_layers: Any) -> Callable[[Any], Any]:
    """Return a branch that calls one layer after the other."""

    def branch(values: Any) -> Any:
        for layer in model_layers:
            values = layer(values)
        return values

    return branch


def with_state(first: Any, second: Any) -> Callable[[Any], Any]:
    """Return a branch that uses the final state of the first layer as the initial state of the second."""

    def branch(values: Any) -> Any:
        steps, *states = first(values)
        return second(steps, initial_state=states)

    return branch


def merged(values: Any) -> Any:
    pairs = [(lstm()(values), gru()(values)) for _ in range(2)]
    names = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
    return layers.Concatenate()([getattr(layers, name)()(pairs[i % 2]) for i, name in enumerate(names)])


def everywhere(makers: Sequence[Callable[[], Any]]) -> Any:
    """Put stepwise layers, side by side, before a recurrent layer, after it, and after the pooling."""

    def each(values: Any) -> Any:
        return layers.Concatenate()([make()(values) for make in makers])

    return functional(in_turn(layers.Masking(), each, lstm(return_sequences=True), each, average(), each))


def two_directions_kept_apart(values: Any) -> Any:
    forward, backward = both(gru(return_sequences=True), merge_mode=None)(values)
    return largest()(layers.Subtract()([forward, backward]))


def one_output(structure: Callable[[Any], Any], embed: Callable[[Any], Any]) -> Any:
    values = keras.Input((None, 3))
    return keras.Model(values, structure(embed(values)))


def twice(values: Any, **options: Any) -> Any:
    shared = lstm()
    return layers.Add()([shared(values, **options), shared(layers.Rescaling(0.5)(values), **options)])


def takes_lengths(arrange: Callable[[Any, Any], Any], embed: Callable[..., Any]) -> Any:
    """Return a model whose inputs and single output are in a list or dict."""
    values, lengths = keras.Input((None, 3), name="steps"), keras.Input((), name="count", dtype="int64")
    known = ops.where(ops.isnan(values), 0.0, values)
    inside = ops.less_equal(ops.cumsum(ops.ones_like(values[:, :, 0], dtype="int64"), axis=1), lengths[:, None])
    return keras.Model(arrange(values, lengths), embed(ops.where(inside[:, :, None], known, 0.0), mask=inside))


def merged_ends(mode: str | None) -> Any:
    return both(lstm(), merge_mode=mode)


def merged_steps(mode: str | None) -> Any:
    return in_turn(both(gru(return_sequences=True), merge_mode=mode), largest())


# Each case is one conversion, which costs as much as several of its layers: forms that need no model of their own stand
# beside each other.
RECURRENT = {
    "the commonest model": (lambda: stack(layers.Masking(), lstm(), layers.Dense(3)), 1),
    "cells: narrow, backwards, reset before, without bias": (
        lambda: beside(
            lstm(1),
            lstm(go_backwards=True),
            gru(reset_after=False),
            gru(use_bias=False),
            gru(use_bias=False, reset_after=False),
            lstm(use_bias=False),
            lstm(dropout=0.5, recurrent_dropout=0.5),  # inactive
        ),
        7,
    ),
    "every step: reset before both ways, backwards into others, directions kept apart": (
        lambda: beside(
            in_turn(both(gru(reset_after=False, return_sequences=True)), average()),
            in_turn(lstm(go_backwards=True, return_sequences=True), gru()),
            in_turn(gru(go_backwards=True, return_sequences=True), layers.Dense(3), lstm()),
            two_directions_kept_apart,
        ),
        6,
    ),
    "states": (
        lambda: beside(
            with_state(gru(return_sequences=True, return_state=True), gru()),
            with_state(both(lstm(return_sequences=True, return_state=True)), both(lstm())),
        ),
        4,
    ),
    "relu": (lambda: stack(both(lstm(activation="relu"))), 1),
    "activations": (
        lambda: beside(
            gru(activation="sigmoid"),
            gru(activation="hard_sigmoid", recurrent_activation="hard_sigmoid"),
            in_turn(both(lstm(recurrent_activation="hard_sigmoid", return_sequences=True)), largest()),
            both(
                lstm(), backward_layer=lstm(go_backwards=True, activation="relu", recurrent_activation="hard_sigmoid")
            ),
            in_turn(layers.Dense(4, activation="gelu"), lstm(), layers.Activation("gelu")),
        ),
        5,
    ),
    "a list of one output, of a model in a model": (
        lambda: one_output(
            lambda embedding: [embedding],
            lambda values: layers.Concatenate()(
                [
                    average()(stack(layers.Masking(), lstm(return_sequences=True))(values)),
                    in_turn(lstm(return_sequences=True), layers.GlobalAveragePooling1D(keepdims=True), largest())(
                        values
                    ),
                    layers.Dropout(0.5)(lstm()(values)),
                ]
            ),
        ),
        3,
    ),
    "lengths in a list": (lambda: takes_lengths(lambda *inputs: list(inputs), both(gru())), 1),
    "lengths in a dict, and a dict of one output, of a layer called twice": (
        lambda: takes_lengths(
            lambda values, lengths: {"steps": values, "count": lengths},
            lambda values, mask: {"embedding": twice(values, mask=mask)},
        ),
        2,
    ),
    # Steps and ends are joined by the same code, and encoders of the trainer concatenate either.
    "merge ends and steps": (
        lambda: beside(merged_ends("concat"), merged_ends("ave"), merged_steps("sum"), merged_steps("mul")),
        4,
    ),
}
STEPWISE = {
    "activations of every step": [
        lambda: layers.Activation("softmax"),
        layers.ELU,
        layers.LeakyReLU,
        lambda: layers.ReLU(max_value=2.0),
    ],
    "scales of every step": [
        layers.BatchNormalization,
        lambda: layers.Dense(4, activation="relu"),
        layers.LayerNormalization,
        lambda: layers.Rescaling(0.5, 1.0),
    ],
    "layers that only training uses": [
        lambda: layers.ActivityRegularization(0.1),
        lambda: layers.Dropout(0.5),
        lambda: layers.GaussianDropout(0.5),
        lambda: layers.GaussianNoise(0.5),
        layers.Identity,
    ],
}
MEAN = [1.0, 2.0, 3.0]
OTHERS = {
    "layers of the input, and merging layers": (
        lambda: beside(
            in_turn(layers.Normalization(mean=MEAN, variance=[1.0, 4.0, 0.0]), lstm()),
            in_turn(layers.Normalization(mean=MEAN, variance=[1.0, 4.0, 0.5], invert=True), lstm()),
            in_turn(layers.SpatialDropout1D(0.5), lstm()),
            merged,
        ),
        7,
    ),
    "no recurrent layer": (lambda: stack(layers.Dense(4), largest()), 0),
}
CASES = {
    **RECURRENT,
    **{name: (partial(everywhere, makers), 1) for name, makers in STEPWISE.items()},
    **OTHERS,
}


@cache
def model_of(name: str) -> Any:
    """Return the Keras model of a case, made once."""
    return CASES[name][0]()


@pytest.mark.parametrize("name", CASES)
def test_equal_to_keras(
    exported: Callable[..., Any],
    randomise: Callable[..., Any],
    rows: SequenceBlock,
    profile: SequenceProfile,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    if name in ("relu", "activations"):  # unbounded, see below
        request.getfixturevalue("rounding_counts")
    made = exported(randomise(model_of(name), seed=sum(map(ord, name))), from_file=True)
    # Stacked relu cells with random weights are unbounded and amplify rounding, in Keras too. A wrong gate order
    # differs by far more; relu encoders of the trainer are tested with 1e-5 in test_architectures.
    tolerance = 1e-3 if name == "relu" else 1e-5
    parity = measure_parity(made.reference, made.encoder, rows, profile, tolerance=tolerance, seed=2)
    assert parity.max_difference <= tolerance
    assert made.structure.num_recurrent == CASES[name][1]


def test_every_supported_layer_is_tested_above() -> None:
    configs = [{"config": model_of(name).get_config()} for name in CASES]
    tried = {layer["class_name"] for config in configs for layer in supported._flat_layers(config)}
    assert tried | {"Embedding"} >= set(supported.SUPPORTED)  # it reads categories: test_categories.py


def batch_state() -> Any:
    return keras.Sequential([keras.Input(batch_shape=(2, None, 3)), lstm(stateful=True)])


REFUSED = {
    "Conv1D": (lambda: stack(layers.Conv1D(4, 3, name="sliding"), lstm()), "'sliding' is of class Conv1D"),
    "Conv1D that drops steps": (
        lambda: stack(layers.Conv1D(4, 3, padding="same", strides=2, trainable=False, name="wide"), lstm()),
        "'wide' is of class Conv1D",
    ),
    "Lambda": (lambda: stack(layers.Lambda(abs, name="mine"), lstm()), "'mine' is of class Lambda"),
    "Attention": (
        lambda: functional(lambda x: lstm()(layers.Attention(name="looks")([x, x]))),
        "'looks' is of class Attention",
    ),
    "ZeroPadding1D": (
        lambda: stack(layers.ZeroPadding1D(2, name="wider"), lstm()),
        "'wider' is of class ZeroPadding1D",
    ),
    "nested": (lambda: stack(stack(layers.Conv1D(4, 3, name="inside")), lstm()), "'inside' is of class Conv1D"),
    "fixed time": (lambda: keras.Sequential([keras.Input((5, 3)), lstm()]), r"number of steps must be None"),
    "steps out": (lambda: stack(lstm(return_sequences=True)), "returns one .batch, embedding_dim. tensor"),
    "two inputs": (
        lambda: (lambda a, b: keras.Model([a, b], lstm()(layers.Add()([a, b]))))(
            keras.Input((None, 3)), keras.Input((None, 3))
        ),
        "takes one .batch, time, features. tensor",
    ),
    "half precision": (lambda: stack(lstm(dtype="mixed_float16", name="half")), "'half' computes in float16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_refused_at_loading(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    path = tmp_path / "external_model.keras"
    make().save(path)
    with pytest.raises(BundleError, match=message) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)


def test_the_error_lists_supported_layers(tmp_path: Path) -> None:
    path = tmp_path / "external_model.keras"
    stack(layers.Conv1D(4, 3), lstm()).save(path)
    with pytest.raises(BundleError) as caught:
        load_encoder(path)
    positions = [str(caught.value).index(name) for name in ("Bidirectional", "GRU", "LSTM", "Masking")]
    assert all(first < second for first, second in pairwise(positions))


def test_a_model_of_a_custom_class(tmp_path: Path) -> None:
    path = tmp_path / "external_model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Mine", "config": {}}))
    with pytest.raises(BundleError, match="of class 'Mine'; only Sequential and functional models"):
        load_encoder(path)


def test_a_model_without_its_weights(tmp_path: Path) -> None:
    stack(lstm()).save(tmp_path / "complete.keras")
    path = tmp_path / "external_model.keras"
    with zipfile.ZipFile(tmp_path / "complete.keras") as complete, zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json"):
            archive.writestr(name, complete.read(name))
    with pytest.raises(BundleError, match="Keras cannot load this model"):
        load_encoder(path)


UNCONVERTIBLE = {
    "stateful": (batch_state, "is stateful"),
    "cell": (lambda: stack(both(layers.SimpleRNN(4))), "runs a SimpleRNN"),
    "activation": (lambda: stack(gru(activation="softplus")), "activation='softplus'"),
    "gate": (lambda: stack(gru(recurrent_activation="elu")), "recurrent_activation='elu'"),
    "directions": (
        lambda: stack(both(lstm(4), backward_layer=lstm(5, go_backwards=True))),
        r"combines LSTM\(units=4.*and LSTM\(units=5",
    ),
    "channels": (
        lambda: stack(layers.GlobalMaxPooling1D("channels_first", keepdims=True), lstm()),
        "pools channels_first",
    ),
}


@pytest.mark.parametrize("name", UNCONVERTIBLE)
def test_options_refused_at_conversion(exported: Callable[..., Any], name: str) -> None:
    make, message = UNCONVERTIBLE[name]
    with pytest.raises(BundleError, match=message):
        exported(make())


@pytest.mark.parametrize("look", [lambda steps: ops.mean(steps, axis=1), lambda steps: steps[:, -1]])
def test_a_model_that_reads_beyond_the_end_fails_parity(
    exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile, look: Callable[[Any], Any]
) -> None:
    made = exported(functional(lambda values: look(lstm(return_sequences=True)(values))))
    with pytest.raises(QualityGateError, match="reads beyond the end of a sequence"):
        measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=2)
