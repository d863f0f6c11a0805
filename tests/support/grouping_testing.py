"""Events in files, and what `seqembed group` must make of them, written as plainly as possible."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.files.listing import find_inputs

Event = dict[str, Any]


def write_days(root: Path, days: Sequence[Sequence[Event]], schema: pa.Schema, **options: Any) -> Path:
    """Write one file of events per day, named so that their order is that of the days."""
    root.mkdir(parents=True, exist_ok=True)
    for index, events in enumerate(days):
        pq.write_table(pa.Table.from_pylist(list(events), schema), root / f"day={index:03d}.parquet", **options)
    return root


def expected(
    days: Sequence[Sequence[Event]],
    features: Sequence[str],
    keep: Sequence[str] = (),
    since: Any = None,
    until: Any = None,
    max_length: int | None = None,
    deduplicate: Sequence[str] = (),
) -> dict[Any, Event]:
    """Return the row of each id, by a loop over all events."""
    events = [event for day in days for event in day]
    events = [event for event in events if event["id"] is not None and event["time"] is not None]
    events = [e for e in events if (since is None or e["time"] >= since) and (until is None or e["time"] < until)]
    if deduplicate:
        last = {(event["id"], *(event[name] for name in deduplicate)): index for index, event in enumerate(events)}
        events = [events[index] for index in sorted(last.values())]
    rows: dict[Any, Event] = {}
    for key in {event["id"] for event in events}:
        its = sorted((event for event in events if event["id"] == key), key=lambda event: event["time"])
        its = its if max_length is None else its[-max_length:]
        rows[key] = {"id": key} | {name: its[-1][name] for name in keep}
        rows[key] |= {name: [event[name] for event in its] for name in ("time", *features)}
    return rows


def grouped(out: Path) -> dict[Any, Event]:
    """Return the rows of an output by id; checks that an id has one row, in one bucket, in order."""
    rows: dict[Any, Event] = {}
    for file in find_inputs([str(out)]).files:
        ids = []
        for row in pq.read_table(file.path, partitioning=None).to_pylist():
            assert row["id"] not in rows, f"{row['id']} has two rows"
            rows[row["id"]] = row
            ids.append(row["id"])
        assert ids == sorted(ids, key=lambda text: text.encode() if isinstance(text, str) else text)
    return rows
