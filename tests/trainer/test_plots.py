"""Pictures show what they were given: judged by their pixels, and by the graph behind the model's picture."""

import itertools

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from seqembed.data.errors import OutputError
from seqembed.trainer.backend import keras
from seqembed.trainer.model_graph import model_graph
from seqembed.trainer.model_picture import BOX_HEIGHT, BOX_WIDTH, place
from seqembed.trainer.plot_embeddings import MAX_LABELS, principal_components
from seqembed.trainer.plot_style import BLUE, COLOURS, ORANGE, plain
from seqembed.trainer.plots import plot_embeddings, plot_losses, plot_model, plot_reconstructions

ops, layers = keras.ops, keras.layers


@pytest.fixture
def png(tmp_path):
    return tmp_path / "picture.png"


def pixels(path, colour=None):
    """Return how many pixels of the picture have `colour`, or are not white."""
    picture = image.imread(path)[:, :, :3]
    if colour is None:
        return int((picture < 0.99).any(axis=2).sum())
    return int((np.abs(picture - to_rgb(colour)) < 0.01).all(axis=2).sum())


def history(num_epochs, **more):
    rows = [{"epoch": n, "loss": 2.0 / n, "val_loss": 2.5 / n} for n in range(1, num_epochs + 1)]
    return [{**row, **more} for row in rows]


@pytest.fixture(scope="module")
def models():
    values = keras.Input((None, 3), name="values", dtype="float32")
    lengths = keras.Input((), name="lengths", dtype="int32")
    positions = ops.cumsum(ops.ones_like(values[:, :, 0], dtype="int32"), axis=1)
    mask = ops.less_equal(positions, ops.expand_dims(lengths, 1))
    scaled = layers.Normalization(mean=np.zeros(3), variance=np.ones(3), name="standardise")(values)
    known = ops.where(ops.isnan(scaled), 0.0, scaled)
    outputs = layers.Bidirectional(layers.LSTM(4, return_sequences=True, return_state=True), name="both_ways")(
        known, mask=mask
    )
    mean = ops.mean(ops.where(ops.expand_dims(mask, -1), outputs[0], 0.0), axis=1)
    pooled = layers.Concatenate(name="pooled")([outputs[1], mean])
    encoder = keras.Model([values, lengths], layers.Dense(2, name="embedding")(pooled))

    embedding = keras.Input((2,), name="embedding")
    wide = layers.Dense(12, name="widen")(embedding)
    steps = layers.Add(name="add")([wide, layers.Dense(12, name="inner")(wide)])
    steps = layers.GRU(5, return_sequences=True, name="gru")(layers.Reshape((4, 3), name="reshape")(steps))
    decoder = keras.Model(embedding, ops.multiply(layers.Dense(3, name="steps")(steps), 2.0))
    return {"encoder": encoder, "decoder": decoder}


def test_losses_show_training_and_validation(png):
    plot_losses(history(12), png)
    both = pixels(png, ORANGE)
    assert pixels(png, BLUE) > 200
    assert both > 200
    plot_losses([{**row, "val_loss": None} for row in history(12)], png)
    assert pixels(png, BLUE) > 200
    assert pixels(png, ORANGE) == 0


def test_losses_of_one_epoch_show_a_point(png):
    plot_losses([{"epoch": 1, "loss": 0.5, "val_loss": float("nan")}], png)
    assert pixels(png, BLUE) > 20


def test_losses_with_accuracy_get_a_second_panel(png):
    plot_losses(history(5), png)
    height = image.imread(png).shape[0]
    plot_losses(history(5, binary_accuracy=0.7, val_binary_accuracy=0.6), png)
    assert image.imread(png).shape[0] > height


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan")])
def test_losses_that_no_logarithm_takes_are_still_drawn(loss, png):
    plot_losses([*history(30), {"epoch": 31, "loss": loss, "val_loss": loss}], png)
    assert pixels(png, BLUE) > 200


def test_losses_need_an_epoch(png):
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_losses([], png)


def waves(*lengths, features=6):
    return [np.sin(np.arange(n)[:, None] / 3 + np.arange(features)).astype(np.float32) for n in lengths]


def test_reconstructions_leave_a_gap_where_the_original_is_missing(png):
    originals = waves(12)
    names, titles = [f"c{n}" for n in range(6)], ["only"]
    plot_reconstructions(originals, [waves(12)[0] - 5], names, png, titles)
    whole = pixels(png, BLUE)
    originals[0][3:9] = np.nan
    plot_reconstructions(originals, [waves(12)[0] - 5], names, png, titles)
    assert 0 < pixels(png, BLUE) < 0.75 * whole


def test_reconstructions_show_four_sequences_and_four_features_at_most(png):
    def shape(sequences, features):
        steps = waves(*range(3, 3 + sequences), features=features)
        plot_reconstructions(steps, steps, [f"c{n}" for n in range(features)], png, ["_t$x$"] * sequences)
        return image.imread(png).shape

    full = shape(5, 6)
    assert shape(4, 4) == full
    few = shape(2, 2)
    assert few[0] < full[0]
    assert few[1] < full[1]


def test_reconstructions_of_a_single_step_are_drawn(png):
    plot_reconstructions([np.zeros((1, 1))], [np.ones((1, 1))], ["value"], png, ["one step"])
    assert min(pixels(png, BLUE), pixels(png, ORANGE)) > 5


def test_reconstructions_of_unequal_number_are_refused(png):
    with pytest.raises(ValueError, match="1, 1 and 2"):
        plot_reconstructions(waves(3), waves(3), ["a"], png, ["x", "y"])


