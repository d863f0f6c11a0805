"""Only real values count, compared with plain numpy, whatever the padding holds."""

import numpy as np
import pytest
from model_testing import resolved

from seqembed.trainer.config.model import LOSSES
from seqembed.trainer.model.backend import tf
from seqembed.trainer.model.losses import TEMPERATURE, Batch, contrast_sums, masked_sums
from seqembed.trainer.model.objective import Objective


def plain(loss, target, score):
    distance = abs(score - target)
    if loss == "mse":
        return distance**2
    if loss == "mae":
        return distance
    if loss == "huber":
        return distance**2 / 2 if distance <= 1 else distance - 0.5
    probability = 1 / (1 + np.exp(-score))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


@pytest.mark.parametrize("loss", LOSSES)
def test_sums_equal_a_loop_over_real_values(loss, batch):
    scores = np.random.default_rng(0).normal(scale=2, size=batch.values.shape).astype(np.float32)
    mask = np.arange(6) < batch.lengths[:, None]
    sums = masked_sums(loss, batch.values, scores, mask[:, :, None]).numpy()
    real = [index for index in np.ndindex(scores.shape) if mask[index[:2]] and not np.isnan(batch.values[index])]
    assert sums[1] == len(real) == 14 * 3 - 2
    expected = sum(plain(loss, float(batch.values[index]), float(scores[index])) for index in real)
    np.testing.assert_allclose(sums[0], expected, rtol=1e-5)
    hits = sum((scores[index] > 0) == (batch.values[index] > 0.5) for index in real)
    assert sums[2] == (hits if loss == "binary_crossentropy" else 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_and_missing_targets_change_no_loss_and_no_gradient(loss, batch, profile):
    objective = Objective(resolved(loss=loss, task="composite"), profile)
    random = np.random.default_rng(1)
    scores = {
        "reconstruction": random.normal(size=batch.values.shape).astype(np.float32),
        "prediction": random.normal(size=batch.next_step.shape).astype(np.float32),
    }
    padding = np.arange(6) >= batch.lengths[:, None]

    def look(garbage):
        values = batch.values.copy()
        values[padding] = garbage
        variables = {head: tf.Variable(score) for head, score in scores.items()}
        with tf.GradientTape() as tape:
            sums = objective.sums(Batch(values, batch.lengths, values, batch.next_step), variables)
            total = tf.reduce_sum(sums[:, 0])
        return sums.numpy(), *(gradient.numpy() for gradient in tape.gradient(total, list(variables.values())))

    clean = look(0.0)
    for garbage in (1e30, np.nan, np.inf, -np.inf):
        for expected, found in zip(clean, look(garbage), strict=True):
            np.testing.assert_array_equal(found, expected)
    gradient = clean[1]
    assert np.isfinite(gradient).all()
    missing = padding[:, :, None] | np.isnan(batch.values)
    assert (gradient[missing] == 0).all() and (gradient[~missing] != 0).any()
    assert (clean[2][3] == 0).all(), "a sequence without a next step teaches no prediction"


def test_a_batch_without_any_value_has_loss_zero(profile):
    objective = Objective(resolved(objective="reconstruct"), profile)
    nothing = np.zeros((1, 2, 3), np.float32)
    empty = Batch(nothing, np.zeros(1, np.int32), nothing, np.full((1, 3), np.nan, np.float32))
    totals = objective.sums(empty, {"reconstruction": np.ones((1, 2, 3), np.float32)}).numpy()
    assert objective.report(totals) == {"loss": 0.0}


def test_reported_means_are_over_values_not_over_batches(profile):
    objective = Objective(resolved(task="composite", loss="binary_crossentropy"), profile)
    totals = np.array([[6.0, 12.0, 9.0], [1.0, 4.0, 3.0]])
    assert objective.report(totals, "val_") == {
        "val_loss": 0.75,
        "val_reconstruction_loss": 0.5,
        "val_prediction_loss": 0.25,
        "val_binary_accuracy": 0.75,
    }


def test_standardised_targets_make_the_mean_the_baseline(batch, profile):
    objective = Objective(resolved(objective="reconstruct"), profile)
    values = np.broadcast_to(np.asarray(profile.mean, np.float32), (5, 6, 3))
    scores = {"reconstruction": np.broadcast_to(objective.baseline_scores(profile), values.shape)}
    sums = objective.sums(Batch(values, batch.lengths, values, batch.next_step), scores).numpy()
    np.testing.assert_allclose(sums[0, 0], 0, atol=1e-9)


def unit_vectors(num, dim=4, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(num, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_contrast(vectors):
    """Return the sum of cross-entropies, the number of views and that of hits, view by view in float64."""
    total, hits, num = 0.0, 0, len(vectors)
    for view in range(num):
        positive = (view + num // 2) % num
        others = [index for index in range(num) if index != view]
        alike = {index: float(vectors[view].astype(np.float64) @ vectors[index]) / TEMPERATURE for index in others}
        total += np.log(sum(np.exp(value) for value in alike.values())) - alike[positive]
        hits += max(others, key=lambda index: alike[index]) == positive
    return [total, num, hits]


@pytest.mark.parametrize("num_sequences", [2, 3, 9])
def test_contrast_loss_equals_a_loop_over_views(num_sequences):
    first = unit_vectors(num_sequences)
    second = first + 0.8 * unit_vectors(num_sequences, seed=1)
    vectors = np.concatenate([first, second / np.linalg.norm(second, axis=1, keepdims=True)]).astype(np.float32)
    np.testing.assert_allclose(contrast_sums(vectors[:, None]).numpy(), plain_contrast(vectors), rtol=1e-5)


def test_branches_are_compared_separately():
    one, other = unit_vectors(6), unit_vectors(6, seed=1)
    total, num, hits = contrast_sums(np.stack([one, other], axis=1)).numpy()
    apart = [plain_contrast(one), plain_contrast(other)]
    np.testing.assert_allclose(
        [total, num, hits], [apart[0][0] + apart[1][0], 6, (apart[0][2] + apart[1][2]) / 2], rtol=1e-5
    )


def test_a_view_is_a_hit_if_its_positive_is_the_nearest():
    # The second views of sequences 1 and 2 are exchanged: those four views are nearer to another than to their own.
    first = np.eye(5, dtype=np.float32)
    assert contrast_sums(np.concatenate([first, first])[:, None]).numpy()[2] == 10
    assert contrast_sums(np.concatenate([first, first[[0, 2, 1, 3, 4]]])[:, None]).numpy()[2] == 6


def test_a_single_sequence_has_no_negatives():
    projections = tf.Variable(unit_vectors(2)[:, None])
    with tf.GradientTape() as tape:
        sums = contrast_sums(projections)
        loss = sums[0]
    assert sums.numpy().tolist() == [0, 2, 2]
    np.testing.assert_array_equal(tape.gradient(loss, projections), np.zeros((2, 1, 4)))


@pytest.mark.parametrize("num_sequences", [2, 32])
def test_equal_views_score_at_chance_level(num_sequences):
    sums = contrast_sums(np.repeat(unit_vectors(1)[:, None], 2 * num_sequences, axis=0)).numpy()
    np.testing.assert_allclose(sums[0] / sums[1], np.log(2 * num_sequences - 1), rtol=1e-5)


def test_contrast_accuracy_is_reported_separately(profile):
    totals = np.array([[10.0, 4.0, 3.0], [6.0, 12.0, 9.0]])
    both = Objective(resolved(loss="binary_crossentropy", objective="hybrid"), profile)
    assert both.heads == ("contrast", "reconstruction")
    expected = {"loss": 3.0, "contrast_loss": 2.5, "reconstruction_loss": 0.5, "contrast_accuracy": 0.75}
    assert both.report(totals) == {**expected, "binary_accuracy": 0.75}
    assert Objective(resolved(), profile).report(totals) == expected
    alone = Objective(resolved(objective="contrast"), profile).report(totals[:1], "val_")
    assert alone == {"val_loss": 2.5, "val_contrast_accuracy": 0.75}


def test_the_loss_uses_targets_before_augmentation(batch, profile):
    objective = Objective(resolved(objective="reconstruct"), profile)
    scores = (batch.targets - np.asarray(profile.mean)) / np.array([1.5, 1.0, 0.5])
    altered = batch._replace(values=batch.values + 1)
    sums = objective.sums(altered, {"reconstruction": np.nan_to_num(scores).astype(np.float32)}).numpy()
    np.testing.assert_allclose(sums[0, 0], 0, atol=1e-9)
    assert sums[0, 1] == 14 * 3 - 2


def test_targets_are_clipped_at_ten_deviations(batch, profile):
    objective = Objective(resolved(objective="reconstruct"), profile)
    for far, score in ((1e30, 10.0), (-1e30, -10.0)):
        extreme = batch._replace(targets=np.full_like(batch.targets, far))
        scores = {"reconstruction": np.full_like(batch.targets, score)}
        assert objective.sums(extreme, scores).numpy()[0].tolist() == [0, 14 * 3, 0]
