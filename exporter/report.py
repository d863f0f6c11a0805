"""The result of an export; importing it needs no TensorFlow."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqembed.data.contract import ModelContract, Parity

if TYPE_CHECKING:
    from seqembed.exporter.onnx.structure import GraphStructure  # imports onnx


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result of an export.

    Attributes:
        path: The bundle.
        num_bytes: Its size.
        num_bytes_fp32: Its size in fp32.
        contract: The contract it contains.
        structure: Nodes of its graph.
        parity: Measured difference between ONNX Runtime and Keras, in fp32.
        seconds: Duration of the export.
        card: The model card; None if none was written.
    """

    path: Path
    num_bytes: int
    num_bytes_fp32: int
    contract: ModelContract
    structure: "GraphStructure"
    parity: Parity
    seconds: float
    card: Path | None = None

    def __repr__(self) -> str:
        """Return path, size and parity; `contract` has the rest."""
        return (
            f"ExportReport({str(self.path)!r}, num_bytes={self.num_bytes}, embedding_dim="
            f"{self.contract.embedding_dim}, precision={self.contract.precision!r}, "
            f"max_difference={self.parity.max_difference:.2g}, seconds={self.seconds:.1f})"
        )
