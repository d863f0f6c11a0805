"""What a worker is asked for: one part, said in a small value that can be sent to any process or host."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.files.inputs import InputFile, is_uri
from seqembed.data.files.secrets import without_secrets
from seqembed.data.source import ParquetSource
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.options import RunOptions
from seqembed.runner.output.parts import PartKey
from seqembed.runner.output.staging import Staging


@dataclass(frozen=True, slots=True)
class BundleReference:
    """A bundle that a worker opens by itself.

    Attributes:
        path: Absolute path, or URI, as `seqembed.runner.bundle.bundle_file.read_bundle` takes it; may hold credentials.
        sha256: Of its bytes.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, given: str, content: bytes) -> Self:
        """Refer to a bundle that was read from `given`; the reference means the same in any directory."""
        return cls(given if is_uri(given) else str(Path(given).absolute()), bundle_sha256(content))

    def __repr__(self) -> str:
        """Return the reference without credentials."""
        return f"BundleReference({without_secrets(self.path)!r}, {self.sha256!r})"

    def open(self) -> Encoder:
        """Open the bundle on this host, and have its golden sequences come out as they should.

        Raises:
            BundleError: It cannot be read, is another one than the run began with, or computes other vectors here.
        """
        content = read_bundle(self.path)
        found = bundle_sha256(content)
        if found != self.sha256:
            raise BundleError(
                f"{without_secrets(self.path)}: the bundle changed while the run went on: sha256 {found[:12]}…, "
                f"expected {self.sha256[:12]}…. Run again."
            )
        encoder = Encoder.from_bytes(content, source=self.path)
        encoder.replay_golden()
        return encoder


@dataclass(frozen=True, slots=True)
class PartTask:
    """One attempt at a part; picklable, some kilobytes, with all that a worker needs.

    Attributes:
        name: Of the part, below the output directory.
        file: The input.
        fingerprint: Of the input, when the run was planned.
        content: What the input held then, wherever it lay.
        key: What the part will be made of.
        staging: Where to write.
        bundle: The model.
        options: What the run was asked for.
        limit: Most sequences; None embeds all.
        row_groups: Of the input, those to embed; None embeds all.
        attempt: Which one, from 1.
    """

    name: str
    file: InputFile
    fingerprint: str
    content: str
    key: PartKey
    staging: Staging
    bundle: BundleReference
    options: RunOptions
    limit: int | None = None
    row_groups: range | None = None
    attempt: int = 1

    def source(self, contract: ModelContract) -> ParquetSource:
        """Return the sequences to embed, as the model reads them."""
        return ParquetSource(self.file, contract.schema, contract.length_policy, self.options.keep, self.row_groups)


@functools.lru_cache(maxsize=1)
def shared_encoder(bundle: BundleReference) -> Encoder:
    """Return the encoder of a bundle, opened once for all tasks that this process is sent one after another.

    Raises:
        BundleError: See `BundleReference.open`.
    """
    return bundle.open()
