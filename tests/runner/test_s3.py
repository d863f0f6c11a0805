"""Runs on s3:// URIs, against an S3 server that fails intermittently.

The server and a proxy that injects faults are in `tests/support/s3_server.py`, on loopback.
`SEQEMBED_S3_FAULTS=all` tries every kind of fault at every rate.
"""

import http.client
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_testing import nested
from deltalake import DeltaTable, write_deltalake
from engines_testing import ProcessEngine
from pyarrow import fs
from pyiceberg.catalog.sql import SqlCatalog
from s3_testing import KEY, SECRET, TOKEN, Store

from seqembed.runner.output import directory, storage
from seqembed.runner.output.history import read_history
from seqembed.runner.output.storage import Storage
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences

FAULTS = [("503", 5), ("half", 4), ("late", 3)]
OUTAGES = [25]
if os.environ.get("SEQEMBED_S3_FAULTS") == "all":
    FAULTS = [(kind, every) for kind in ("500", "503", "drop", "half", "late") for every in (2, 3, 4, 5, 7, 11)]
    OUTAGES = [*range(0, 40, 2)]


def test_input_and_output_in_a_bucket(store: Store, tiny: Tiny, tmp_path: Path) -> None:
    for day in (1, 2):
        store.put(f"in/day={day}/p.parquet", seed=day)
    for name, given in {
        "one": store / "in/day=2/p.parquet",
        "all": store / "in",
        "glob": store / "in/day=?/*.parquet",
        "said": store.query("in"),
    }.items():
        keep = [] if name == "one" else ["--keep", "day"]
        done("run", given, "--model", tiny.bundle, "--out", store / f"out/{name}", *keep)
        (tmp_path / name).mkdir()
        done("run", given, "--model", tiny.bundle, "--out", tmp_path / name, *keep)
        there = store.parts(f"out/{name}")
        assert sorted(there) == (["day=2/p.parquet"] if name == "one" else ["day=1/p.parquet", "day=2/p.parquet"])
        for part, table in there.items():
            assert table.equals(pq.ParquetFile(tmp_path / name / part).read())
        assert json.loads(store.objects(f"out/{name}")[f"out/{name}/_SUCCESS"][0])["rows_in"] == 20 * len(there)
    assert not [name for name in store.objects("out") if "_temporary" in name]
    local = write_sequences(tmp_path / "local.parquet", sequences(20, seed=1))
    done("run", local, "--model", tiny.bundle, "--out", store.query("up"))
    assert store.parts("up")["local.parquet"]["embedding"].equals(
        store.parts("out/all")["day=1/p.parquet"]["embedding"]
    )


