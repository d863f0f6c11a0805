"""A bucket of the S3 server of `s3_server.py`, as tests see it."""

import base64
import json
import urllib.request
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
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
        """Return the names of all objects below a prefix."""
        selector = fs.FileSelector(f"{self.bucket}/{below}".rstrip("/"), recursive=True, allow_not_found=True)
        found = [info.path for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(path.removeprefix(f"{self.bucket}/") for path in found)

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
