"""The configuration: every option, whether it was given or chosen, and why each automatic choice was made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seqembed.data.pages.numbers import percent, shortened
from seqembed.data.plurals import counted, verb
from seqembed.trainer.page.material import Material


@dataclass(frozen=True, slots=True)
class OptionRow:
    """An option in force.

    Attributes:
        name: As on the command line, without dashes.
        value: As text.
        why: The reason of an automatic choice; empty for what was given, and for plain defaults.
    """

    name: str
    value: str
    why: str


def option_rows(material: Material) -> tuple[list[OptionRow], list[OptionRow]]:
    """Return what was chosen from the data with reasons, and all other options."""
    given = material.given.to_options()
    chosen: list[OptionRow] = []
    others: list[OptionRow] = []
    for name, value in material.job.to_options().items():
        why = "" if name in given else _reason(material, name)
        row = OptionRow(name.replace("_", "-"), _text(value), why)
        (chosen if why else others).append(row)
    return chosen, others


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return shortened(", ".join(map(str, value)) or "all that suit", 200)
    return f"{value:,}" if isinstance(value, int) else shortened(str(value), 200)


def _reason(material: Material, name: str) -> str:
    return _REASONS[name](material) if name in _REASONS else ""


def _objective(material: Material) -> str:
    if material.found.events:
        return "Steps are events, with categories or times: a reconstruction needs their order and gaps."
    if material.job.model.contrasts:
        return "Steps are measurements: views of a sequence are distinguished from others, and reconstructed."
    return "The task and the loss that were asked for need a reconstruction."


def _channels(material: Material) -> str:
    if not material.job.model.contrasts or material.found.events:
        return "Differences from step to step are for contrasts of measurements only."
    verdict = "persist, so they are read too" if material.job.model.channels == "both" else "are mostly noise"
    correlation = f"{material.found.changes.persistence:+.2f}".replace("-", "−")
    return f"Changes from step to step {verdict} (correlation of consecutive changes {correlation})."


def _normalization(material: Material) -> str:
    if material.job.model.normalization == "sequence":
        return "Each sequence is standardised by its own mean and spread, which join the embedding."
    return "A reconstruction in the units of the data needs the level of each sequence."


def _frame(material: Material) -> str:
    median, frame = material.found.median, material.job.model.frame
    if material.found.events:
        return "The order of events matters, and frames would hide it."
    return (
        f"A sequence of median length ({counted(median, 'step')}) is read in {counted(-(-median // frame), 'frame')}."
    )


def _overlap(material: Material) -> str:
    if material.job.model.overlap:
        return "A pattern that is cut by the edge of a frame is still seen by one of them."
    return "Frames of one step, or wide ones, need none."


def _trajectory(material: Material) -> str:
    share = f"the mean trajectory explains {percent(material.found.alignment.share)} of the energy"
    if material.job.model.trajectory:
        return f"Sequences are aligned: {share}."
    if not material.job.model.contrasts:
        return "Trajectories are for contrasts only."
    if material.found.alignment.is_aligned:
        return f"Sequences are aligned ({share}), but there are too many features or too few steps."
    return f"Sequences are not aligned: {share}."


def _kernels(material: Material) -> str:
    if not material.job.model.kernels:
        return "Fixed kernels are for contrasts of measurements only."
    return f"84 per dilation that fits into the median length of {counted(material.found.median, 'step')}."


def _pairs(material: Material) -> str:
    if not material.job.model.pairs:
        return "Pairs of consecutive steps are for events only."
    return "Six functions of a field and three of a number, fewer where there are many: at most 128 numbers."


def _units(material: Material) -> str:
    if material.job.model.kernels:
        return "Fixed kernels read the shapes, so the recurrent layers can be small."
    return "48 in each branch cost as much as 64 in one." if material.job.model.channels == "both" else "The default."


def _embedding_dim(material: Material) -> str:
    width = sum(width for _, width in material.blocks)
    most = counted(material.found.num_training, "training sequence")
    return f"At most 128, projected from {width:,}; {most} differ in one direction less than their number."


def _decoder(material: Material) -> str:
    return f"The default of the objective {material.job.model.objective}."


def _decoder_units(material: Material) -> str:
    if material.job.model.decoder == "positional":
        return "The default of the positional decoder."
    return "As wide as the encoder, and at least 64."


def _batch_size(material: Material) -> str:
    return f"Suits {counted(material.found.num_training, 'training sequence')}."


def _steps(material: Material) -> str:
    training, num = material.job.training, material.found.num_training
    passes = training.length * training.batch_size / max(num, 1)
    return f"{passes:,.1f} passes over {counted(num, 'training sequence')}."


def _learning_rate(material: Material) -> str:
    return (
        f"The default of the objective {material.job.model.objective}{' of events' if material.found.events else ''}."
    )


def _patience(_: Material) -> str:
    return "Half of all batches: the learning rate falls in the second half."


def _validation(material: Material) -> str:
    if (num := material.intake.num_validation) > 0:
        return f"{counted(num, 'sequence')} {verb(num, 'is', 'are')} held out."
    return "The data is so small that all of it is needed for training."


_REASONS: dict[str, Callable[[Material], str]] = {
    "objective": _objective,
    "channels": _channels,
    "normalization": _normalization,
    "frame": _frame,
    "overlap": _overlap,
    "trajectory": _trajectory,
    "kernels": _kernels,
    "pairs": _pairs,
    "units": _units,
    "embedding_dim": _embedding_dim,
    "decoder": _decoder,
    "decoder_units": _decoder_units,
    "batch_size": _batch_size,
    "steps": _steps,
    "learning_rate": _learning_rate,
    "patience": _patience,
    "validation_fraction": _validation,
}