def test_tasks_for_a_bucket_can_be_sent_to_another_process(
    store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(2):
        store.put(f"in/{index}.parquet", seed=index)
    words = ("run", store / "in", "--model", tiny.bundle, "--out")
    done(*words, store / "here")
    monkeypatch.setattr("seqembed.runner.engines.choose.LocalEngine", ProcessEngine)
    done(*words, store / "there")
    here, there = store.objects("here"), store.objects("there")
    assert sorted(name.split("/")[1] for name in there) == ["0.parquet", "1.parquet", "_RUN", "_SUCCESS"]
    assert all(there[f"there/{name}"][0] == here[f"here/{name}"][0] for name in ("0.parquet", "1.parquet"))


def test_a_model_in_a_bucket(store: Store, tiny: Tiny, tmp_path: Path) -> None:
    with store.filesystem.open_output_stream(f"{store.bucket}/models/encoder.onnx") as file:
        file.write(tiny.bundle.read_bytes())
    model = store.query("models/encoder.onnx").replace("s3://", "s3://me:s3cret%2Fword@")
    local = write_sequences(tmp_path / "local.parquet", sequences(20, seed=1))
    said = done("inspect", model).output + done("run", local, "--model", model, "--out", tmp_path / "out").output
    assert f"{store / 'models/encoder.onnx'}" in said
    written = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "s3cret" not in said + written
    result = seqembed("run", local, "--model", store / "models/other.onnx", "--out", tmp_path / "none")
    assert (result.exit_code, "no such file" in result.output) == (4, True), result.output


def test_an_object_with_the_key_of_a_prefix_does_not_hide_what_is_below(store: Store, tiny: Tiny) -> None:
    for day in (1, 2):
        store.put(f"in/day={day}/p.parquet", seed=day)
    options = ("--model", tiny.bundle, "--out")
    for content in (b"", b"a marker"):
        with store.filesystem.open_output_stream(f"{store.bucket}/in") as stream:
            stream.write(content)
        done("run", store / "in", *options, store / "out")
        assert sorted(store.parts("out")) == ["day=1/p.parquet", "day=2/p.parquet"]
    store.put("in", seed=3)
    refused = seqembed("run", store / "in", *options, store / "other")
    assert (refused.exit_code, "both a Parquet object and a directory" in refused.output) == (3, True)
    done("run", f"{store / 'in'}/", *options, store / "other")
    assert sorted(store.parts("other")) == ["day=1/p.parquet", "day=2/p.parquet"]


def test_a_table_of_another_kind_is_refused_in_a_bucket(store: Store, tiny: Tiny) -> None:
    store.put("lake/t/day=1/p.parquet", seed=1)
    store.put("lake/plain/p.parquet", seed=2)
    with store.filesystem.open_output_stream(f"{store.bucket}/lake/t/.hoodie/hoodie.properties") as stream:
        stream.write(b"{}")
    options = ("--model", tiny.bundle, "--out", store / "out")
    for given in ("lake", "lake/t", "lake/t/day=1", "lake/t/day=1/p.parquet", "lake/*/day=*/*.parquet"):
        refused = seqembed("run", store / given, *options)
        assert (refused.exit_code, f"{store.bucket}/lake/t is a" in refused.output) == (3, True), refused.output
    done("run", store / "lake/plain", *options)


def test_a_delta_table_in_a_bucket(store: Store, tiny: Tiny) -> None:
    server = {"aws_endpoint": f"http://127.0.0.1:{store.server}", "aws_allow_http": "true", "aws_region": "us-east-1"}
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_conditional_put": "etag"}
    table = {"storage_options": server | keys}
    for name in "ab":
        write_deltalake(
            store / "t", nested(9, 1, name, day=[1, 2, 3] * 3), mode="append", partition_by=["day"], **table
        )
    DeltaTable(store / "t", **table).delete("day = 2 and id like 'a%'")
    said = done("run", store / "t", "--model", tiny.bundle, "--out", store / "out", "--keep", "day").output
    assert "15 rows in" in said
    found = pa.concat_tables(store.parts("out").values())
    true = pa.table(DeltaTable(store / "t", **table).scan())
    assert sorted(found["id"].to_pylist()) == sorted(true["id"].to_pylist())
    # The address of the server in the URI is enough; one partition of an old version.
    given = store.query("t/day=2").replace("s3://", f"s3://{KEY}:{SECRET.replace('/', '%2F')}@")
    done("run", given, "--model", tiny.bundle, "--out", store / "old", "--version", 1)
    assert len(store.parts("old")) == 2
    refused = seqembed("run", store / "t", "--model", tiny.bundle, "--out", store / "none", "--version", 7)
    assert (refused.exit_code, "the Delta table cannot be read in version 7" in refused.output) == (3, True)
    assert SECRET not in refused.output


def test_an_iceberg_table_in_a_bucket(store: Store, tiny: Tiny) -> None:
    server = {"s3.endpoint": f"http://127.0.0.1:{store.server}", "s3.region": "us-east-1"}
    keys = {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET}
    catalog = SqlCatalog("tests", uri="sqlite:///:memory:", warehouse=f"s3://{store.bucket}", **server, **keys)
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=nested(1, 1).schema)
    table.append(nested(9, 1))
    done("run", table.metadata_location, "--model", tiny.bundle, "--out", store / "out")
    (found,) = store.parts("out").values()
    assert found["id"].to_pylist() == table.scan().to_arrow()["id"].to_pylist()


