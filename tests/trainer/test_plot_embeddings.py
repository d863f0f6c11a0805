"""The map of embeddings: every point is drawn, names are readable, and nothing overlaps."""

import itertools

import numpy as np
import pytest
from matplotlib import image
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from seqembed.data.display.pictures import BLUE, COLOURS, DPI, ORANGE, SMALL
from seqembed.trainer.plots.plot_embeddings import (
    MAX_LABELS,
    NO_LABEL,
    draw_embeddings,
    plot_embeddings,
    principal_components,
)

KINDS = ["falling", "rising", "steep", "flat"]


@pytest.fixture
def png(tmp_path):
    return tmp_path / "picture.png"


def pixels(path, colour=None):
    """Return how many pixels of the picture have `colour`, or are not white."""
    picture = image.imread(path)[:, :, :3]
    if colour is None:
        return int((picture < 0.99).any(axis=2).sum())
    return int((np.abs(picture - to_rgb(colour)) < 0.01).all(axis=2).sum())


def ids(count):
    return [f"ramp-{number:06d}" for number in range(1, count + 1)]


def clusters(count, num_clusters=4, spread=1e-2):
    corners = np.array([[0, 0], [1, 0.1], [0.2, 0.9], [0.9, 1]])[:num_clusters]
    noise = np.random.default_rng(1).uniform(-spread / 2, spread / 2, (count, 2))
    return (corners[np.arange(count) % num_clusters] + noise).astype(np.float32)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def drawn_points(figure):
    """Return middle and radius of each point in pixels."""
    axes, found = figure.axes[0], []
    for dots in axes.collections:
        assert isinstance(dots, PathCollection)
        radius = np.sqrt(dots.get_sizes()[0]) / 2 * DPI / 72
        found += [(x, y, radius) for x, y in axes.transData.transform(dots.get_offsets())]
    return np.array(found)


def assert_nothing_overlaps(figure):
    """Check names against each other, the frame, all points and all lines, after a fresh layout."""
    figure.canvas.draw()
    axes, points = figure.axes[0], drawn_points(figure)
    frame = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(text.get_fontsize() >= SMALL for text in axes.texts)
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        nearest = np.column_stack([points[:, 0].clip(box.x0, box.x1), points[:, 1].clip(box.y0, box.y1)])
        assert (np.linalg.norm(points[:, :2] - nearest, axis=1) >= points[:, 2]).all()
    for line in axes.artists + axes.lines:
        start, end = axes.transData.transform(line.get_xydata())
        steps = start + np.linspace(0, 1, 200)[:, None] * (end - start)
        assert not any(box.contains(x, y) for box in boxes for x, y in steps)
        apart = np.linalg.norm(steps[:, None] - points[:, :2], axis=2) >= points[:, 2]
        assert apart.all()


def cloud(count, dim):
    return np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 2, 64])
def test_embeddings_of_any_width_are_drawn_with_one_colour_per_label(dim, png):
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


@pytest.mark.parametrize("count", [1, 3])
def test_equal_embeddings_are_drawn(count, png):
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
def test_invalid_embeddings_are_refused(embeddings, labels, message, png):
    with pytest.raises(ValueError, match=message):
        plot_embeddings(embeddings, png, labels)


def test_principal_components_are_the_directions_of_largest_variance():
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


@pytest.mark.parametrize("count", [1, 2, 12, 45])
def test_every_point_with_room_is_named(count):
    figure = draw_embeddings(cloud(count, 2), None, ids(count))
    assert sorted(texts(figure)) == ids(count)
    assert_nothing_overlaps(figure)


def test_names_are_beside_their_points():
    figure = draw_embeddings(np.eye(2, dtype=np.float32), None, ["first", "second"])
    axes = figure.axes[0]
    for text, (x, y) in zip(axes.texts, np.eye(2), strict=True):
        box = text.get_window_extent()
        point = axes.transData.transform((x, y))
        assert np.hypot(*(point - point.clip((box.x0, box.y0), (box.x1, box.y1)))) < 20
    assert texts(figure) == ["first", "second"]


def test_names_without_room_are_left_out_and_counted():
    figure = draw_embeddings(cloud(50, 2) * [1, 0.2], None, [f"long name of a customer {n}" for n in range(50)])
    assert_nothing_overlaps(figure)
    num_named = len(texts(figure))
    assert 20 < num_named < 50
    assert figure.axes[0].get_title(loc="right") == f"room for {num_named} of 50 names"
    # matplotlib has no public way to the title on the right
    assert not figure.axes[0]._right_title.get_window_extent().overlaps(figure._suptitle.get_window_extent())


