"""Pictures show the given data, judged by their pixels and by the graph behind the model's picture."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb
from model_testing import resolved

from seqembed.data.display import pictures
from seqembed.data.display.pictures import ORANGE, PALE_BLUE, plain
from seqembed.data.errors import OutputError
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.network import build_network
from seqembed.trainer.plots.figures import (
    draw_losses,
    draw_reconstructions,
    plot_losses,
    plot_model,
    plot_reconstructions,
)
from seqembed.trainer.plots.model_graph import model_graph
from seqembed.trainer.plots.model_picture import BOX_HEIGHT, BOX_WIDTH, arrange
from seqembed.trainer.plots.pictures import chosen_rows

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


def test_losses_show_training_and_validation_even_where_they_agree(png):
    plot_losses([{**row, "val_loss": row["loss"]} for row in history(60)], png)
    assert pixels(png, PALE_BLUE) > 200
    assert pixels(png, ORANGE) > 200
    plot_losses([{**row, "val_loss": None} for row in history(12)], png)
    assert pixels(png, PALE_BLUE) > 200
    assert pixels(png, ORANGE) == 0


def line(axes, label):
    return next(each for each in axes.get_lines() if each.get_label() == label)


def test_losses_mark_the_best_record_and_the_baseline():
    records = [{**row, "val_loss": abs(row["epoch"] - 7) + 1.0} for row in history(12)]
    figure = draw_losses(records, baseline=1.25)
    axes = figure.axes[0]
    assert line(axes, "weights kept").get_xydata().tolist() == [[7.0, 1.0]]
    baseline = line(axes, "predicting the mean: 1.25")
    assert set(baseline.get_ydata()) == {1.25}
    assert axes.get_ylim()[0] < 1.25 < axes.get_ylim()[1]
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"training", "validation", "weights kept", "predicting the mean: 1.25"}
    assert "lowest validation loss 1 after epoch 7 of 12" in figure.get_suptitle()


def test_the_baseline_stays_visible_far_from_the_losses():
    axes = draw_losses(history(5), baseline=1000.0).axes[0]
    assert axes.get_ylim()[1] > 1000
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("records_an_epoch", "measured_in", "label", "last"),
    [(1, "epochs", "epoch", 6), (1, "steps", "batches", 150), (3, "epochs", "batches", 150)],
)
def test_losses_are_drawn_over_the_unit_of_the_training(records_an_epoch, measured_in, label, last):
    records = [{**row, "epoch": (n // records_an_epoch) + 1, "step": 25 * (n + 1)} for n, row in enumerate(history(6))]
    axes = draw_losses(records, measured_in=measured_in).axes[0]
    assert axes.get_xlabel() == label
    indices = line(axes, "training").get_xdata()
    assert indices[-1] == last
    assert (np.diff(indices) > 0).all()


def test_losses_of_one_epoch_show_a_point(png):
    plot_losses([{"epoch": 1, "loss": 0.5, "val_loss": float("nan")}], png)
    assert pixels(png, PALE_BLUE) > 20


def test_losses_with_accuracy_get_a_second_panel(png):
    plot_losses(history(5), png)
    height = image.imread(png).shape[0]
    plot_losses(history(5, binary_accuracy=0.7, val_binary_accuracy=0.6), png)
    assert image.imread(png).shape[0] > height


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan")])
def test_losses_that_are_not_positive_are_drawn(loss, png):
    plot_losses([*history(30), {"epoch": 31, "loss": loss, "val_loss": loss}], png)
    assert pixels(png, PALE_BLUE) > 200


def test_losses_need_an_epoch(png):
    with pytest.raises(ValueError, match="at least one record"):
        plot_losses([], png)


def waves(*lengths, features=6):
    return [np.sin(np.arange(n)[:, None] / 3 + np.arange(features)).astype(np.float32) for n in lengths]


def test_reconstructions_leave_a_gap_where_the_original_is_missing(png):
    originals = waves(12)
    names, titles = [f"c{n}" for n in range(6)], ["only"]
    plot_reconstructions(originals, [waves(12)[0] - 5], names, png, titles)
    complete = pixels(png, PALE_BLUE)
    originals[0][3:9] = np.nan
    plot_reconstructions(originals, [waves(12)[0] - 5], names, png, titles)
    assert 0 < pixels(png, PALE_BLUE) < 0.75 * complete


def test_reconstructions_show_four_sequences_and_four_features_at_most():
    def drawn(sequences, features):
        steps = waves(*range(3, 3 + sequences), features=features)
        figure = draw_reconstructions(steps, steps, [f"c{n}" for n in range(features)], ["_t$x$"] * sequences)
        return tuple(figure.get_size_inches()), len(figure.axes), figure.get_suptitle()

    assert drawn(5, 6)[:2] == drawn(4, 4)[:2]
    assert drawn(4, 4)[1] == 16
    assert drawn(2, 2)[1] == 4
    assert "first 4 of 6 features" in drawn(5, 6)[2]


def test_reconstructions_that_agree_show_both_curves(png):
    plot_reconstructions(waves(30), waves(30), [f"c{n}" for n in range(6)], png, ["exact"])
    assert pixels(png, PALE_BLUE) > 200
    assert pixels(png, ORANGE) > 200


def test_reconstructions_of_one_feature_get_large_panels_two_per_row():
    def panels(sequences, features):
        steps = waves(*range(3, 3 + sequences), features=features)
        figure = draw_reconstructions(
            steps, steps, [f"c{n}" for n in range(features)], ["a\nrising, 3 steps"] * sequences
        )
        figure.canvas.draw()
        assert all(axes.get_title(loc="left") == "a\nrising, 3 steps" for axes in figure.axes[:sequences])
        return [axes.get_window_extent() for axes in figure.axes]

    one, several = panels(4, 1), panels(4, 2)
    assert (len(one), len(several)) == (4, 8)
    assert one[0].width > 1.3 * several[0].width
    assert one[0].height > 1.3 * several[0].height
    assert one[0].y0 > one[2].y1
    assert len(panels(3, 1)) == 3


def test_sequences_of_every_label_are_shown():
    labels = ["a"] * 50 + ["b"] * 3 + [None, "c"]
    lengths = np.arange(len(labels)) % 7 + 1
    chosen = chosen_rows(lengths, labels)
    assert [labels[row] for row in chosen] == ["a", "b", "c", None]
    assert lengths[chosen[0]] == 4  # neither the shortest nor the longest of its kind
    chosen = chosen_rows(lengths, ["a", "b", "c", "d", "e"] * 11)
    assert len(chosen) == 4
    assert sorted(chosen_rows(lengths, ["x"] * len(labels))) == sorted(chosen_rows(lengths, None))


@pytest.mark.parametrize("lengths", [[4] * 30 + [5, 6, 7], [1, 2, 3, 4], [3] * 9, [8, 2], [5]])
def test_sequences_of_different_lengths_are_shown_if_possible(lengths):
    lengths = np.array(lengths)
    chosen = chosen_rows(lengths, None)
    assert len(set(chosen.tolist())) == len(chosen) == min(4, len(lengths))
    assert len(set(lengths[chosen])) == min(4, len(set(lengths)))
    assert (np.diff(lengths[chosen]) >= 0).all()


def test_reconstructions_of_a_single_step_are_drawn(png):
    plot_reconstructions([np.zeros((1, 1))], [np.ones((1, 1))], ["value"], png, ["one step"])
    assert min(pixels(png, PALE_BLUE), pixels(png, ORANGE)) > 5


def test_categories_are_drawn_by_name(png):
    names = {1: "unknown", **{index: f"shop {index}" for index in range(2, 30)}}
    original = np.column_stack([np.arange(6.0), [2, 2, 3, np.nan, 3, 1]]).astype(np.float32)
    figure = draw_reconstructions([original], [original], ["amount", "shop"], ["one"], {1: names})
    numbers, shops = figure.axes
    assert [label.get_text() for label in shops.get_yticklabels()] == ["unknown", "shop 2", "shop 3"]
    drawn = shops.get_lines()[0]
    np.testing.assert_array_equal(drawn.get_ydata(), [1, 1, 2, np.nan, 2, 0])
    assert drawn.get_linestyle() == "None" and numbers.get_lines()[0].get_linestyle() == "-"
    many = np.array([[n] for n in [*range(2, 20), 5, 5, 7]], np.float32)
    (crowded,) = draw_reconstructions([many], [many], ["shop"], ["one"], {0: names}).axes
    texts = [label.get_text() for label in crowded.get_yticklabels()]
    assert len(texts) == 9 and texts[-1] == "others" and {"shop 5", "shop 7"} <= set(texts)


def test_reconstructions_of_unequal_number_are_refused(png):
    with pytest.raises(ValueError, match="1, 1 and 2"):
        plot_reconstructions(waves(3), waves(3), ["a"], png, ["x", "y"])


def test_the_graph_holds_layers_without_operations(models):
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
    assert boxes["both_ways"].shape == "batch × time × 8 features"
    assert boxes["both_ways"].units == "2 × 4 units"
    assert [boxes[name].shape for name in ("values", "lengths")] == ["batch × time × 3 features", "batch"]
    assert boxes["both_ways"].num_parameters == 2 * 4 * (4 * (4 + 3) + 4)
    assert [name for name, box in boxes.items() if box.is_output] == ["embedding"]


def test_the_graph_keeps_a_layer_that_feeds_two_directly(models):
    graph = model_graph(models["decoder"])
    assert {("widen", "inner"), ("widen", "add"), ("inner", "add")} <= set(graph.edges)
    assert [box.name for box in graph.boxes if box.is_output] == ["steps"]


def test_the_graph_shows_the_used_output_and_the_time_axis():
    values = keras.Input((None, 1), name="values")
    turned = layers.Rescaling(2.0, name="scaled")(ops.transpose(values, (0, 2, 1)))
    outputs = layers.LSTM(2, return_sequences=True, return_state=True, name="lstm")(ops.transpose(turned, (0, 2, 1)))
    boxes = {box.name: box for box in model_graph(keras.Model(values, outputs[1])).boxes}
    assert boxes["scaled"].shape == "batch × 1 feature × time"
    assert (boxes["lstm"].shape, boxes["lstm"].units) == ("batch × 2 features", "2 units")
    assert boxes["scaled"].units == ""


def test_landmarks_and_heads_are_drawn(profile):
    config = resolved(units=3, frame=2, overlap=4, trajectory=9, normalization="sequence")
    network = build_network(config, profile, fixed_length=6)
    graph = model_graph(network.encoder, network.landmarks)
    boxes = {box.name: box for box in graph.boxes}
    assert boxes["frames_of_encoder"].kind == "2 steps and the next 4"
    assert boxes["frames_of_encoder"].shape == f"batch × time × {6 * len(profile.mean)} features"
    assert ("frames_of_encoder", "encoder_lstm_1_both_ways") in graph.edges
    assert {("trajectory", "joined"), ("sequence_mean", "joined"), ("sequence_spread", "joined")} <= set(graph.edges)
    assert len(boxes) == len(network.encoder.layers) + 5
    assert model_graph(network.decoder, network.landmarks) == model_graph(network.decoder), "landmarks of the encoder"
    (head,) = network.heads.values()
    assert [box.name for box in model_graph(head).boxes if box.is_output] == [
        "projection_1_direction",
        "projection_2_direction",
    ]


def test_the_graph_of_a_loaded_model_is_the_same(models, tmp_path):
    models["encoder"].save(tmp_path / "encoder.keras")
    assert model_graph(keras.models.load_model(tmp_path / "encoder.keras")) == model_graph(models["encoder"])


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_boxes_do_not_overlap_and_sources_are_above(models, name):
    graph = model_graph(models[name])
    placement = arrange(graph)
    for (x0, y0), (x1, y1) in itertools.combinations(placement.centres.values(), 2):
        assert abs(x0 - x1) >= BOX_WIDTH or abs(y0 - y1) >= BOX_HEIGHT
    for source, target in graph.edges:
        assert placement.centres[source][1] > placement.centres[target][1] + BOX_HEIGHT
    for x, y in placement.centres.values():
        assert BOX_WIDTH / 2 <= x + 1e-9 <= placement.width - BOX_WIDTH / 2 + 2e-9
        assert BOX_HEIGHT / 2 <= y + 1e-9 <= placement.height


def test_the_picture_grows_with_the_models(models, png):
    plot_model({"encoder": models["encoder"]}, png)
    one = image.imread(png).shape
    plot_model(models, png)
    two = image.imread(png).shape
    assert two[1] > one[1]
    assert pixels(png, "#D6E8F5") > 2 * BOX_WIDTH * BOX_HEIGHT * 120**2 * 0.7  # two recurrent layers
    with pytest.raises(ValueError, match="at least one model"):
        plot_model({}, png)


def test_an_unwritable_picture_is_reported(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        plot_losses(history(2), tmp_path / "missing" / "losses.png")


def test_special_characters_in_texts_are_shown():
    assert plain("a$b$") == r"a\$b\$"
    assert plain("two\nlines ") == "two lines"
    assert len(plain("x" * 200)) < 40
    assert plain("a customer of the northern region number 17", 20) == "a customer of…ber 17"


@pytest.mark.parametrize("name", ["温度センサー", "\U00013000\U00013001"])
def test_characters_without_a_font_are_named_once(tmp_path, caplog, monkeypatch, name):
    """A host may have a font for the first name; none has one for hieroglyphs among those that are looked for."""
    monkeypatch.setattr(pictures, "_warned", [])
    monkeypatch.setattr(pictures, "FAMILIES", ["DejaVu Sans"])
    with caplog.at_level("WARNING", "seqembed"):
        for number in range(2):
            figure = pictures.new_figure(3, 2)
            pictures.headline(figure, name)
            pictures.save(figure, tmp_path / f"{number}.png")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"pictures show boxes for characters that no font of this host has: {' '.join(name)[:15]}")
    assert "fonts-noto-cjk" in said


def test_other_warnings_of_a_picture_stay():
    with pytest.warns(UserWarning, match="something else"), pictures.any_script():
        warnings.warn("something else", UserWarning, stacklevel=1)
