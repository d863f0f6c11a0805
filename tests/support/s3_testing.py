"""A bucket on an S3 server on loopback, for tests: fixtures that `tests/runner/conftest.py` makes available."""

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from seqembed_testing import sequences

KEY, SECRET, TOKEN = "AKIALOOPBACKONLY", "s3cr3t/of+nobody", "t0ken-of-nobody"


@dataclass(frozen=True)
class Store:
    """A separate bucket on the server."""

    filesystem: fs.FileSystem
    bucket: str
    server: int
    proxy: int

    def __truediv__(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def query(self, name: str) -> str:
        """Return a URI that contains the address of the server."""
        return f"{self / name}?endpoint_override=127.0.0.1:{self.server}&scheme=http&region=us-east-1"

    def put(self, name: str, seed: int, num: int = 20, **columns: list) -> None:
        table = sequences(num, seed) | columns
        kinds = {"x": pa.list_(pa.float32()), "y": pa.list_(pa.float64())}
        table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in table.items()})
        pq.write_table(table, f"{self.bucket}/{name}", filesystem=self.filesystem, use_dictionary=False)

    def names(self, below: str = "") -> list[str]:
        """Return the names of all objects below a prefix, but for the history of runs, whose names hold times."""
        selector = fs.FileSelector(f"{self.bucket}/{below}".rstrip("/"), recursive=True, allow_not_found=True)
        found = [info.path for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(path.removeprefix(f"{self.bucket}/") for path in found if "/_history/" not in path)

    def objects(self, below: str = "") -> dict[str, tuple[bytes, int]]:
        """Return the bytes and the time of every object below a prefix, by name."""
        paths = {name: f"{self.bucket}/{name}" for name in self.names(below)}
        return {name: (self.read(path), self.filesystem.get_file_info(path).mtime_ns) for name, path in paths.items()}

    def read(self, path: str) -> bytes:
        with self.filesystem.open_input_file(path) as source:
            return source.read()

    def parts(self, below: str) -> dict[str, pa.Table]:
        """Return every visible Parquet object, which must be complete, by name."""
        visible = [name for name in self.names(below) if name.endswith(".parquet") and "/_" not in name]
        tables = {name: pq.read_table(pa.BufferReader(self.read(f"{self.bucket}/{name}"))) for name in visible}
        return {name.removeprefix(f"{below}/"): table for name, table in tables.items()}

    def fail(self, kind: str, every: int, after: int = 0) -> int:
        """Configure how the proxy fails; return how many requests came since the last time."""
        return int(self._tell(f"_faults?kind={kind}&every={every}&after={after}"))

    def watch(self, below: str) -> None:
        """Have the proxy list a prefix after every request that changes something."""
        self._tell(f"_watch?prefix={self.bucket}/{below}")

    def seen(self) -> list[dict[str, bytes]]:
        """Return the objects recorded after each request, by name, and stop recording."""
        found = json.loads(self._tell("_seen"))
        return [{name: base64.b64decode(content) for name, content in look.items()} for look in found]

    def _tell(self, wish: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.proxy}/{wish}") as answer:
            content: bytes = answer.read()
        return content


@pytest.fixture(scope="session")
def ports() -> Iterator[dict[str, int]]:
    script = Path(__file__).with_name("s3_server.py")
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture
def store(ports: dict[str, int], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['server']}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = "b" + str(abs(hash(request.node.nodeid)))[:12]
    filesystem, _ = fs.FileSystem.from_uri(f"s3://{bucket}?allow_bucket_creation=true")
    filesystem.create_dir(bucket)
    return Store(filesystem, bucket, ports["server"], ports["proxy"])
