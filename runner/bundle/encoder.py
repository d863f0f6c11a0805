"""Run the encoder of a bundle with ONNX Runtime; the only module that imports onnxruntime.

Runs and the exporter's parity check use the same class, so that the tested code is the code in use.
"""

import os
from collections.abc import Sequence
from typing import Self

# Official builds send telemetry to Microsoft unless this is set before the library is loaded: they write a device id
# and a database into the user's cache directory and send events over HTTPS. `disable_telemetry_events` comes too late
# for all three (onnxruntime/Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from seqembed.data.contract import GoldenSequence, ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.host import raise_host_fault
from seqembed.data.outputs import EMBEDDING, RECONSTRUCTION_ERROR, ModelOutput, outputs_without_decoder
from seqembed.runner.bundle.bundle_file import read_bundle
from seqembed.runner.bundle.contract_of import read_contract
from seqembed.runner.bundle.golden import (
    difference_of_numbers,
    distance_of_vectors,
    expected_outputs,
    padded,
    usual_norm,
)
from seqembed.runner.bundle.memory import memory_limited
from seqembed.runner.bundle.onnx_check import CheckedModel
from seqembed.runner.bundle.prune import without_output

# A session computes on the calling thread: several calling threads are up to 2× faster than one call spread over
# threads, since an LSTM's small matrix products are too short for a barrier each.
_THREADS_PER_CALL = 1
_FATAL_ONLY = 4  # errors are raised, so they need no log line
_GOLDEN_TOLERANCE = 1e-5
_TRIED_BATCH, _TRIED_STEPS = 2, 32