def test_the_history_of_runs_in_a_bucket(store: Store, tiny: Tiny) -> None:
    store.put("in/0.parquet", seed=1)
    words = ("run", store / "in", "--model", tiny.bundle, "--out", store / "out")
    done(*words)
    store.put("in/1.parquet", seed=2)
    done(*words)
    done(*words)  # nothing to do
    given = Storage.of(str(store / "out"))
    records = read_history(given)
    assert [(each["complete"], each["parts_made"], each["parts_skipped"]) for each in records] == [
        (True, 1, 0),
        (True, 1, 1),
    ]
    assert "finished parts: 2" in done("inspect", store / "out").output


def test_the_ledger_holds_in_a_bucket(store: Store, tiny: Tiny) -> None:
    for name in "abc":
        store.put(f"in/{name}.parquet", seed=ord(name))
    command = ("run", store / "in", "--model", tiny.bundle, "--out", store / "out", "--on-bad-row", "quarantine")
    assert "3 parts made" in done(*command).output
    before = store.objects("out")
    assert "0 parts made, 3 up to date" in done(*command).output
    assert store.objects("out") == before
    store.put("in/b.parquet", seed=0, x=[[float("inf")]] + [[1.0]] * 19, y=[[1.0]] * 20)
    assert "1 outdated" in done("inspect", store / "out").output
    assert "1 part made, 2 up to date" in done(*command).output
    assert "out/_quarantine/b.parquet" in store.objects("out")
    assert store.parts("out")["b.parquet"].num_rows == 19
    store.filesystem.delete_file(f"{store.bucket}/in/b.parquet")
    assert "b.parquet: its input no longer exists; the part was kept" in done(*command).output
    assert "1 orphaned" in done("inspect", store / "out").output
    assert "b.parquet: its input no longer exists; the part was removed" in done(*command, "--prune").output
    now = store.objects("out")
    assert sorted(now) == ["out/_RUN", "out/_SUCCESS", "out/a.parquet", "out/c.parquet"]
    assert (now["out/a.parquet"], now["out/c.parquet"]) == (before["out/a.parquet"], before["out/c.parquet"])
    refused = seqembed(*command, "--keep", "label")
    assert (refused.exit_code, "other options" in refused.output) == (6, True)


def test_a_reader_never_misses_a_part_nor_sees_an_incomplete_one(
    store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        store.put(f"in/{name}.parquet", seed=ord(name), num=200)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.proxy}")
    command = ("run", store / "in", "--model", tiny.bundle, "--out", store / "out")
    states: list[list[dict[str, bytes]]] = []
    finished: list[dict[str, bytes]] = [{}]
    for options in ((), ("--keep", "label", "--overwrite"), ("--keep", "label")):
        if finished[2:]:
            store.put("in/b.parquet", seed=2, num=300)  # the third run makes one part again
        store.watch("out/")
        try:
            done(*command, *options)
        finally:
            states.append([_visible(look) for look in store.seen()])
        finished.append(_visible({name: content for name, (content, _) in store.objects("out").items()}))
        assert len(finished[-1]) == 3
        assert states[-1][-1] == finished[-1]
    for index, looks in enumerate(states):
        old, new = finished[index : index + 2]
        for look in looks:
            assert old.keys() <= look.keys()
            assert all(content in (old.get(name), new[name]) for name, content in look.items())
        assert len({tuple(look.items()) for look in looks}) == (2 if index == 2 else 4)  # one part after the other


def _visible(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in objects.items() if name.endswith(".parquet") and "/_" not in name}


