"""Check that the fields of a contract are consistent, since a bundle is untrusted input.

`ModelContract.from_json` parses it; here fields are checked against each other and against limits of size.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from seqembed.data.contract import (
    MAX_GOLDEN_TOLERANCE,
    MAX_TOLERANCE,
    PRECISIONS,
    REEXPORT,
    GoldenSequence,
    ModelContract,
)
from seqembed.data.errors import BundleError
from seqembed.data.outputs import OUTPUT_DTYPES, RECONSTRUCTION_ERROR
from seqembed.data.profile import QUANTILES
from seqembed.data.scores import LEVELS
from seqembed.data.sequences import TRUNCATES
from seqembed.data.statistics.definition import MAX_CATEGORY_BINS, MAX_DIMENSIONS, counted_names, is_finite
from seqembed.data.week_hours import NUM_WEEK_HOURS
from seqembed.runner.bundle.schema_check import check_contract_schema, is_integer_in

_MAX_EMBEDDING_DIM = 1 << 16
_MAX_GOLDEN_VALUES = 1 << 24
_MAX_BATCH_SIZE = 1 << 12
_MAX_FRAME = 1 << 12
_MAX_BLOCK = 1 << 20


def check_contract(contract: ModelContract, source: str, remedy: str = REEXPORT) -> None:
    """Check that the fields of a contract are consistent.

    Args:
        contract: The contract of a bundle or run directory.
        source: Its file, for messages.
        remedy: How to fix a damaged one: `seqembed.data.contract.REEXPORT` or `RETRAIN`.

    Raises:
        BundleError: They are not; the message names the field, the value found and the expected one.
    """
    _Check(contract, source, remedy).all()


class _Check:
    def __init__(self, contract: ModelContract, source: str, remedy: str) -> None:
        self._contract, self._source, self._remedy = contract, source, remedy

    def all(self) -> None:
        contract = self._contract
        check_contract_schema(contract.schema, self._refuse)
        self._length_policy()
        if not is_integer_in(contract.embedding_dim, 1, _MAX_EMBEDDING_DIM):
            self._refuse("embedding_dim", contract.embedding_dim, f"an integer in 1…{_MAX_EMBEDDING_DIM:,}")
        self._outputs()
        if not is_integer_in(contract.frame, 1, _MAX_FRAME):
            self._refuse("frame", contract.frame, f"an integer in 1…{_MAX_FRAME:,}")
        self._profiles()
        self._statistics()
        self._parity()
        self._quantisation()
        self._errors()
        self._other_fields()
        self._blocks()
        steps = sum(len(sequence.values) for sequence in contract.golden)
        if steps * (contract.schema.num_features + contract.schema.num_fields) > _MAX_GOLDEN_VALUES:
            self._refuse("golden", "more", f"at most {_MAX_GOLDEN_VALUES:,} numbers")
        for index, golden in enumerate(contract.golden):
            self._golden(f"golden[{index}]", golden)

    def _length_policy(self) -> None:
        policy = self._contract.length_policy
        if policy.max_length is not None and not is_integer_in(policy.max_length, 1, np.iinfo(np.int32).max):
            self._refuse("max_length", policy.max_length, "a positive integer, or null")
        if policy.truncate not in TRUNCATES:
            self._refuse("truncate", policy.truncate, " or ".join(TRUNCATES))

    def _outputs(self) -> None:
        names = [output.name for output in self._contract.outputs]
        for output in self._contract.other_outputs:
            if not isinstance(output.name, str) or not output.name or names.count(output.name) > 1:
                self._refuse("outputs", output.name, "unique names")
            if output.dtype not in OUTPUT_DTYPES:
                self._refuse(f"dtype of output '{output.name}'", output.dtype, " or ".join(OUTPUT_DTYPES))
            if output.width is not None and not is_integer_in(output.width, 1, _MAX_EMBEDDING_DIM):
                self._refuse(
                    f"width of output '{output.name}'",
                    output.width,
                    f"an integer in 1…{_MAX_EMBEDDING_DIM:,}, or null",
                )

    def _profiles(self) -> None:
        contract = self._contract
        profile, width = contract.training.profile, contract.schema.num_features
        for name in ("mean", "std", "missing_rate"):
            self._numbers(f"training {name}", getattr(profile, name), width)
        quantiles = profile.length_quantiles
        self._numbers("length_quantiles", quantiles, len(QUANTILES))
        for name in ("num_sequences", "num_empty", "num_steps"):
            if not is_integer_in(getattr(profile, name), 0, 1 << 62):
                self._refuse(f"training {name}", getattr(profile, name), "an integer")
        hours = profile.week_hours
        if len(hours) not in (0, NUM_WEEK_HOURS) or not all(is_integer_in(count, 0, 1 << 62) for count in hours):
            self._refuse("training week_hours", f"{len(hours)} values", f"{NUM_WEEK_HOURS} integers, or none")
        training = contract.training
        if not isinstance(training.fingerprint, str) or not is_integer_in(training.num_files, 0, 1 << 62):
            self._refuse("training data", contract.training.num_files, "a fingerprint and a number of files")
        if contract.embeddings is not None:
            self._numbers("embeddings mean", contract.embeddings.mean, contract.embedding_dim)
            self._numbers("embeddings std", contract.embeddings.std, contract.embedding_dim)

    def _statistics(self) -> None:
        """Check that the statistics count what the model reads; `Statistics.from_json` has checked the rest."""
        contract, statistics = self._contract, self._contract.training.statistics
        if statistics is None:
            return
        definition = statistics.definition
        features, fields = counted_names(contract.schema)
        found = tuple(feature.name for feature in definition.features), tuple(f.name for f in definition.fields)
        if found != (features, fields):
            self._refuse("statistics of", found, f"those of {(features, fields)}")
        num_ids = {field.name: field.num_ids for field in contract.schema.categorical}
        for field in definition.fields:
            if field.num_bins != min(num_ids[field.name], MAX_CATEGORY_BINS):
                self._refuse(f"statistics of '{field.name}'", field.num_bins, f"bins of {num_ids[field.name]} ids")
        noise = contract.training.noise
        if noise is not None and not noise.fits(definition):
            self._refuse("noise", {name: len(found) for name, found in noise.factors.items()}, "that of the statistics")
        if definition.vectors is None:
            return
        dimensions = min(contract.embedding_dim, MAX_DIMENSIONS)
        if contract.embeddings is None or definition.vectors.dimensions != dimensions:
            self._refuse("statistics of embeddings", definition.vectors.dimensions, f"{dimensions} and a mean")

    def _parity(self) -> None:
        parity = self._contract.parity
        if parity is None:
            return
        self._numbers("parity", (parity.max_abs_difference, parity.max_difference, parity.tolerance), 3)
        if not 0 < parity.tolerance <= MAX_TOLERANCE:
            self._refuse("tolerance", parity.tolerance, f"a number in (0, {MAX_TOLERANCE:g}]")
        if not (is_integer_in(parity.num_sequences, 0, 1 << 62) and is_integer_in(parity.num_real, 0, 1 << 62)):
            self._refuse("parity", (parity.num_sequences, parity.num_real), "numbers of sequences")

    def _quantisation(self) -> None:
        precision, measured = self._contract.precision, self._contract.quantisation
        if precision not in PRECISIONS:
            self._refuse("precision", precision, " or ".join(PRECISIONS))
        if measured is None:
            return
        if precision == "fp32":
            self._refuse("quantisation", "figures", "none, since the precision is fp32")
        cosines = [measured.mean_cosine, measured.min_cosine, measured.mean_centred_cosine]
        cosines += [measured.mean_cosine_alone, measured.min_cosine_alone, measured.mean_cosine_beside_outlier]
        self._numbers("quantisation", (*cosines, measured.neighbour_agreement, measured.golden_tolerance), 8)
        for cosine in cosines:
            if not -1 <= cosine <= 1:
                self._refuse("quantisation", cosine, "a cosine in [-1, 1]")
        if not 0 <= measured.neighbour_agreement <= 1:
            self._refuse("neighbour_agreement", measured.neighbour_agreement, "a share in [0, 1]")
        if not 0 < measured.golden_tolerance <= MAX_GOLDEN_TOLERANCE:
            self._refuse("golden_tolerance", measured.golden_tolerance, f"a number in (0, {MAX_GOLDEN_TOLERANCE:g}]")
        if not is_integer_in(measured.num_sequences, 0, 1 << 62):
            self._refuse("quantisation", measured.num_sequences, "a number of sequences")

    def _errors(self) -> None:
        errors = self._contract.errors
        if errors is None:
            return
        if not self._contract.has_decoder:
            self._refuse("reconstruction_errors", "figures", f"none without the output '{RECONSTRUCTION_ERROR}'")
        self._numbers("reconstruction_errors", errors.quantiles, len(LEVELS))
        if min(errors.quantiles) < 0 or (np.diff(errors.quantiles) < 0).any():
            self._refuse("reconstruction_errors", "descending or negative numbers", "ascending numbers of at least 0")
        if not is_integer_in(errors.num_sequences, 1, 1 << 62) or not isinstance(errors.held_out, bool):
            self._refuse("reconstruction_errors", errors.num_sequences, "a number of sequences, and true or false")

    def _other_fields(self) -> None:
        contract = self._contract
        texts = isinstance(contract.versions, dict) and all(isinstance(v, str) for v in contract.versions.values())
        if not texts:
            self._refuse("versions", contract.versions, "library names with versions")
        if not isinstance(contract.architecture, dict):
            self._refuse("architecture", contract.architecture, "names with values")
        if not is_integer_in(contract.batch_size, 1, _MAX_BATCH_SIZE):
            self._refuse("batch_size", contract.batch_size, f"an integer in 1…{_MAX_BATCH_SIZE:,}")

    def _blocks(self) -> None:
        blocks, dim = self._contract.blocks, self._contract.embedding_dim
        for block in blocks:
            if not isinstance(block.name, str) or not is_integer_in(block.width, 1, _MAX_BLOCK):
                self._refuse("blocks", (block.name, block.width), f"a name and a width in 1…{_MAX_BLOCK:,}")
            self._numbers("blocks", (block.variance, block.max_scale), 2)
            if not (block.variance > 0 and block.max_scale > 0):
                self._refuse("blocks", (block.variance, block.max_scale), "numbers above 0")
        if not isinstance(self._contract.projected, bool):
            self._refuse("projected", self._contract.projected, "true or false")
        if blocks and not self._contract.projected and sum(block.width for block in blocks) != dim:
            self._refuse("blocks", sum(block.width for block in blocks), f"{dim:,} numbers in total")

    def _golden(self, name: str, golden: GoldenSequence) -> None:
        width = self._contract.schema.num_features
        if golden.values.ndim != 2 or golden.values.shape[0] < 1 or golden.values.shape[1] != width:
            self._refuse(f"{name} values", f"shape {golden.values.shape}", f"(at least 1, {width})")
        self._golden_ids(f"{name} categories", golden)
        shapes = {output.name: output.shape(1)[1:] for output in self._contract.outputs}
        if golden.outputs.keys() != shapes.keys():
            self._refuse(f"{name} outputs", sorted(golden.outputs), f"{sorted(shapes)}")
        for output, values in golden.outputs.items():
            if values.shape != shapes[output]:
                self._refuse(f"{name} {output}", f"shape {values.shape}", f"{shapes[output]}")
        is_finite = all(np.isfinite(values).all() for values in golden.outputs.values())
        if np.isinf(golden.values).any() or not is_finite:
            self._refuse(name, "a number that is not finite", "finite numbers (null where a value is missing)")

    def _golden_ids(self, name: str, golden: GoldenSequence) -> None:
        vocabularies, ids = self._contract.schema.vocabularies, golden.categories
        if not vocabularies:
            if ids is not None:
                self._refuse(name, f"shape {ids.shape}", "none, since the model has no categorical field")
            return
        shape = (len(golden.values), len(vocabularies))
        if ids is None or ids.shape != shape:
            self._refuse(name, "none" if ids is None else f"shape {ids.shape}", f"{shape}")
        num_ids = np.array([vocabulary.num_ids for vocabulary in vocabularies])
        if (ids < 0).any() or (ids >= num_ids).any():
            self._refuse(name, f"ids in {ids.min()}…{ids.max()}", f"ids below {num_ids.tolist()}")

    def _numbers(self, name: str, values: Sequence[Any], width: int) -> None:
        if len(values) != width:
            self._refuse(name, f"{len(values)} numbers", f"{width}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
                self._refuse(name, value, "finite numbers")

    def _refuse(self, what: str, found: object, expected: str) -> NoReturn:
        text = str(found)
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise BundleError(
            f"{self._source}: the seqembed contract is damaged: {what}: found {shown}, expected {expected}. "
            f"{self._remedy[0].upper()}{self._remedy[1:]}."
        )
