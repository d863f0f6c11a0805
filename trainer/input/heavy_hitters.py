"""Count the frequent values of a stream in bounded memory; the counts are exact as long as all values fit."""

import pyarrow as pa
import pyarrow.compute as pc


class HeavyHitters:
    """Counts of values; if there are more than `capacity` distinct ones, rare values are dropped.

    The summary of Misra & Gries (1982, "Finding repeated elements"), merged by tables as in Agarwal et al. (2012,
    "Mergeable summaries"): tables are added, and if more than `capacity` values remain, the largest count that would be
    dropped is subtracted from every weight; values whose weight falls to 0 are dropped.

    Guarantees after n values: every value with more than n / (capacity + 1) occurrences is kept; no count is too high,
    and none is too low by more than that. With at most `capacity` distinct values all counts are exact.

    Attributes:
        capacity: Maximum number of values to keep; as many again may be buffered, plus one `add`.
        num_cut: Total by which the weights were lowered: 0 if all counts are exact.
    """

    def __init__(self, capacity: int) -> None:
        """Start empty."""
        self.capacity = capacity
        self.num_cut = 0
        self._held: list[pa.Table] = []
        self._num_held = 0

    def add(self, values: pa.Array, counts: pa.Array) -> None:
        """Add values with their counts: arrays of equal length, values of the same type in all calls, without nulls."""
        if len(values):
            self._held.append(pa.table({"value": values, "count": counts, "weight": counts}))
            self._num_held += len(values)
        if self._num_held > 2 * self.capacity:
            self._merge()

    def counts(self) -> pa.Table:
        """Return the columns ``value`` and ``count`` (int64) of all kept values, unordered."""
        if not self._held:
            return pa.table({"value": pa.nulls(0), "count": pa.array([], pa.int64())})
        self._merge()
        return self._held[0].select(["value", "count"])

    def _merge(self) -> None:
        sums = [("count", "sum"), ("weight", "sum")]
        merged = pa.concat_tables(self._held).group_by("value", use_threads=False).aggregate(sums)
        merged = merged.rename_columns({"count_sum": "count", "weight_sum": "weight"})
        if merged.num_rows > self.capacity:
            first_dropped = pc.select_k_unstable(merged["weight"], self.capacity + 1, [("weight", "descending")])
            cut = merged["weight"][first_dropped[-1].as_py()].as_py()
            merged = merged.set_column(
                merged.column_names.index("weight"), "weight", pc.subtract(merged["weight"], cut)
            ).filter(pc.field("weight") > 0)
            self.num_cut += cut
        self._held, self._num_held = [merged], merged.num_rows
