"""The options of `seqembed train`, in the sections its help shows; every default comes from the configuration."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from seqembed.data.sequences import TRUNCATES
from seqembed.trainer import config
from seqembed.trainer.config import DataConfig, ModelConfig, TrainingConfig
from seqembed.trainer.progress import PROGRESSES

_DEFAULTS = {
    field.name: field.default
    for part in (DataConfig, ModelConfig, TrainingConfig)
    for field in fields(part)
    if field.default is not MISSING
}
_POSITIVE = click.IntRange(1)
_COUNT = click.IntRange(0)


class Names(click.ParamType):
    """Names with commas between, or a list in a TOML file."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without empty ones."""
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            self.fail(f'{value!r} is not a list of names, such as a,b or in a file ["a", "b"].', param, ctx)
        return tuple(name for part in parts if (name := part.strip()))


class AutoNumber(click.ParamType):
    """A number, or ``auto``, which is None.

    Args:
        least: The smallest number.
        what: Of what, for messages.
    """

    name = "auto|N"

    def __init__(self, least: int, what: str) -> None:
        self._least, self._what = least, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number."""
        if value == "auto":
            return None
        try:
            number = self._least - 1 if isinstance(value, bool | float) else int(value)
        except (TypeError, ValueError):
            number = self._least - 1
        if number < self._least:
            at_least = "a positive number" if self._least else "0 or a positive number"
            self.fail(f"{value!r} is neither 'auto' nor {at_least} of {self._what}.", param, ctx)
        return number


class SectionedCommand(click.Command):
    """A command whose help groups its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section a group; options added later (`--config`, `--help`) come last."""
        left = {param.name: param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        sections = {title: [left.pop(option.name, option) for option in options] for title, options in SECTIONS.items()}
        sections["This command"] += left.values()
        for title, options in sections.items():
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])


def _option(flag: str, text: str, type: Any = None, unset: str = "none", **settings: Any) -> click.Option:
    """Return the option of the field named like it; `unset` says in the help what no value means."""
    name = flag.split("/")[0].removeprefix("--").replace("-", "_")
    default = _DEFAULTS[name]
    # click shows a value's own text where it is told True, and words of ours in parentheses.
    shown = unset if default in (None, ()) else True
    return click.Option([flag], default=default, show_default=shown, help=text, type=type, **settings)


def _choice(flag: str, choices: tuple[str, ...], text: str, unset: str = "none") -> click.Option:
    return _option(flag, text, click.Choice(choices), unset=unset)


def _frame() -> click.Option:
    text, unset = (
        "Consecutive steps read as one.",
        "auto: half of the sequences get 30 to 60 frames, short ones half their steps; 1 for events",
    )
    return _option("--frame", text, AutoNumber(1, "steps"), unset=unset)


def _overlap() -> click.Option:
    text = f"Further steps, those that come next, that each frame holds, too; 0 is none, {config.MAX_OVERLAP} the most."
    unset = "auto: twice those of a frame, as far as frames stay narrow; 0 for events and with --objective reconstruct"
    return _option("--overlap", text, AutoNumber(0, "steps"), unset=unset)


def _course() -> click.Option:
    text = "Places of its length, from start to end, of which each feature's numbers join the embedding; 0 is none."
    unset = "auto: up to 32 where sequences run alike, else 0; 0 for events and with --objective reconstruct"
    return _option("--course", text, AutoNumber(0, "places"), unset=unset)


def _switch(flag: str, text: str) -> click.Option:
    return click.Option([flag], is_flag=True, default=False, show_default="off", help=text)


SECTIONS: dict[str, list[click.Option]] = {
    "Data": [
        _option("--id", "Column that names a sequence.", metavar="COLUMN"),
        _option(
            "--features", "Columns of numbers or text, in model order.", Names(), unset="every one with a value a step"
        ),
        _option("--categorical", "Columns whose whole numbers or booleans are categories; text is.", Names()),
        _option("--min-count", "A category met less often counts as unknown.", _POSITIVE, metavar="N"),
        _option("--max-vocabulary", "Most categories that a field tells apart.", _POSITIVE, metavar="N"),
        _choice("--layout", config.LAYOUT_CHOICES, "Whether a row is a sequence (nested) or one step (events)."),
        _option(
            "--time",
            "Column that orders the steps of a sequence; in the nested layout it holds lists.",
            metavar="COLUMN",
        ),
        _option("--time-features/--no-time-features", "Whether timestamps in --time become features, too."),
        _option("--label", "Column that colours the map of embeddings; no feature unless named.", metavar="COLUMN"),
        _option("--max-length", "Most steps kept of a sequence.", _POSITIVE, unset="all", metavar="STEPS"),
        _choice("--truncate", TRUNCATES, "Which end a longer sequence keeps: tail is the newest."),
        _option(
            "--validation-fraction",
            "Share of ids held out, by a hash of the id.",
            float,
            unset="0.1; 0 below 500 sequences that need no early stopping",
            metavar="SHARE",
        ),
    ],
    "Model": [
        _choice("--cell", config.CELLS, "Recurrent cell."),
        _option(
            "--units", "Units of each recurrent layer and direction.", _POSITIVE, unset="64, or 48 and 48", metavar="N"
        ),
        _option("--layers", "Recurrent layers of the encoder.", _POSITIVE, metavar="N"),
        _choice(
            "--reads",
            config.READS,
            "What the encoder reads: the values, their differences from step to step, or both by layers of their own.",
            unset="both, but values where differences are mostly noise or with --objective reconstruct",
        ),
        _choice(
            "--scaling",
            config.SCALINGS,
            "Scale values by the data alone, or each sequence by its own mean and spread, which join the embedding.",
            unset="sequence; data with --objective reconstruct",
        ),
        _frame(),
        _overlap(),
        _course(),
        _option("--bidirectional/--forward-only", "Whether the encoder also reads backwards."),
        _choice("--activation", config.ACTIVATIONS, "Of the recurrent layers."),
        _choice("--pooling", config.POOLINGS, "From steps to one vector; concat is all three."),
        _option("--embedding-dim", "Width of the embedding.", _POSITIVE, unset="as wide as the pooling", metavar="N"),
        _choice(
            "--objective",
            config.OBJECTIVES,
            "Tell views of a sequence from other sequences (contrast), reconstruct it, or both (hybrid).",
            unset="hybrid; reconstruct for events, where --task predicts or --loss is binary_crossentropy",
        ),
        _choice(
            "--decoder",
            config.DECODERS,
            "From embedding to steps; reshape and dense write one fixed length.",
            unset="positional; repeat with --objective reconstruct",
        ),
        _option(
            "--decoder-units",
            "Units of each layer of the decoder, and of the layer that predicts the next step.",
            _POSITIVE,
            unset="as many as --units, 64 at least; 128 for the positional decoder",
            metavar="N",
        ),
        _option("--decoder-layers", "Layers of the decoder.", _POSITIVE, unset="1", metavar="N"),
        _switch("--reverse-target", "The autoregressive decoder writes the newest step first."),
        _choice("--task", config.TASKS, "Reconstruct, predict the step after a prefix, or both (composite)."),
        _choice("--loss", config.LOSSES, "Compares output and target; binary_crossentropy takes values in 0…1."),
    ],
    "Training": [
        _option(
            "--epochs",
            "Most passes over the data; 0 writes an untrained model.",
            _COUNT,
            unset="100 with --objective reconstruct of numbers alone; else --steps",
            metavar="N",
        ),
        _option(
            "--steps",
            "Batches to learn from, instead of --epochs.",
            _POSITIVE,
            unset="ten passes, but 2,000 (events: 1,000) at least and 4,000 at most",
            metavar="N",
        ),
        _option(
            "--batch-size",
            "Most sequences in a batch.",
            _POSITIVE,
            unset="32, 64 from 20,000 sequences; 64 with --objective reconstruct",
            metavar="N",
        ),
        _option("--learning-rate", "Of Adam; the peak of a cosine, but constant with --objective reconstruct.", float),
        _option(
            "--patience",
            "Epochs, or twentieths of --steps, without a better validation loss before training stops.",
            _POSITIVE,
            unset="10 with --objective reconstruct; else never",
            metavar="N",
        ),
        _option("--clip-norm", "Largest norm of a gradient; 0 turns clipping off.", float),
        _option("--seed", "Of initial weights, order of batches and places of cuts.", _COUNT, metavar="N"),
    ],
    "This command": [
        click.Option(["--out"], required=True, type=click.Path(file_okay=False, path_type=Path), help="Run directory."),
        _switch(
            "--resume",
            "Go on where a training into --out stood; after an interrupted --overwrite, with the replacement.",
        ),
        _switch(
            "--overwrite",
            "Replace the run that --out holds once the new one is complete; until then it stays as it is.",
        ),
        click.Option(
            ["--progress"],
            type=click.Choice(PROGRESSES),
            default="auto",
            show_default=True,
            help="A bar, plain lines, or none but what there is to know of the data; auto is a bar on a terminal.",
        ),
    ],
}
PARAMETERS: list[click.Parameter] = [
    click.Argument(["inputs"], metavar="INPUT...", nargs=-1, required=True),
    *(option for options in SECTIONS.values() for option in options),
]
