"""The task of a worker: one part, described by a small value that can be sent to any process or host."""

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
    """Path and hash of a bundle, by which a worker opens it.

    Attributes:
        path: Absolute path, or URI, for `seqembed.runner.bundle.bundle_file.read_bundle`; may contain credentials.
        sha256: sha256 of its bytes.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, given: str, content: bytes) -> Self:
        """Return a reference to a bundle read from `given`, valid in any working directory."""
        return cls(given if is_uri(given) else str(Path(given).absolute()), bundle_sha256(content))

    def __repr__(self) -> str:
        """Return the reference without credentials."""
        return f"BundleReference({without_secrets(self.path)!r}, {self.sha256!r})"

    def open(self, content: bytes | None = None) -> Encoder:
        """Open the bundle on this host, and verify its golden sequences.

        Args:
            content: Its bytes; None reads them from the path.

        Raises:
            BundleError: It cannot be read, changed since the run began, or its golden sequences get other vectors here.
        """
        content = read_bundle(self.path) if content is None else content
        found = bundle_sha256(content)
        if found != self.sha256:
            raise BundleError(
                f"{without_secrets(self.path)}: the bundle changed during the run: sha256 {found[:12]}…, "
                f"expected {self.sha256[:12]}…. Run again."
            )
        encoder = Encoder.from_bytes(content, source=self.path)
        encoder.replay_golden()
        return encoder


@dataclass(frozen=True, slots=True)
class PartTask:
    """One attempt at a part, with everything that a worker needs; picklable, some kilobytes.

    Attributes:
        name: Path of the part, relative to the output directory.
        file: The input.
        fingerprint: Fingerprint of the input when the run was planned.
        content: Fingerprint of its content then, independent of its path.
        key: Hashes of everything that determines the part.
        staging: Temporary files of the run.
        bundle: The model.
        options: Options of the run.
        limit: Maximum number of sequences; None embeds all.
        row_groups: Row groups of the input to embed; None embeds all.
        attempt: Number of the attempt, from 1.
        num_row_groups: Row groups of the input, if `row_groups` is not None.
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
    num_row_groups: int = 0

    def source(self, contract: ModelContract) -> ParquetSource:
        """Return the source of the sequences to embed."""
        return ParquetSource(self.file, contract.schema, contract.length_policy, self.options.keep, self.row_groups)


@functools.lru_cache(maxsize=1)
def shared_encoder(bundle: BundleReference) -> Encoder:
    """Return the encoder of a bundle, opened once in this process for consecutive tasks.

    Raises:
        BundleError: See `BundleReference.open`.
    """
    return bundle.open()
