"""The transactions sample: types, habits, and kinds that differ in exactly what their names say."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqembed.data.synthetic import transactions
from seqembed.data.synthetic.catalog import SampleOptions, write_sample
from seqembed.data.synthetic.generator import blocks
from seqembed.data.synthetic.transactions import CATEGORIES, CATEGORIES_PER_SECTOR, KINDS, TYPES

ROWS = 6_000
# Standard error of an accuracy of 0.5 on the 1,000 test rows of two kinds is 0.016.
CHANCE = 0.5 + 4 * 0.016


class Payments:
    """The default sample, column by column, and means over each customer."""

    def __init__(self) -> None:
        self.block = next(blocks(transactions.GENERATOR, ROWS, seed=0))
        self.customers = np.repeat(np.arange(ROWS), self.block.lengths)
        self.labels = np.array(self.block.kept["label"].to_pylist())
        self.starts = self.block.offsets[:-1]
        columns = self.block.columns
        self.categories = columns["category"].to_numpy(zero_copy_only=False)
        self.places = np.searchsorted(np.sort(CATEGORIES), self.categories)
        self.types = np.searchsorted(np.sort(TYPES), columns["type"].to_numpy(zero_copy_only=False))
        self.sectors = np.array([name.rsplit("-", 1)[0] for name in CATEGORIES])[np.argsort(CATEGORIES)][self.places]
        self.amounts = np.log(columns["amount"].to_numpy())
        self.times = columns["time"].to_numpy()
        seconds = np.diff(self.times, prepend=self.times[0]).astype(np.int64) / 1e3
        seconds[self.starts] = 0
        self.seconds = seconds
        self.gaps = np.log1p(seconds)

    def mean(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.customers, values, ROWS) / self.block.lengths

    def moments(self, values: np.ndarray) -> np.ndarray:
        mean = self.mean(values)
        return np.stack([mean, np.sqrt(self.mean((values - mean[self.customers]) ** 2))], axis=1)

    def shares(self, codes: np.ndarray, size: int) -> np.ndarray:
        counts = np.bincount(self.customers * size + codes, minlength=ROWS * size).reshape(ROWS, size)
        return counts / self.block.lengths[:, None]

    def bag(self) -> np.ndarray:
        """Return all that forgets the order of steps and their times."""
        parts = [self.shares(self.places, len(CATEGORIES)), self.shares(self.types, len(TYPES))]
        return np.concatenate([*parts, self.moments(self.amounts), np.log(self.block.lengths)[:, None]], axis=1)

    def of(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Return the values (steps) of one kind of customers."""
        return values[self.labels[self.customers] == kind]


@pytest.fixture(scope="module")
def payments() -> Payments:
    return Payments()


def told_apart(payments: Payments, kind: str, vectors: np.ndarray) -> float:
    """Return the accuracy with which a linear classifier tells `kind` from plain, on customers it has not seen."""
    two = np.isin(payments.labels, ["plain", kind])
    train = np.arange(ROWS) < ROWS // 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(vectors[two & train], payments.labels[two & train])
    return model.score(vectors[two & ~train], payments.labels[two & ~train])


@pytest.mark.parametrize(("kind", "known"), [("mix", True), ("amounts", True), ("order", False), ("timing", False)])
def test_a_bag_of_categories_and_amounts_knows_only_what_it_may(payments: Payments, kind: str, known: bool) -> None:
    accuracy = told_apart(payments, kind, payments.bag())
    assert accuracy > 0.8 if known else accuracy < CHANCE


@pytest.mark.parametrize("kind", ["order", "timing"])
def test_mean_and_spread_of_the_gaps_tell_nothing_either(payments: Payments, kind: str) -> None:
    assert told_apart(payments, kind, payments.moments(payments.gaps)) < CHANCE


