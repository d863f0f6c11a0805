"""Distances of rows from the training data, and the noise that chance makes, against known numbers."""

import numpy as np
import pytest

from seqembed.data.drift.distances import PRIOR, SPREAD, Distances
from seqembed.data.drift.drift import Drift, DriftMeasure
from seqembed.data.drift.noise import FALSE_ALARMS, Noise, resampled_noise
from seqembed.data.statistics.definition import CategoryBins, Definition, FeatureBins, VectorGrid
from seqembed.data.statistics.statistics import layout_of

DEFINITION = Definition((FeatureBins("x", 0, 1, (0.0, 1.0)),), (CategoryBins("c", 3),), 1, VectorGrid(2, 1.0, 1))
LAYOUT = layout_of(DEFINITION)


def totals(
    num: int, bins: tuple[int, ...] = (0, 1, 0), missing: int = 0, ids: tuple[int, ...] = (0, 0, 1)
) -> np.ndarray:
    """Return totals of `num` sequences of one step each, whose values fall into bins in these proportions."""
    made = np.zeros(LAYOUT["vector_products"].stop, np.int64)
    made[LAYOUT["sequences"]] = made[LAYOUT["steps"]] = made[LAYOUT["counted_steps"]] = num
    made[LAYOUT["lengths"].start] = num
    made[LAYOUT["missing"]] = missing
    for name, shares in (("bins", bins), ("categories", ids)):
        start = LAYOUT[name].start
        made[start : start + len(shares)] = np.array(shares) * num // sum(shares)
    return made


def distance(run: np.ndarray, training: np.ndarray, name: str) -> float:
    found = Distances(DEFINITION, training, int(training[LAYOUT["sequences"]][0]), 0)(run[None])
    return float(found[name][0, 0])