@pytest.mark.parametrize("count", [60, 400])
def test_tight_clusters_share_a_name(count):
    figure = draw_embeddings(clusters(count), None, ids(count))
    more = count // 4 - 1
    assert sorted(texts(figure)) == [f"ramp-00000{first} and {more} more" for first in (1, 2, 3, 4)]
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize("count", [60, 400])
def test_clusters_are_named_by_their_labels(count):
    labels = [KINDS[n % 4] for n in range(count)]
    figure = draw_embeddings(clusters(count), labels, ids(count), "ramp")
    assert sorted(texts(figure)) == sorted(KINDS)
    assert_nothing_overlaps(figure)


def test_clusters_of_several_labels_name_them_the_most_frequent_first():
    labels = ["defgh"[n // 4 % 5] if n % 4 == 0 else "abc"[n % 3] for n in range(60)]
    labels[1:41:4] = ["z"] * 10  # of the fifteen in the second cluster
    labels[59] = None
    figure = draw_embeddings(clusters(60), labels, ids(60), "kind")
    assert sorted(texts(figure)) == ["a, b, c", "a, b, c and 1 more", "d, e, f and 2 more", "z, a, c and 1 more"]


def test_clusters_of_many_numbers_say_their_range():
    labels = [n % 4 * 100 + n / 4 for n in range(60)]
    figure = draw_embeddings(clusters(60), labels, ids(60), "age")
    assert sorted(texts(figure)) == ["0 to 14", "100.25 to 114.25", "200.5 to 214.5", "300.75 to 314.75"]


def test_points_beside_clusters_keep_their_own_names():
    embeddings = clusters(60)
    embeddings[[10, 31]] = [[0.5, 0.5], [0.6, 0.2]]
    figure = draw_embeddings(embeddings, [KINDS[n % 4] for n in range(60)], ids(60), "ramp")
    assert sorted(texts(figure)) == sorted([*KINDS, "ramp-000011", "ramp-000032"])
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize("count", [300, 1000])
def test_a_cloud_of_many_points_is_not_cut_into_clusters(count):
    assert texts(draw_embeddings(cloud(count, 2), None, ids(count))) == []


@pytest.mark.parametrize(
    "name", ["_hidden_$x$_{}", "顾客 {} 号", "two\nlines {}", "a very long name of a customer, number {}"]
)
def test_names_of_any_type_are_drawn(name):
    figure = draw_embeddings(cloud(12, 3), ["$a_b$", "_c", None] * 4, [name.format(n) for n in range(12)], "_$l$")
    assert len(set(texts(figure))) == 12
    assert_nothing_overlaps(figure)


def test_equal_embeddings_are_reported_in_the_title():
    figure = draw_embeddings(np.ones((30, 4), np.float32), None, ids(30))
    assert texts(figure) == ["ramp-000001 and 29 more"]
    assert figure.get_suptitle() == "30 embeddings of 4 dimensions, all equal"


@pytest.mark.parametrize("count", [5, MAX_LABELS])
def test_the_legend_is_complete_and_inside_the_picture(count):
    labels = [None if n % count == 0 else f"_kind {n % count}" for n in range(60)]
    figure = draw_embeddings(cloud(60, 2), labels, ids(60), "what it is")
    figure.canvas.draw()
    legend = figure.axes[0].get_legend()
    shown = [text.get_text().strip() for text in legend.get_texts()]
    assert sorted(shown) == sorted({NO_LABEL if label is None else label for label in labels})
    assert legend.get_title().get_text() == "what it is"
    box = legend.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    assert figure.axes[0].get_window_extent().x1 < box.x0 < box.x1 <= figure.bbox.width


def test_points_without_a_number_are_drawn_beside_the_colour_scale():
    labels = [None if n % 5 == 0 else n * 1.5 for n in range(60)]
    figure = draw_embeddings(cloud(60, 2), labels, None, "age")
    assert len(drawn_points(figure)) == 60
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [NO_LABEL]
    assert figure.axes[1].get_ylabel() == "age"


def test_too_many_labels_are_reported_as_uncoloured():
    figure = draw_embeddings(cloud(60, 2), ids(60), None, "customer")
    assert "of too many kinds of customer to colour" in figure.get_suptitle()


def test_two_dimensions_are_drawn_without_projection():
    embeddings = cloud(10, 2)
    axes = draw_embeddings(embeddings).axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), embeddings)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("embedding dimension 1", "embedding dimension 2")


def test_equal_input_gives_equal_bytes(tmp_path):
    for path in (tmp_path / "one.png", tmp_path / "two.png"):
        plot_embeddings(cloud(45, 5), path, [KINDS[n % 4] for n in range(45)], ids(45), "ramp")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
