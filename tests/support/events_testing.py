"""Transactions in both layouts, and an untrained model of them, for tests of categories and times."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.contract import ModelContract, TrainingData
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.sample_rows import write_sequences
from seqembed.data.schema.detect import detect_schema
from seqembed.data.sequences import LengthPolicy
from seqembed.data.survey import survey
from seqembed.trainer.input.learn import learn_vocabularies
from seqembed_testing import done

KINDS = {
    "time": pa.timestamp("ms", tz="UTC"),
    "amount": pa.float64(),
    "merchant": pa.dictionary(pa.int32(), pa.string()),
    "kind": pa.string(),
}


def transactions(num: int, seed: int, new_merchants: float = 0.0) -> dict[str, list[Any]]:
    """Return nested rows: id, time, amount, merchant, kind; some kinds are missing, events are not in order.

    Args:
        num: Sequences.
        seed: Seed of the random numbers.
        new_merchants: Share of events at merchants that no other seed and share has.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in ("id", *KINDS)}
    start = datetime(2024, 2, 26, tzinfo=UTC)
    for index in range(num):
        length = int(random.integers(2, 15))
        rows["id"].append(f"c{index}")
        rows["time"].append([start + timedelta(milliseconds=int(t)) for t in random.integers(0, 10**9, length)])
        rows["amount"].append(random.lognormal(size=length).tolist())
        known = [f"shop {i}" for i in random.integers(0, 9, length)]
        new = random.random(length) < new_merchants
        rows["merchant"].append([f"new {name}" if is_new else name for name, is_new in zip(known, new, strict=True)])
        rows["kind"].append([None if i == 3 else ("card", "cash", "online")[i] for i in random.integers(0, 4, length)])
    return rows


def write_nested(path: Path, rows: dict[str, list[Any]], **options: Any) -> Path:
    """Write `rows` with a list column for each of `KINDS`; lists of dictionaries as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array(rows[name], pa.list_(plain(kind))) for name, kind in KINDS.items()}
    pq.write_table(pa.table({"id": rows["id"], **columns}), path, **options)
    return path


def write_events(path: Path, rows: dict[str, list[Any]], kinds: dict[str, pa.DataType] = KINDS) -> Path:
    """Write `rows` as single events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = [len(steps) for steps in rows["time"]]
    columns = {
        name: pa.array([value for steps in rows[name] for value in steps], plain(kind)).cast(kind)
        for name, kind in kinds.items()
    }
    pq.write_table(pa.table({"id": np.repeat(rows["id"], lengths).tolist(), **columns}), path, row_group_size=61)
    return path


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of a dictionary's values, or the type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def untrained_run(
    root: Path,
    data: Path,
    layout: str,
    policy: LengthPolicy | None = None,
    time: str | None = "time",
    **options: Any,
) -> RunLayout:
    """Write the run directory that a training of no steps would leave, with tiny layers.

    Args:
        root: The run directory.
        data: Written by `write_nested` or `write_events`, or any other file.
        layout: Of `data`.
        policy: What happens to long sequences.
        time: The time column, None if there is none.
        options: Of `ModelConfig`.
    """

    from model_testing import resolved

    from seqembed.trainer.model.encoder import build_encoder

    files, policy = resolve_inputs([str(data)]), policy or LengthPolicy()
    schema, _ = learn_vocabularies(files, detect_schema(files, layout=layout, time_column=time))
    found = survey(files, schema, policy, seed=0)
    small = {"units": 5, "embedding_dim": 4, "channels": "values", "normalization": "dataset", **options}
    config = resolved(**small)
    encoder = build_encoder(config, found.profile, None, schema.categorical)
    run = RunLayout(root)
    root.mkdir(parents=True)
    encoder.save(run.encoder)
    write_sequences(run.sample, found.sample, schema)
    contract = ModelContract(
        schema=schema,
        length_policy=policy,
        embedding_dim=encoder.output_shape[-1],
        architecture={"cell": "lstm"},
        training=TrainingData("0" * 64, 1, found.profile),
        versions={},
        frame=config.frame or 1,
    )
    run.contract.write_text(contract.to_json(), encoding="utf-8")
    return run


def events_model(root: Path, layout: str, **options: Any) -> Path:
    """Return a bundle that reads 60 of `transactions` in a layout."""
    write = write_events if layout == "events" else write_nested
    data = write(root / f"{layout}.parquet", transactions(60, seed=0))
    run = untrained_run(root / f"run of {layout}", data, layout, **options)
    done("export", run.root, "--out", root / f"{layout}.onnx")
    return root / f"{layout}.onnx"