def test_the_index_is_that_of_its_definition() -> None:
    many = 10**9  # where smoothing does not count
    training, run = totals(many, bins=(1, 2, 1)), totals(many, bins=(2, 1, 1))
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    assert distance(run, training, "values") == pytest.approx(((p - q) * np.log(p / q)).sum(), abs=1e-6)
    assert distance(training, training, "values") == pytest.approx(0, abs=1e-6)
    assert distance(totals(many, missing=many // 4), totals(many), "missing") == pytest.approx(0.25, abs=1e-6)
    assert distance(totals(many, ids=(1, 0, 3)), totals(many), "unknown") == pytest.approx(0.25, abs=1e-6)
    assert distance(totals(many), totals(many, ids=(1, 0, 3)), "unknown") == 0  # fewer unknown values are no drift


def test_few_sequences_are_near_and_more_of_the_same_are_farther() -> None:
    training = totals(1_000, bins=(1, 8, 1))
    found = [distance(totals(num, bins=(0, 0, 1)), training, "values") for num in (1, 3, 10, 100, 10_000)]
    assert found == sorted(found) and found[0] < 0.1 < 3 < found[-1]
    assert np.isfinite(found).all()


def test_a_value_never_met_in_training_has_a_finite_index() -> None:
    num = 1_000
    found = distance(totals(num, bins=(1, 0, 0)), totals(num, bins=(0, 1, 0)), "values")
    q = np.array([SPREAD / 3, num + SPREAD / 3, SPREAD / 3]) / (num + SPREAD)
    p = (np.array([num, 0, 0]) + PRIOR * q) / (num + PRIOR)
    assert found == pytest.approx(((p - q) * np.log(p / q)).sum())


def embedded(vectors: np.ndarray) -> np.ndarray:
    """Return totals with embeddings, int (sequences, 2) in grid steps."""
    made = totals(len(vectors))
    made[LAYOUT["vectors"]] = len(vectors)
    made[LAYOUT["vector_sums"]] = vectors.sum(axis=0)
    made[LAYOUT["vector_products"]] = (vectors.T @ vectors)[np.triu_indices(2)]
    return made


def test_the_frechet_distance_is_that_of_two_normal_distributions() -> None:
    random = np.random.default_rng(3)
    mixed = random.normal(size=(60_000, 2)) @ [[300, 100], [0, 200]]
    training, run = np.rint(mixed).astype(np.int64), np.rint(mixed * 1.5 + [90, -40]).astype(np.int64)
    found = Distances(DEFINITION, embedded(training), 10**6, len(training))(embedded(run)[None])["embeddings"]
    # With covariances C and 2.25 C, the square root of their product is 1.5 C: tr(C + 2.25 C - 3 C) = 0.25 tr C.
    total = np.trace(np.cov(training.T))
    shift = ((run.mean(axis=0) - training.mean(axis=0)) ** 2).sum()
    assert found[0, 0] == pytest.approx((shift + 0.25 * total) / total, rel=1e-3)


def test_noise_of_resamples_keeps_the_rate_of_false_alarms() -> None:
    random = np.random.default_rng(5)
    bins = random.integers(1, 3, 600)
    each = np.stack([totals(1, bins=tuple(int(index == found) for index in range(3))) for found in bins])
    noise = resampled_noise(DEFINITION, each, 10**6)
    assert noise.fits(DEFINITION) and noise == Noise.from_json(noise.to_json())
    assert noise == resampled_noise(DEFINITION, each, 10**6)
    # Two bins leave one degree of freedom: the index of n is chi-square over n.
    assert 12 < noise.factors["values"][0] < 24  # 14 is exact for 0.001 over six measures
    distances, alarms = Distances(DEFINITION, each.sum(axis=0), 10**6, 0), 0
    for num in (20, 200, 2_000):
        drawn = random.multinomial(num, np.full(600, 1 / 600), size=2_000) @ each
        alarms += int((distances(drawn)["values"][:, 0] > noise.factors["values"][0] / num).sum())
    assert alarms <= 6_000 * FALSE_ALARMS


@pytest.mark.parametrize(("name", "value"), [("values", (-1.0,)), ("lengths", (float("nan"),)), ("unknown", ("1",))])
def test_noise_that_was_edited_is_no_noise(name: str, value: tuple[object, ...]) -> None:
    whole = resampled_noise(DEFINITION, np.stack([totals(1)] * 20), 20).to_json()
    whole["factors"][name] = list(value)
    with pytest.raises(ValueError):
        Noise.from_json(whole)


def test_the_line_names_what_moved_in_plain_words() -> None:
    measures = [
        DriftMeasure("values", "f1", 0.4, 0.1, True, 3.0, 5.25),
        DriftMeasure("missing", "f2", 0.3, 0.02, True, 0.0, 0.3),
        DriftMeasure("lengths", None, 0.05, 0.1, False, 20, 21),
        DriftMeasure("stuck", "f3", 1.0, 1.0, True, 0.5, 7.0),
        DriftMeasure("embeddings", "embedding", 0.06, 0.05, True),
    ]
    drift = Drift.of(measures, 1_234)
    assert [measure.name for measure in drift.measures] == ["stuck", "missing", "values", "embeddings", "lengths"]
    assert drift.line() == (
        "drift: 4 of 5 measures moved: f3 is 7 throughout; missing of f2 30.0%, in training 0.0%; "
        "f1, mean 5.25, in training 3; and 1 more"
    )
    assert drift.line(is_excerpt=True).startswith("drift: 4 measures moved beyond their threshold: f3 is 7 throughout;")
    assert Drift.of(measures[:2], 5).line(is_excerpt=True).startswith("drift: at least 2 measures moved beyond their")
    assert Drift.of(measures[1:3], 5).line(is_excerpt=True).startswith("drift: 1 measure moved beyond its threshold: ")
    assert Drift.of(measures[2:3], 5).line(is_excerpt=True) == (
        "drift: none in 5 sequences; farthest lengths at 50% of its threshold"
    )
    gap = DriftMeasure("gaps", "time.since_previous", 0.2, 0.1, True, 3_600.0, 45.0)
    assert str(gap) == "time.since_previous typically 45 s, in training 60 min"
    assert str(measures[4]) == "embeddings 1.2 times the threshold"
    assert str(DriftMeasure("categories", "mcc", 0.25, 0.1, True)) == "frequencies of mcc 2.5 times the threshold"
    assert str(measures[2]) == "mean length 21, in training 20"
    calm = Drift.of(measures[2:3], 1)
    assert (
        calm.line()
        == "drift: none in 1 sequence; 1 measure within their thresholds, farthest lengths at 50% of its threshold"
    )
