"""What an export made, without the libraries that it was made with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqembed.data.contract import ModelContract, Parity

if TYPE_CHECKING:
    from seqembed.exporter.onnx.structure import GraphStructure  # imports onnx


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export made.

    Attributes:
        path: The bundle.
        num_bytes: Its size.
        num_bytes_fp32: What its size is, or would be, in fp32.
        contract: What it carries.
        structure: Nodes of its graph.
        parity: How far ONNX Runtime was from Keras, in fp32.
        seconds: From loading to the renamed file.
    """

    path: Path
    num_bytes: int
    num_bytes_fp32: int
    contract: ModelContract
    structure: "GraphStructure"
    parity: Parity
    seconds: float

    def __repr__(self) -> str:
        """Return what was written and how it was checked; `contract` holds the rest."""
        return (
            f"ExportReport({str(self.path)!r}, num_bytes={self.num_bytes}, embedding_dim="
            f"{self.contract.embedding_dim}, precision={self.contract.precision!r}, "
            f"max_difference={self.parity.max_difference:.2g}, seconds={self.seconds:.1f})"
        )
