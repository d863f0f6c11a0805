"""The encoder of a bundle, run by ONNX Runtime: the only file that names onnxruntime.

A job and the exporter's parity check use the same class, so that what is tested is what runs.
"""

import os
from collections.abc import Sequence
from typing import Self

# Official builds report to Microsoft unless this is set before the library is loaded: they write a device id and a
# database into the user's cache directory and send events over HTTPS. `disable_telemetry_events` comes too late for
# all three (onnxruntime/Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from seqembed.data.contract import GoldenSequence, ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.host import raise_host_fault
from seqembed.data.outputs import EMBEDDING, ModelOutput
from seqembed.runner.bundle.bundle_file import read_bundle
from seqembed.runner.bundle.contract_check import check_contract
from seqembed.runner.bundle.golden import (
    difference_of_numbers,
    distance_of_vectors,
    expected_outputs,
    padded,
    usual_length,
)
from seqembed.runner.bundle.memory import memory_limited
from seqembed.runner.bundle.onnx_check import CheckedModel, check_model
from seqembed.runner.bundle.seal import unseal

# A session computes on the thread that calls it: several callers beat one call spread over threads by up to 2×, since
# an LSTM's small matrix products do not pay for a barrier each.
_THREADS_A_CALL = 1
_FATAL_ONLY = 4  # what fails is raised, and so said once
_GOLDEN_TOLERANCE = 1e-5
_TRIED_BATCH, _TRIED_STEPS = 2, 32


class Encoder:
    """Embeds padded batches; safe to call from several threads at once.

    Attributes:
        contract: What the model was trained on and how it was checked.
        source: Where the model came from, for messages.
    """

    def __init__(self, session: onnxruntime.InferenceSession, contract: ModelContract, source: str) -> None:
        """Wrap an open session; see `from_bytes` and `open`."""
        self._session = session
        self.contract = contract
        self.source = source

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Load a bundle from a path or URI.

        Raises:
            BundleError: The file is missing, no ONNX model, or carries no seqembed contract.
        """
        return cls.from_bytes(read_bundle(path), source=str(path))

    @classmethod
    def from_bytes(cls, model: bytes, *, source: str) -> Self:
        """Load a bundle from memory.

        Raises:
            BundleError: The bytes are no ONNX model, ask for more than an encoder may, or carry no seqembed contract.
        """
        source = without_secrets(source)
        checked = check_model(model, source)
        contract = ModelContract.from_value(unseal(checked.contract, model, source), source)
        check_contract(contract, source)
        _check_precision(contract, checked, source)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS_A_CALL
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # The arena spares one call to malloc, and its page faults, for each of some hundred small outputs. Patterns
        # would keep a plan and a block of memory for every shape ever seen; batches are bounded in steps.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        with memory_limited(_allowed_memory(model, contract)):
            try:
                session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
                raise BundleError(f"{source}: not a model ONNX Runtime can load ({_first_line(error)}).") from error
            _check_interface(session, contract, source)
            _try(session, contract, source)
        return cls(session, contract, source)

    def embed(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the embedding of each sequence; `run` returns all outputs.

        Args:
            values: As for `run`.
            lengths: As for `run`.
            categories: As for `run`.

        Returns:
            float32 (batch, embedding_dim).

        Raises:
            BundleError, ValueError: See `run`.
        """
        return self._run(self.contract.outputs[:1], values, lengths, categories)[EMBEDDING]

    def run(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int32],
        categories: NDArray[np.int32] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Return what the model makes of each sequence; what stands beyond a sequence's length has no influence.

        With fp32 weights its neighbours in the batch have none either. With int8 they have a little: the operator takes
        one scale for the numbers of a whole batch; the contract's `Quantisation` says how much that was at export.

        Args:
            values: float32 (batch, time, features), raw units, NaN where missing; not looked at by a model without
                features.
            lengths: int32 (batch), each in 1…time.
            categories: int32 (batch, time, fields), ids by the vocabularies of the contract; None where the model has
                no fields.

        Returns:
            The outputs that the contract declares, by name, in its order: each float32 (batch, width) or (batch).

        Raises:
            BundleError: The model fails on these values, or returns another shape.
            ValueError: The model reads categories and none are given.
        """
        return self._run(self.contract.outputs, values, lengths, categories)

    def _run(
        self,
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
                raise ValueError(f"{self.source} reads categories, {len(schema.categorical)} a step; none are given")
            inputs["categories"] = categories
        try:
            arrays = self._session.run([output.name for output in outputs], inputs)
        except Exception as error:  # as above: no public base
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
        """Embed the contract's golden sequences on this host and hold them against what the exporter saw.

        Each is embedded alone and once more in one padded batch.

        Returns:
            The largest difference of any output: with fp32 weights that of any number, over max(1, |expected|); with
            int8 that of a whole vector, as a share of the usual length of these vectors.

        Raises:
            BundleError: This host computes other vectors than the exporter did.
        """
        golden = self.contract.golden
        if not golden:
            raise BundleError(f"{self.source}: the contract holds no golden sequences. Export the model again.")
        tolerance = self._golden_tolerance()
        found = [*(self.run_golden((one,)) for one in golden), self.run_golden(golden)]
        differences = [
            self._golden_difference(np.concatenate([outputs[name] for outputs in found]), expected)
            for name, expected in expected_outputs(golden).items()
        ]
        worst = float(np.max(differences))  # NaN where one of them is
        if not worst <= tolerance:
            exporter = self.contract.versions.get("onnxruntime", "unknown")
            raise BundleError(
                f"{self.source}: the golden sequences come out differently on this host: difference {worst:.3g}, "
                f"allowed {tolerance:.3g}. The file was changed, or onnxruntime {onnxruntime.__version__} computes "
                f"otherwise than the exporter's {exporter}. Export again, or install that version."
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
        return float(distance_of_vectors(found, twice, usual_length(expected)).max())

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
    """Return the bytes that a model may take for itself and for a few steps.

    ONNX Runtime holds the weights up to three times while it loads them. 512 MiB are for the library itself, whose
    threads reserve 64 MiB each; 64 numbers for each that goes in or comes out are several times what layers make of it.
    """
    schema = contract.schema
    width = schema.num_features + schema.num_fields + sum(output.num_values for output in contract.outputs)
    return 4 * len(model) + (512 << 20) + 64 * _TRIED_BATCH * _TRIED_STEPS * width * 4


def _try(session: onnxruntime.InferenceSession, contract: ModelContract, source: str) -> None:
    """Embed a few steps: what a graph asks for that is not of the size of its input shows here.

    Raises:
        BundleError: The model fails on them, for lack of memory as a rule.
    """
    schema = contract.schema
    inputs: dict[str, NDArray[np.generic]] = {"lengths": np.array([_TRIED_STEPS, 1], np.int32)}
    if schema.features:
        inputs["values"] = np.zeros((_TRIED_BATCH, _TRIED_STEPS, schema.num_features), np.float32)
    if schema.categorical:
        inputs["categories"] = np.zeros((_TRIED_BATCH, _TRIED_STEPS, schema.num_fields), np.int32)
    try:
        session.run([output.name for output in contract.outputs], inputs)
    except Exception as error:  # as above: no public base
        raise BundleError(
            f"{source}: the model fails on {_TRIED_BATCH} sequences of up to {_TRIED_STEPS} steps, or takes more "
            f"memory than its weights and these steps account for ({_first_line(error)}). Export the model again."
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