@pytest.mark.parametrize(("kind", "every"), FAULTS)
def test_a_server_that_fails_now_and_then_costs_time_and_no_row(
    store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, kind: str, every: int
) -> None:
    store.put("in/a.parquet", seed=1, num=60)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.proxy}")
    command = ("run", store / "in", "--model", tiny.bundle, "--out", store / "out")
    store.fail(kind, every)
    try:
        result = seqembed(*command)
    finally:
        num_requests = store.fail("none", 0)
    assert num_requests > every
    assert result.exit_code in (0, 3, 6), result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        assert "out/_SUCCESS" not in store.objects("out")
    assert all(table.num_rows == 60 for table in store.parts("out").values())
    done(*command)
    assert store.parts("out")["a.parquet"].num_rows == 60
    assert sorted(store.objects("out")) == ["out/_RUN", "out/_SUCCESS", "out/a.parquet"]


@pytest.mark.parametrize("after", OUTAGES)
def test_a_server_that_stops_is_an_error_and_the_rerun_completes(
    store: Store, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.proxy}")
    command = ("run", data, "--model", tiny.bundle, "--out", store / "out")
    store.fail("drop", 1, after)
    result = seqembed(*command)
    if store.fail("none", 0) <= after:  # with all faults the server also stops after the run
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 6, result.output
    assert f"s3://{store.bucket}/out: cannot" in result.output
    assert "Traceback" not in result.output
    parts = store.parts("out")
    assert all(table.num_rows == 20 for table in parts.values())
    assert parts or "out/_SUCCESS" not in store.names("out")
    done(*command)
    assert store.parts("out")["a.parquet"].num_rows == 20