class Encoder:
    """Embeds padded batches; safe to call from several threads at once.

    Attributes:
        contract: The contract of the bundle.
        source: File of the bundle, for messages.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        contract: ModelContract,
        source: str,
        without_decoder: onnxruntime.InferenceSession,
    ) -> None:
        """Wrap open sessions; see `from_bytes` and `open`."""
        self._session = session
        self._without_decoder = without_decoder
        self.contract = contract
        self.source = source

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Load a bundle from a path or URI.

        Raises:
            BundleError: The file is missing, not an ONNX model, or has no seqembed contract.
        """
        return cls.from_bytes(read_bundle(path), source=str(path))

    @classmethod
    def from_bytes(cls, model: bytes, *, source: str) -> Self:
        """Load a bundle from memory.

        Raises:
            BundleError: The bytes are not an ONNX model, the model is not allowed, or it has no seqembed contract.
        """
        source = without_secrets(source)
        contract, checked = read_contract(model, source)
        _check_precision(contract, checked, source)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS_PER_CALL
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # The arena saves a malloc call and page faults for each of about a hundred small outputs. Memory patterns would
        # keep a plan and a block of memory for every shape seen; batches are bounded in steps.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        with memory_limited(_allowed_memory(model, contract)):
            try:
                session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
                encoder = session
                if contract.has_decoder:
                    pruned = without_output(model, RECONSTRUCTION_ERROR)
                    encoder = onnxruntime.InferenceSession(pruned, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the exceptions of ONNX Runtime have no public base class
                raise BundleError(f"{source}: not a model ONNX Runtime can load ({_first_line(error)}).") from error
            _check_interface(session, contract, source)
            _try(session, contract, source)
        return cls(session, contract, source, encoder)

    def embed(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the embedding of each sequence; `run` returns all outputs.

        Args:
            values: See `run`.
            lengths: See `run`.
            categories: See `run`.

        Returns:
            float32 (batch, embedding_dim).

        Raises:
            BundleError, ValueError: See `run`.
        """
        return self.run_without_decoder(values, lengths, categories)[EMBEDDING]

    def run(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Return the outputs of the model for each sequence; padding beyond a sequence's length has no effect.

        With fp32 weights, other sequences of the batch have no effect either. With int8 they have a small one, since
        the operator uses one scale per batch; the contract's `Quantisation` has its size at export.

        Args:
            values: float32 (batch, time, features), raw units, NaN where missing; ignored by a model without features.
            lengths: int32 (batch), each in 1…time.
            categories: int32 (batch, time, fields), ids from the vocabularies of the contract; None for a model without
                categorical fields.

        Returns:
            The outputs listed in the contract, by name, in its order: each float32 (batch, width) or (batch).

        Raises:
            BundleError: The model fails on these values, or returns an unexpected shape.
            ValueError: The model needs categories and none are given.
        """
        return self._run(self._session, self.contract.outputs, values, lengths, categories)

    def run_without_decoder(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Return what `run` does but for ``reconstruction_error``, to the same bit, without computing the decoder."""
        outputs = outputs_without_decoder(self.contract.outputs)
        return self._run(self._without_decoder, outputs, values, lengths, categories)

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[ModelOutput],
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None,
    ) -> dict[str, NDArray[np.float32]]:
        schema = self.contract.schema
        inputs: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {"lengths": lengths}
        if schema.features:
            inputs["values"] = values
        if schema.categorical:
            if categories is None:
                raise ValueError(f"{self.source} needs categories, {len(schema.categorical)} per step; none are given")
            inputs["categories"] = categories
        try:
            arrays = session.run([output.name for output in outputs], inputs)
        except Exception as error:  # no public base class, as above
            raise_host_fault(error)
            shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
            raise BundleError(
                f"{self.source}: the model fails on a batch of {shapes} ({_first_line(error)}). Export it again."
            ) from error
        for output, array in zip(outputs, arrays, strict=True):
            if array.shape != output.shape(len(lengths)):
                raise BundleError(
                    f"{self.source}: the model returns '{output.name}' of shape {array.shape} for {len(lengths)} "
                    f"sequences; expected {output.shape(len(lengths))}. Export it again."
                )
        return {output.name: array for output, array in zip(outputs, arrays, strict=True)}

    def replay_golden(self) -> float:
        """Embed the contract's golden sequences on this host and compare them with the exporter's results.

        Each is embedded alone, and again in one padded batch.

        Returns:
            The maximum difference over all outputs: with fp32 weights per number, over max(1, |expected|); with int8
                per
            vector, relative to the usual norm.

        Raises:
            BundleError: The vectors differ from the exporter's.
        """
        golden = self.contract.golden
        if not golden:
            raise BundleError(f"{self.source}: the contract has no golden sequences. Export the model again.")
        tolerance = self._golden_tolerance()
        found = [*(self.run_golden((one,)) for one in golden), self.run_golden(golden)]
        differences = [
            self._golden_difference(np.concatenate([outputs[name] for outputs in found]), expected)
            for name, expected in expected_outputs(golden).items()
        ]
        worst = float(np.max(differences))  # NaN if one of them is
        if not worst <= tolerance:
            exporter = self.contract.versions.get("onnxruntime", "unknown")
            raise BundleError(
                f"{self.source}: the golden sequences get other vectors on this host: difference {worst:.3g}, allowed "
                f"{tolerance:.3g}. The file was changed, or onnxruntime {onnxruntime.__version__} computes "
                f"differently from the exporter's {exporter}. Export again, or install that version."
            )
        return worst

    def run_golden(self, golden: Sequence[GoldenSequence]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs for golden sequences in one padded batch, as `run` does.

        Raises:
            BundleError: The model fails on them.
        """
        return self.run(*padded(golden, self.contract.schema))

    def _golden_difference(self, found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
        twice = np.concatenate([expected, expected])
        if self.contract.quantisation is None:
            return float(difference_of_numbers(found, twice).max())
        return float(distance_of_vectors(found, twice, usual_norm(expected)).max())

    def _golden_tolerance(self) -> float:
        if self.contract.quantisation is not None:
            return self.contract.quantisation.golden_tolerance
        return self.contract.parity.tolerance if self.contract.parity else _GOLDEN_TOLERANCE


def onnxruntime_version() -> str:
    """Return the version of ONNX Runtime in use."""
    return str(onnxruntime.__version__)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _check_precision(contract: ModelContract, checked: CheckedModel, source: str) -> None:
    if checked.is_quantised != (contract.precision == "int8"):
        raise BundleError(
            f"{source}: the contract says precision {contract.precision}, and the graph has "
            f"{'int8' if checked.is_quantised else 'no int8'} LSTM nodes. Export the model again."
        )


def _allowed_memory(model: bytes, contract: ModelContract) -> int:
    """Return the memory in bytes allowed for loading a model and running a few steps.

    ONNX Runtime holds the weights up to three times while it loads them. 512 MiB are for the library itself, whose
    threads reserve 64 MiB each; 64 numbers per input and output number are several times what the layers need.
    """
    schema = contract.schema
    width = schema.num_features + schema.num_fields + sum(output.num_values for output in contract.outputs)
    return 4 * len(model) + (512 << 20) + 64 * _TRIED_BATCH * _TRIED_STEPS * width * 4


def _try(session: onnxruntime.InferenceSession, contract: ModelContract, source: str) -> None:
    """Embed a few steps, to detect a graph that allocates memory out of proportion to its input.

    Raises:
        BundleError: The model fails on them, usually for lack of memory.
    """
    schema = contract.schema
    inputs: dict[str, NDArray[np.generic]] = {"lengths": np.array([_TRIED_STEPS, 1], np.int32)}
    if schema.features:
        inputs["values"] = np.zeros((_TRIED_BATCH, _TRIED_STEPS, schema.num_features), np.float32)
    if schema.categorical:
        inputs["categories"] = np.zeros((_TRIED_BATCH, _TRIED_STEPS, schema.num_fields), np.int32)
    try:
        session.run([output.name for output in contract.outputs], inputs)
    except Exception as error:  # no public base class, as above
        raise BundleError(
            f"{source}: the model fails on {_TRIED_BATCH} sequences of up to {_TRIED_STEPS} steps, or needs more "
            f"memory than its weights and these steps explain ({_first_line(error)}). Export the model again."
        ) from error


def _check_interface(session: onnxruntime.InferenceSession, contract: ModelContract, source: str) -> None:
    found = {node.name: (node.type, list(node.shape)) for node in [*session.get_inputs(), *session.get_outputs()]}
    schema = contract.schema
    expected: dict[str, tuple[str, int, int | None]] = {"lengths": ("tensor(int32)", 1, None)}
    if schema.features:
        expected["values"] = ("tensor(float)", 3, schema.num_features)
    if schema.categorical:
        expected["categories"] = ("tensor(int32)", 3, schema.num_fields)
    for output in contract.outputs:
        expected[output.name] = ("tensor(float)", len(output.shape(0)), output.width)
    for name, (kind, rank, last) in expected.items():
        type_and_shape = found.pop(name, None)
        fits = type_and_shape is not None and type_and_shape[0] == kind and len(type_and_shape[1]) == rank
        if not fits or type_and_shape is None or (last is not None and type_and_shape[1][-1] != last):
            raise BundleError(
                f"{source}: '{name}' is {type_and_shape or 'missing'}; the contract says {kind} of {rank} axes"
                f"{f', the last of {last}' if last else ''}. Export the model again."
            )
    if found:
        raise BundleError(f"{source}: unexpected inputs or outputs {sorted(found)}. Export the model again.")
