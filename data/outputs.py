"""The outputs of a model, one entry per sequence: the embedding, and others that its contract declares."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

EMBEDDING = "embedding"
RECONSTRUCTION_ERROR = "reconstruction_error"
NOTHING_KNOWN = -1.0  # the error of a sequence without any known value
OUTPUT_DTYPES = ("float32",)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """An array with one entry per sequence.

    Attributes:
        name: Name of the graph's output, and of the output column.
        dtype: Type of its numbers, one of `OUTPUT_DTYPES`.
        width: Numbers per sequence, as an array (batch, width); None is a single number, as an array (batch).
    """

    name: str
    dtype: str = "float32"
    width: int | None = None

    @property
    def num_values(self) -> int:
        """Numbers per sequence."""
        return 1 if self.width is None else self.width

    def shape(self, num_sequences: int) -> tuple[int, ...]:
        """Return the shape of the array for `num_sequences` sequences."""
        return (num_sequences,) if self.width is None else (num_sequences, self.width)

    def __str__(self) -> str:
        """Return name, type and shape, as in ``embedding float32 (batch, 6)``."""
        return f"{self.name} {self.dtype} ({', '.join(map(str, ('batch', *self.shape(0)[1:])))})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        return cls(value["name"], value["dtype"], value["width"])


def outputs_without_decoder(outputs: Sequence[ModelOutput]) -> tuple[ModelOutput, ...]:
    """Return all outputs but the reconstruction error."""
    return tuple(output for output in outputs if output.name != RECONSTRUCTION_ERROR)