def cloud(count, dim):
    return np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 2, 3, 64])
def test_embeddings_of_any_width_are_drawn_one_colour_a_label(dim, png):
    plot_embeddings(cloud(60, dim), png, ["abc"[n % 3] for n in range(60)], None, "kind")
    assert all(pixels(png, colour) > 30 for colour in COLOURS[:3])
    assert pixels(png, COLOURS[3]) == 0


def test_embeddings_without_labels_are_one_colour(png):
    plot_embeddings(cloud(50, 5), png)
    assert pixels(png) > pixels(png, BLUE) > 30
    assert pixels(png, ORANGE) == 0


def test_many_labels_become_a_colour_scale_only_if_they_are_numbers(png):
    count = MAX_LABELS + 5
    plot_embeddings(cloud(count, 2), png, [str(n) for n in range(count)], None, "age")
    assert pixels(png, "#440154") > 30  # the low end of the scale
    plot_embeddings(cloud(count, 2), png, [f"id {n}" for n in range(count)], None, "name")
    assert pixels(png, "#440154") == 0
    assert pixels(png, BLUE) > 30


def test_few_points_are_named_and_many_are_not(png):
    for count, named in ((12, True), (200, False)):
        names = [f"name {n}" for n in range(count)]
        plot_embeddings(cloud(count, 2), png)
        without = pixels(png)
        plot_embeddings(cloud(count, 2), png, None, names)
        assert (pixels(png) > without + 50) == named


@pytest.mark.parametrize("count", [1, 3])
def test_embeddings_that_are_all_equal_are_drawn(count, png):
    plot_embeddings(np.ones((count, 4), np.float32), png, [None] * count, ["日本"] * count, "l")
    assert pixels(png) > 100


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (np.ones((0, 3)), None, "shape"),
        (np.full((2, 2), np.nan), None, "finite"),
        (np.ones((2, 2)), ["one"], "1 labels for 2"),
    ],
)
def test_embeddings_that_make_no_map_are_refused(embeddings, labels, message, png):
    with pytest.raises(ValueError, match=message):
        plot_embeddings(embeddings, png, labels)


def test_principal_components_find_the_widest_directions():
    generator = np.random.default_rng(1)
    planted = generator.standard_normal((500, 2)) * [5, 2]
    rotation = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    embeddings = (planted @ rotation[:2] + 10).astype(np.float32)
    components, shares = principal_components(embeddings)
    assert shares.sum() == pytest.approx(1.0, abs=1e-6)
    assert shares[0] == pytest.approx(25 / 29, abs=0.03)
    for place_, column in enumerate(components.T):
        assert abs(np.corrcoef(column, planted[:, place_])[0, 1]) > 0.99
    np.testing.assert_allclose(components.mean(axis=0), 0, atol=1e-4)


def test_the_graph_holds_layers_with_operations_folded_away(models):
    graph = model_graph(models["encoder"])
    assert {box.name for box in graph.boxes} == {layer.name for layer in models["encoder"].layers}
    assert set(graph.edges) == {
        ("values", "standardise"),
        ("standardise", "both_ways"),
        ("lengths", "both_ways"),
        ("both_ways", "pooled"),
        ("pooled", "embedding"),
    }
    boxes = {box.name: box for box in graph.boxes}
    assert boxes["both_ways"].kind == "Bidirectional LSTM"
    assert boxes["both_ways"].shape == "batch × time × 8"
    assert boxes["both_ways"].num_parameters == 2 * 4 * (4 * (4 + 3) + 4)
    assert [name for name, box in boxes.items() if box.is_output] == ["embedding"]


def test_the_graph_keeps_a_layer_that_feeds_two_directly(models):
    graph = model_graph(models["decoder"])
    assert {("widen", "inner"), ("widen", "add"), ("inner", "add")} <= set(graph.edges)
    assert [box.name for box in graph.boxes if box.is_output] == ["steps"]


def test_the_graph_of_a_loaded_model_is_the_same(models, tmp_path):
    models["encoder"].save(tmp_path / "encoder.keras")
    assert model_graph(keras.models.load_model(tmp_path / "encoder.keras")) == model_graph(models["encoder"])


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_boxes_do_not_overlap_and_sources_stand_above(models, name):
    graph = model_graph(models[name])
    placement = place(graph)
    for (x0, y0), (x1, y1) in itertools.combinations(placement.centres.values(), 2):
        assert abs(x0 - x1) >= BOX_WIDTH or abs(y0 - y1) >= BOX_HEIGHT
    for source, target in graph.edges:
        assert placement.centres[source][1] > placement.centres[target][1] + BOX_HEIGHT
    for x, y in placement.centres.values():
        assert BOX_WIDTH / 2 <= x + 1e-9 <= placement.width - BOX_WIDTH / 2 + 2e-9
        assert BOX_HEIGHT / 2 <= y + 1e-9 <= placement.height


def test_the_picture_of_models_grows_with_them(models, png):
    plot_model({"encoder": models["encoder"]}, png)
    one = image.imread(png).shape
    plot_model(models, png)
    two = image.imread(png).shape
    assert two[1] > one[1]
    assert pixels(png, "#D6E8F5") > 2 * BOX_WIDTH * BOX_HEIGHT * 120**2 * 0.7  # two recurrent layers
    with pytest.raises(ValueError, match="at least one model"):
        plot_model({}, png)


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        plot_losses(history(2), tmp_path / "missing" / "losses.png")


def test_labels_are_shown_as_they_are():
    assert plain("a$b$") == r"a\$b\$"
    assert plain("_hidden") == " _hidden"
    assert len(plain("x" * 200)) < 40
