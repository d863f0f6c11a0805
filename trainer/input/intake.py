"""One streaming pass over the data before training: split it, count it, check it and compute its statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqembed.data.decode.ids import id_text, quoted_id
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.peek import first_with_rows
from seqembed.data.plurals import counted
from seqembed.data.schema.hints import FewValues, hint_at_codes, integer_features
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock
from seqembed.data.statistics.measure import define, measure
from seqembed.data.statistics.statistics import Statistics
from seqembed.data.survey import Survey, survey
from seqembed.trainer.config.automatic import has_events
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import min_length
from seqembed.trainer.input.source import in_validation

_VALIDATION_FRACTION = 0.1
# Below this number, unless early stopping needs held-out data, all sequences are used for training.
_FEW = 500


@dataclass(frozen=True, slots=True)
class Intake:
    """The data of a training.

    Attributes:
        survey: Profile and sample of the training side, and a sample of the held-out sequences; the longest sequence of
            both sides.
        num_training: Number of training sequences.
        num_validation: Number of held-out sequences.
        num_too_short: Sequences of either side without enough steps for the task (empty ones included).
        validation_fraction: Share held out; 0 if the data is too small.
        codes: Index of an integer feature that may be a category → number of distinct values.
    """

    survey: Survey
    num_training: int
    num_validation: int
    num_too_short: int
    validation_fraction: float
    codes: Mapping[int, int] = field(default_factory=dict)

    def notes(self, schema: SequenceSchema, merged: Mapping[str, tuple[int, int]] | None = None) -> list[str]:
        """Return what a user should know before the training starts, one line each.

        Args:
            schema: Names of the features.
            merged: As `seqembed.trainer.input.columns.TrainingColumns.merged`.
        """
        profile = self.survey.profile
        fields = f"{counted(schema.num_fields, 'categorical field')}, " if schema.categorical else ""
        lines = [
            f"{counted(self.num_training, 'training sequence')}, {self.num_validation:,} for validation; "
            f"{counted(schema.num_features, 'feature')}, {fields}up to {counted(self.survey.max_length, 'step')}"
        ]
        if self.num_too_short:
            has = "has" if self.num_too_short == 1 else "have"
            too_short = counted(self.num_too_short, "sequence")
            lines.append(f"{too_short} {has} too few steps to learn from (empty ones included)")
        if self.survey.shared_ids is not None:
            lines.append(f"{self.survey.shared_ids} occur in more than one row; each row is a separate sequence")
        if self.survey.num_truncated:
            verb = "is" if self.survey.num_truncated == 1 else "are"
            longer = counted(self.survey.num_truncated, "sequence")
            lines.append(f"{longer} {verb} longer than --max-length and {verb} truncated")
        if not self.num_validation:
            lines.append("no sequences are held out: the training loss is monitored")
        described = zip(schema.feature_names, profile.std, profile.missing_rate, strict=True)
        still = [name for name, std, missing in described if (std == 0 or missing == 1) and name not in (merged or {})]
        if still:
            lines.append(f"features that are constant and carry no information: {', '.join(still)}")
        for name, (stored, kept) in (merged or {}).items():
            lines.append(
                f"'{name}': {stored:,} distinct values become {kept:,} in float32, which keeps seven digits. If they "
                "are times, pass the column as --time; else subtract an offset before writing them."
            )
        lines += hint_at_codes(schema, self.codes)
        return lines


def take_in(files: Sequence[InputFile], schema: SequenceSchema, job: TrainJob) -> Intake:
    """Read all data once.

    Raises:
        BadRowError: A row is not a valid sequence.
        InputError: Too few sequences, or values that do not suit the loss.
    """
    keep = (job.data.label,) if job.data.label is not None else ()
    wanted = job.training.validation_fraction
    contrasts = job.model.objective_for(events=has_events(schema)) != "reconstruct"
    whole_numbers = integer_features(first_with_rows(files).footer()[0], schema)
    for fraction in (_VALIDATION_FRACTION if wanted is None else wanted, 0.0):
        sides = _Sides(job, schema, fraction, FewValues(whole_numbers))
        found = survey(
            files,
            schema,
            job.data.length_policy,
            seed=job.training.seed,
            keep=keep,
            select=sides.training_side,
            set_aside=sides.held_out if fraction else None,
        )
        if sides.num_training + sides.num_validation < 2:
            raise InputError(
                f"{', '.join(job.data.inputs)}: {sides.num_training + sides.num_validation} of {found.num_total:,} "
                f"sequences have at least {min_length(job.model.task)} step(s); training needs two or more. Add data."
            )
        few = wanted is None and sides.num_training + sides.num_validation < _FEW
        if sides.num_training and not (few and contrasts and job.training.patience is None):
            break  # else all ids of a tiny data set fell on the other side, or all are needed: hold none out
    codes = sides.few_values.codes()
    return Intake(found, sides.num_training, sides.num_validation, sides.num_too_short, fraction, codes)


def count(files: Sequence[InputFile], schema: SequenceSchema, job: TrainJob, intake: Intake, frame: int) -> Statistics:
    """Count all values of the training side, in bins that `take_in` found, as the data is read once more.

    Args:
        files: Parquet files.
        schema: Which columns make a sequence.
        job: As for `take_in`.
        intake: What it found.
        frame: Steps that the recurrent layers read as one.

    Raises:
        InputError: A file cannot be read any more.
    """

    def training_side(block: SequenceBlock) -> NDArray[np.bool_]:
        usable = block.lengths >= min_length(job.model.task)
        return _on_training_side(block, usable, in_validation(block, intake.validation_fraction))

    found = intake.survey
    definition = define(schema, found.profile, found.sample, frame)
    return measure(files, schema, job.data.length_policy, definition, training_side)


def _on_training_side(
    block: SequenceBlock, usable: NDArray[np.bool_], held_out: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = (usable | (block.lengths == 0)) & ~held_out
    return chosen


class _Sides:
    """Splits blocks by the hash of the id, and counts and checks their sequences."""

    def __init__(self, job: TrainJob, schema: SequenceSchema, fraction: float, few_values: FewValues) -> None:
        self.few_values = few_values
        self._min_length = min_length(job.model.task)
        self._binary = job.model.loss == "binary_crossentropy"
        self._schema, self._fraction = schema, fraction
        self.num_training = self.num_validation = self.num_too_short = 0

    def training_side(self, block: SequenceBlock) -> NDArray[np.bool_]:
        """Return which sequences are on the training side, bool (sequences): usable or empty, and not held out."""
        if self._binary:
            self._check_binary(block)
        self.few_values.update(block.values)
        usable = block.lengths >= self._min_length
        held_out = in_validation(block, self._fraction)
        self.num_too_short += int((~usable).sum())
        self.num_validation += int((usable & held_out).sum())
        self.num_training += int((usable & ~held_out).sum())
        return _on_training_side(block, usable, held_out)

    def held_out(self, block: SequenceBlock) -> NDArray[np.bool_]:
        """Return which sequences are held out, bool (sequences)."""
        return (block.lengths >= self._min_length) & in_validation(block, self._fraction)

    def _check_binary(self, block: SequenceBlock) -> None:
        outside = (block.values < 0) | (block.values > 1)
        if outside.any():
            step, feature = np.argwhere(outside)[0]
            row = int(np.searchsorted(block.offsets, step, side="right")) - 1
            raise InputError(
                f"id {quoted_id(id_text(block.ids[row]))}: feature '{self._schema.feature_names[feature]}' holds "
                f"{block.values[step, feature]:g}; --loss binary_crossentropy expects values from 0 to 1. "
                "Choose --loss mse, or other --features."
            )