def test_order_goes_round_the_sectors_and_plain_does_not(payments: Payments) -> None:
    again = np.concatenate([[False], payments.sectors[1:] == payments.sectors[:-1]])
    again[payments.starts] = False
    assert payments.of("plain", again).mean() == pytest.approx(payments.of("timing", again).mean(), abs=0.01)
    assert payments.of("order", again).mean() > 2 * payments.of("plain", again).mean()
    assert told_apart(payments, "order", payments.mean(again)[:, None]) > 0.95


def test_timing_comes_in_bursts_and_plain_does_not(payments: Payments) -> None:
    steps = np.abs(np.diff(payments.gaps, prepend=0.0))
    assert payments.of("plain", steps).mean() == pytest.approx(payments.of("order", steps).mean(), abs=0.02)
    assert payments.of("timing", steps).mean() < 0.7 * payments.of("plain", steps).mean()
    assert told_apart(payments, "timing", payments.mean(steps)[:, None]) > 0.95


@pytest.mark.parametrize("kind", ["order", "timing"])
def test_one_law_of_payments_and_of_gaps(payments: Payments, kind: str) -> None:
    for values in (payments.amounts, payments.gaps, payments.places, payments.types):
        plain, other = payments.of("plain", values), payments.of(kind, values)
        levels = np.quantile(plain, np.linspace(0.05, 0.95, 19))
        shares = [(found[:, None] <= levels).mean(axis=0) for found in (plain, other)]
        np.testing.assert_allclose(*shares, atol=0.02)


def test_nights_and_weekends_are_for_the_night(payments: Payments) -> None:
    hours = payments.times.astype("datetime64[h]").astype(np.int64)
    weekend = (hours // 24 + 3) % 7 >= 5  # 1 January 1970 was a Thursday
    night = (hours % 24 < 6) | (hours % 24 >= 21)
    assert payments.of("night", weekend).mean() > payments.of("plain", weekend).mean() + 0.15
    assert payments.of("night", night).mean() > 0.6 > 0.2 > payments.of("plain", night).mean()


def test_categories_have_a_long_tail_and_customers_favourites(payments: Payments) -> None:
    counts = np.sort(np.bincount(payments.places, minlength=len(CATEGORIES)))
    assert len(CATEGORIES) == 200
    assert counts.min() > 0
    assert counts[-20:].sum() > 3 * counts[:100].sum()  # a tenth of them against the rarer half
    first = payments.sectors == "groceries"
    own = [payments.places[(payments.customers == row) & first] for row in range(100)]
    favourite = np.mean([np.bincount(found).max() / len(found) for found in own if len(found) > 5])
    common = np.bincount(payments.places[first]).max() / first.sum()
    assert favourite > common + 0.15


def test_kinds_come_in_turn_and_lengths_keep_their_bounds(payments: Payments) -> None:
    assert payments.labels[:6].tolist() == list(KINDS)
    assert all((payments.labels == kind).sum() == ROWS / len(KINDS) for kind in KINDS)
    lengths = payments.block.lengths
    assert (lengths.min(), lengths.max()) == (20, 200)
    assert abs(np.median(lengths) - 60) <= 1
    assert (np.delete(payments.seconds, payments.starts) >= 1).all()
    assert len(CATEGORIES) == CATEGORIES_PER_SECTOR * len(transactions.SECTORS)


def test_columns_are_of_the_types_that_warehouses_have(tmp_path) -> None:  # noqa: ANN001 - pytest's own
    for layout in ("nested", "events"):
        write_sample("transactions", str(tmp_path / f"{layout}.parquet"), SampleOptions(rows=30, layout=layout))
    nested, events = (pq.read_schema(tmp_path / f"{layout}.parquet") for layout in ("nested", "events"))
    kinds = {"time": pa.timestamp("ms"), "category": pa.string(), "type": pa.string(), "amount": pa.float64()}
    assert nested.names == ["id", "label", *kinds]
    assert events.names == ["id", "time", "label", "category", "type", "amount"]
    for name, kind in kinds.items():
        assert nested.field(name).type.value_type == kind
        assert events.field(name).type == kind