def test_credentials_are_nowhere(store: Store, tiny: Tiny, tmp_path: Path) -> None:
    store.put("in/a.parquet", seed=1)
    user, password = "AKIAOFTHEURI", "pass%2Fword%2Bof-the-uri"
    secrets = [KEY, SECRET, TOKEN, user, password, "pass/word+of-the-uri", "0therSecret"]
    tail = store.query("")[len(store / "") :]

    def uri(name: str) -> str:
        return f"s3://{user}:{password}@{store.bucket}/{name}{tail}"

    out, extra = uri("out"), uri("in") + "&secret_key=0therSecret"
    said = done("run", uri("in"), "--model", tiny.bundle, "--out", out, "--progress", "plain").output
    said += done("run", uri("in"), "--model", tiny.bundle, "--out", out).output
    said += done(
        "run", uri("in"), "--model", tiny.bundle, "--out", out, "--dry-run", "--limit", 1, "--overwrite"
    ).output
    said += done("run", uri("in"), "--model", tiny.bundle, "--out", tmp_path / "out").output
    said += done("inspect", out).output
    for words, code in [
        (("run", extra, "--model", tiny.bundle, "--out", out), 3),
        (("run", uri("none"), "--model", tiny.bundle, "--out", out), 3),
        (("run", uri("none/*"), "--model", tiny.bundle, "--out", out), 3),
        (("run", uri("in").replace("%2F", "/"), "--model", tiny.bundle, "--out", out), 3),
        (("run", uri("in").replace("s3:", "s4:"), "--model", tiny.bundle, "--out", out), 3),
        (("run", uri("in"), "--model", tiny.bundle, "--out", out, "--keep", "label"), 6),
        (("run", uri("in"), "--model", uri("model"), "--out", out), 4),
        (("run", uri("in"), "--model", tiny.bundle, "--out", uri("in/below")), 2),
        (("inspect", uri("none")), 3),
        (("inspect", uri("none"), uri("more")), 2),
    ]:
        result = seqembed(*words)
        assert result.exit_code == code, result.output
        said += result.output
        if words[0] == "run":
            told = seqembed(*words, "--log-format", "json", "--metrics", tmp_path / "out" / "run.prom")
            assert told.exit_code == code and json.loads(told.stderr.splitlines()[-1])["event"] == "failed"
            said += told.output
    history = store.filesystem.get_file_info(fs.FileSelector(f"{store.bucket}/out/_history"))
    written = [store.read(info.path) for info in history]
    assert len(written) == 1 and (tmp_path / "out" / "run.prom").exists()
    written += [content for content, _ in store.objects("out").values()]
    written += [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in "".join(said.split("\n"))
        assert not [content for content in written if secret.encode() in content]
    assert store.bucket in said


def test_keys_that_are_not_paths_are_refused(store: Store, tiny: Tiny, tmp_path: Path) -> None:
    store.put("in/a.parquet", seed=1)
    content = store.read(f"{store.bucket}/in/a.parquet")

    def put(key: str) -> None:
        server = http.client.HTTPConnection("127.0.0.1", store.server)  # pyarrow refuses to write such keys
        server.request("PUT", f"/{store.bucket}/{key}", content)
        assert server.getresponse().status == 200

    put("in/%2e%2e/%2e%2e/up.parquet")
    put("in/day=%252F..%252F../b.parquet")
    assert store.names("in") == ["in/../../up.parquet", "in/a.parquet", "in/day=%2F..%2F../b.parquet"]
    out = tmp_path / "deep" / "out"
    done("run", store / "in", "--model", tiny.bundle, "--out", out, "--keep", "label")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert found == ["deep/out/a.parquet", "deep/out/day=%2F..%2F../b.parquet"]
    put("in//double.parquet")
    result = seqembed("run", store / "in", "--model", tiny.bundle, "--out", out, "--keep", "label")
    assert result.exit_code in (0, 3), result.output
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_temporary_files_of_dead_runs_are_removed_after_a_week(
    store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("in/a.parquet", seed=1)
    left = "out/_temporary/0123/a.parquet"
    store.put(left, seed=2)
    command = ("run", store / "in", "--model", tiny.bundle, "--out", store / "out")
    done(*command)
    assert left in store.objects("out")  # it may be another run's, on another host
    store.put("in/a.parquet", seed=3)
    monkeypatch.setattr(directory, "_DEAD_AFTER_SECONDS", -60)
    done(*command)
    assert sorted(store.objects("out")) == ["out/_RUN", "out/_SUCCESS", "out/a.parquet"]


def test_a_part_too_large_to_publish_says_so(store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("in/a.parquet", seed=1, num=100)
    monkeypatch.setattr(storage, "_MAX_S3_COPY_BYTES", 1000)
    result = seqembed("run", store / "in", "--model", tiny.bundle, "--out", store / "out")
    assert result.exit_code == 6
    assert "Split the input file" in " ".join(result.output.split())
    assert not store.parts("out")


def test_events_are_grouped_from_a_bucket_into_a_bucket(store: Store, tmp_path: Path) -> None:
    for day in range(3):
        table = pa.table({"id": [k % 7 for k in range(40)], "time": [day] * 40, "x": [float(k) for k in range(40)]})
        for path, filesystem in (
            (f"{store.bucket}/in/{day}.parquet", store.filesystem),
            (tmp_path / f"{day}.parquet", None),
        ):
            pq.write_table(table, path, filesystem=filesystem)
    words = ("--buckets", 2, "--progress", "none")
    done("group", store / "in", "--out", store / "out", *words)
    done("group", *sorted(tmp_path.glob("*.parquet")), "--out", tmp_path / "out", *words)
    for name, table in store.parts("out").items():
        assert table.equals(pq.ParquetFile(tmp_path / "out" / name).read())
    before = store.objects("out")
    assert sorted(before) == [f"out/{name}" for name in ("_EVENTS", "_RUN", "_SUCCESS", *store.parts("out"))]
    done("group", store / "in", "--out", store / "out", *words)
    assert store.objects("out") == before
    late = pa.table({"id": [0], "time": [9], "x": [9.0]})
    pq.write_table(late, f"{store.bucket}/in/9.parquet", filesystem=store.filesystem)
    done("group", store / "in", "--out", store / "out", *words)
    changed = {name for name, found in store.objects("out").items() if found != before[name]}
    assert len(changed & {f"out/{name}" for name in store.parts("out")}) == 1
