"""The model contract: everything a host needs to serve a model, as JSON inside the single deployed file.

The trainer writes it beside the weights (``contract.json``). The exporter adds measured parity and golden sequences,
and stores it under ``seqembed.contract`` in the ONNX file's ``metadata_props``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seqembed.data.drift.noise import Noise
from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.data.errors import BundleError
from seqembed.data.outputs import EMBEDDING, RECONSTRUCTION_ERROR, ModelOutput
from seqembed.data.preprocessing import preprocessing
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.scores import ErrorProfile
from seqembed.data.sequences import LengthPolicy
from seqembed.data.statistics.statistics import Statistics

CONTRACT_KEY = "seqembed.contract"
FORMAT_VERSION = 2  # 2: a bundle carries a digest over contract and graph
# Older run directories stay readable: training again because of a new format would cost days.
_READABLE_VERSIONS = (1, 2)
DEFAULT_BATCH_SIZE = 48
PRECISIONS = ("fp32", "int8")
# Upper limit of parity and golden tolerances. float16, the coarsest type for vectors, has a relative rounding error of
# 5e-4: a difference of more than twice that is another vector, not rounding.
MAX_TOLERANCE = 1e-3
# The same for int8, relative to the typical length of a vector. A mean cosine of 0.999, the gate's minimum, is a
# distance of 0.045; times three as margin for other hosts, times two for the worst of the few golden sequences.
MAX_GOLDEN_TOLERANCE = 0.27
# Remedies for a damaged contract: in a bundle, and in a run directory.
REEXPORT, RETRAIN = "export the model again", "train again"
# What reading malformed JSON can raise: a number that is too large is an OverflowError, deep nesting a RecursionError.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class GoldenSequence:
    """A sequence and the outputs that every host must reproduce.

    Attributes:
        values: float32 (time, features), raw units, NaN where missing.
        embedding: float32 (embedding_dim).
        categories: int32 (time, fields), ids by `seqembed.data.schema.vocabulary`; None where the model has no fields.
        others: The model's other outputs, by name: each float32 (width), or a single number of shape ().
    """

    values: NDArray[np.float32]
    embedding: NDArray[np.float32]
    categories: NDArray[np.int32] | None = None
    others: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """All outputs by name, the embedding first."""
        return {EMBEDDING: self.embedding, **self.others}

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN becomes null, since JSON has no NaN."""
        steps = [[None if np.isnan(x) else float(x) for x in step] for step in self.values]
        value: dict[str, Any] = {"values": steps, "embedding": [float(x) for x in self.embedding]}
        if self.others:
            value["outputs"] = {name: array.tolist() for name, array in self.others.items()}
        return value if self.categories is None else {**value, "categories": self.categories.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`; float32 values survive JSON exactly."""
        with np.errstate(over="ignore"):  # too large for float32 becomes inf, which the check of a contract refuses
            return cls(
                values=np.array(value["values"], dtype=np.float32),
                embedding=np.array(value["embedding"], dtype=np.float32),
                categories=np.array(value["categories"], dtype=np.int32) if "categories" in value else None,
                others={name: np.array(array, dtype=np.float32) for name, array in value.get("outputs", {}).items()},
            )


@dataclass(frozen=True, slots=True)
class Parity:
    """Difference between ONNX Runtime and Keras at export.

    Attributes:
        max_abs_difference: Maximum |Keras - ONNX Runtime| over all compared embeddings.
        max_difference: The same, relative to max(1, |Keras|); compared with the tolerance.
        tolerance: Maximum allowed difference.
        num_sequences: Number of compared sequences.
        num_real: How many of them were rows of the training data.
    """

    max_abs_difference: float
    max_difference: float
    tolerance: float
    num_sequences: int
    num_real: int


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Difference between the int8 and the fp32 encoder at export, in ONNX Runtime, on rows of the training data.

    Attributes:
        mean_cosine: Mean cosine between the int8 and the fp32 embedding of a row.
        min_cosine: The minimum of these cosines.
        mean_centred_cosine: Mean cosine after subtracting the fp32 mean embedding from both, so that what all rows have
            in common does not count.
        neighbour_agreement: Share of rows whose nearest other row by int8 is among the five nearest by fp32.
        mean_cosine_alone: Mean cosine between a row embedded alone and in a batch, both int8. A batch shares one scale,
            so a vector depends slightly on the other rows.
        min_cosine_alone: The minimum of these cosines.
        mean_cosine_beside_outlier: Mean cosine between a row in a batch, and in the same batch with one outlier a
            hundred standard deviations away, both int8.
        golden_tolerance: Maximum deviation of a golden embedding on another host, relative to their typical length.
        num_sequences: Number of compared rows.
    """

    mean_cosine: float
    min_cosine: float
    mean_centred_cosine: float
    neighbour_agreement: float
    mean_cosine_alone: float
    min_cosine_alone: float
    mean_cosine_beside_outlier: float
    golden_tolerance: float
    num_sequences: int


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What the model was trained on.

    Attributes:
        fingerprint: sha256 over the fingerprints of the input files.
        num_files: Input files.
        profile: What the encoder standardises with: moments and lengths of the training rows.
        statistics: Totals of the training rows, as a run counts its own; of a bundle also those of the embeddings of
            some of them. None in contracts of older versions.
        noise: How far rows like those of the training data are from it by chance; set by the exporter.
    """

    fingerprint: str
    num_files: int
    profile: SequenceProfile
    statistics: Statistics | None = None
    noise: Noise | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingProfile:
    """Statistics of real embeddings at export: per-dimension mean and standard deviation, each (embedding_dim)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_sequences: int


@dataclass(frozen=True, slots=True)
class ModelContract:
    """The inputs and outputs of a model, and how they were checked.

    Attributes:
        schema: Columns and features in model order.
        length_policy: How long sequences are truncated before they reach the model.
        embedding_dim: Width of the embedding.
        architecture: The encoder's options as plain values (cell, units, layers, …), for people.
        training: What the model was trained on.
        versions: Library name → version that made the model.
        precision: One of `PRECISIONS`.
        batch_size: Sequences of similar length that the runner embeds in one call; more if they are short. It may
            change the last bits of a vector, so it belongs to the model and not to the host.
        parity: Set by the exporter; always that of the fp32 graph.
        quantisation: Set by the exporter for ``int8``.
        embeddings: Set by the exporter.
        golden: Set by the exporter.
        blocks: Blocks of the embedding, in order; empty where they are not known.
        projected: Whether the embedding is a projection of the blocks, rather than the blocks themselves.
        other_outputs: Outputs of the model other than the embedding.
        frame: Consecutive steps that the recurrent layers read as one.
        errors: Set by the exporter for a model with a decoder.
    """

    schema: SequenceSchema
    length_policy: LengthPolicy
    embedding_dim: int
    architecture: dict[str, Any]
    training: TrainingData
    versions: dict[str, str]
    precision: str = "fp32"
    batch_size: int = DEFAULT_BATCH_SIZE
    parity: Parity | None = None
    quantisation: Quantisation | None = None
    embeddings: EmbeddingProfile | None = None
    golden: tuple[GoldenSequence, ...] = field(default=())
    blocks: tuple[EmbeddingBlock, ...] = ()
    projected: bool = False
    other_outputs: tuple[ModelOutput, ...] = ()
    frame: int = 1
    errors: ErrorProfile | None = None

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """What the model returns, in the order of the output's columns: the embedding first."""
        return (ModelOutput(EMBEDDING, width=self.embedding_dim), *self.other_outputs)

    @property
    def has_decoder(self) -> bool:
        """Whether the model also returns ``reconstruction_error``."""
        return any(output.name == RECONSTRUCTION_ERROR for output in self.other_outputs)

    def to_json(self) -> str:
        """Return the contract as JSON text, stable for equal contracts.

        With categories or time features, ``preprocessing`` describes for other clients how they are computed; it is not
        read back.
        """
        value = {
            "format_version": FORMAT_VERSION,
            "schema": self.schema.to_json(),
            "length_policy": asdict(self.length_policy),
            "embedding_dim": self.embedding_dim,
            "outputs": [output.to_json() for output in self.outputs],
            "frame": self.frame,
            "architecture": self.architecture,
            "training": {
                "fingerprint": self.training.fingerprint,
                "num_files": self.training.num_files,
                "profile": self.training.profile.to_json(),
                "statistics": None if self.training.statistics is None else self.training.statistics.to_json(),
                "noise": None if self.training.noise is None else self.training.noise.to_json(),
            },
            "versions": self.versions,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "parity": asdict(self.parity) if self.parity else None,
            "embeddings": asdict(self.embeddings) if self.embeddings else None,
            "golden": [sequence.to_json() for sequence in self.golden],
        }
        if self.blocks:
            value["blocks"] = [block.to_json() for block in self.blocks]
            value["projected"] = self.projected
        if self.quantisation is not None:
            value["quantisation"] = asdict(self.quantisation)
        if self.errors is not None:
            value["reconstruction_errors"] = self.errors.to_json()
        if self.schema.categorical or self.schema.time_zone is not None:
            value["preprocessing"] = preprocessing(self.schema, self.length_policy)
        return json.dumps(value, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Rebuild the contract of a run directory from `to_json`; if it is damaged, the remedy is to train again.

        Args:
            text: JSON.
            source: Where it came from, for messages.

        Raises:
            BundleError: The text is not a contract, or has another format version.
        """
        return cls.from_value(load_contract(text, source, RETRAIN), source, RETRAIN)

    @classmethod
    def from_value(cls, value: Mapping[str, Any], source: str, remedy: str = REEXPORT) -> Self:
        """Rebuild from what `load_contract` returns.

        Args:
            value: The fields.
            source: Where they came from, for messages.
            remedy: Remedy for a damaged contract: `REEXPORT` or `RETRAIN`.

        Raises:
            BundleError: A field is missing or malformed.
        """
        try:
            return cls._from_value(value)
        except _MALFORMED as error:
            raise _damaged(error, source, remedy) from error

    @classmethod
    def _from_value(cls, value: Mapping[str, Any]) -> Self:
        training, embeddings = value["training"], value["embeddings"]
        quantisation, statistics, noise = value.get("quantisation"), training.get("statistics"), training.get("noise")
        return cls(
            schema=SequenceSchema.from_json(value["schema"]),
            length_policy=LengthPolicy(**value["length_policy"]),
            embedding_dim=value["embedding_dim"],
            architecture=value["architecture"],
            training=TrainingData(
                fingerprint=training["fingerprint"],
                num_files=training["num_files"],
                profile=SequenceProfile.from_json(training["profile"]),
                statistics=Statistics.from_json(statistics) if statistics is not None else None,
                noise=Noise.from_json(noise) if noise is not None else None,
            ),
            versions=value["versions"],
            precision=value["precision"],
            batch_size=value.get("batch_size", DEFAULT_BATCH_SIZE),
            parity=Parity(**value["parity"]) if value["parity"] is not None else None,
            quantisation=Quantisation(**quantisation) if quantisation is not None else None,
            embeddings=EmbeddingProfile(
                mean=tuple(embeddings["mean"]),
                std=tuple(embeddings["std"]),
                num_sequences=embeddings["num_sequences"],
            )
            if embeddings is not None
            else None,
            golden=tuple(GoldenSequence.from_json(sequence) for sequence in value["golden"]),
            blocks=tuple(map(EmbeddingBlock.from_json, value.get("blocks", ()))),
            projected=value.get("projected", False),
            other_outputs=_other_outputs(value),
            frame=value["frame"] if "frame" in value else _frame_of_architecture(value["architecture"]),
            errors=ErrorProfile.from_json(value["reconstruction_errors"]) if "reconstruction_errors" in value else None,
        )


def load_contract(text: str, source: str, remedy: str = REEXPORT) -> dict[str, Any]:
    """Return the fields of a contract's JSON, after checking its format version.

    Args:
        text: JSON.
        source: Where it came from, for messages.
        remedy: Remedy for a damaged contract: `REEXPORT` or `RETRAIN`.

    Raises:
        BundleError: The text is not a contract, or has another format version.
    """
    try:
        value: dict[str, Any] = json.loads(text)
        version = value["format_version"]
    except _MALFORMED as error:
        raise _damaged(error, source, remedy) from error
    if version not in _READABLE_VERSIONS or isinstance(version, bool):
        raise BundleError(
            f"{source}: contract format {version!r}; this seqembed reads format "
            f"{' and '.join(map(str, _READABLE_VERSIONS))}. Install the seqembed version that made the file, or "
            f"{remedy}."
        )
    return value


def _other_outputs(value: Mapping[str, Any]) -> tuple[ModelOutput, ...]:
    """Return the outputs other than the embedding; older contracts have no list, and no such outputs."""
    embedding = ModelOutput(EMBEDDING, width=value["embedding_dim"])
    if "outputs" not in value:
        return ()
    first, *others = map(ModelOutput.from_json, value["outputs"])
    if first != embedding:
        raise ValueError(f"the first output is {first}, expected {embedding}")
    return tuple(others)


def _frame_of_architecture(architecture: Any) -> Any:
    """Return the frame of an older contract, which has no separate field for it."""
    return architecture.get("frame", 1) if isinstance(architecture, Mapping) else 1


def _damaged(error: Exception, source: str, remedy: str) -> BundleError:
    return BundleError(
        f"{source}: the seqembed contract is damaged ({type(error).__name__}: {error}). "
        f"{remedy[0].upper()}{remedy[1:]}."
    )
