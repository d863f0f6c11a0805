"""The options of `seqembed train`, in the sections of its help; every default comes from the configuration."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from seqembed.data.display.progress import PROGRESS_STYLES
from seqembed.data.json_log import LOG_FORMAT
from seqembed.data.sequences import TRUNCATES
from seqembed.trainer.config import model as choices
from seqembed.trainer.config.data import LAYOUT_CHOICES, DataConfig
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.training import TrainingConfig

_DEFAULTS = {
    field.name: field.default
    for section in (DataConfig, ModelConfig, TrainingConfig)
    for field in fields(section)
    if field.default is not MISSING
}
_HELP_ALL = "seqembed.help_all"
_LAST_SECTION = "This command"
MOST_USED = frozenset(
    {
        "id",
        "features",
        "categorical",
        "layout",
        "time",
        "label",
        "max_length",
        "units",
        "embedding_dim",
        "objective",
        "decoder",
        "steps",
    }
    | {"seed", "out", "resume", "overwrite"}
)
_POSITIVE = click.IntRange(1)
_COUNT = click.IntRange(0)


class Names(click.ParamType):
    """Comma-separated names, or a list in a TOML file."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without empty ones."""
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            self.fail(f'{value!r} is not a list of names, such as a,b or in a file ["a", "b"].', param, ctx)
        return tuple(name for item in items if (name := item.strip()))


class AutoNumber(click.ParamType):
    """A number, or ``auto``, which is None.

    Args:
        minimum: The smallest valid number.
        unit: What is counted, for messages.
    """

    name = "auto|N"

    def __init__(self, minimum: int, unit: str) -> None:
        self._minimum, self._unit = minimum, unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number."""
        if value == "auto":
            return None
        try:
            number = self._minimum - 1 if isinstance(value, bool | float) else int(value)
        except (TypeError, ValueError):
            number = self._minimum - 1
        if number < self._minimum:
            at_least = "a positive number" if self._minimum else "0 or a positive number"
            self.fail(f"{value!r} is neither 'auto' nor {at_least} of {self._unit}.", param, ctx)
        return number


class SectionedCommand(click.Command):
    """A command whose help groups its options; `--help` shows those that most people need, `--help-all` every one."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with `--help-all` beside `--help`."""
        return [*super().get_params(ctx), _HELP_ALL_OPTION]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group; options added later (`--config`, `--help`) come last."""
        left = {param.name: param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        sections = {title: [left.pop(option.name, option) for option in options] for title, options in SECTIONS.items()}
        everything = ctx.meta.get(_HELP_ALL, False)
        hidden = 0
        for title, options in sections.items():
            shown = [option for option in options if everything or option.name in MOST_USED]
            hidden += len(options) - len(shown)
            shown += left.values() if title == _LAST_SECTION else ()
            with formatter.section(title):
                formatter.write_dl([record for option in shown if (record := option.get_help_record(ctx))])
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} more options: seqembed train --help-all")


def _show_all_help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


_HELP_ALL_OPTION = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all_help,
    help="Show every option and exit.",
)


def _option(flag: str, text: str, type: Any = None, unset: str = "none", **settings: Any) -> click.Option:
    """Return the option for the field of the same name; `unset` describes in the help what no value means."""
    name = flag.split("/")[0].removeprefix("--").replace("-", "_")
    default = _DEFAULTS[name]
    # With True click shows the value itself, with a string it shows that text in parentheses.
    shown = unset if default in (None, ()) else True
    return click.Option([flag], default=default, show_default=shown, help=text, type=type, **settings)


def _choice(flag: str, choices: tuple[str, ...], text: str, unset: str = "none") -> click.Option:
    return _option(flag, text, click.Choice(choices), unset=unset)


def _frame() -> click.Option:
    text, unset = (
        "Concatenate N consecutive steps into one frame.",
        "auto: 30 to 60 frames for a sequence of median length, half its steps if short; 1 for events",
    )
    return _option("--frame", text, AutoNumber(1, "steps"), unset=unset)


def _overlap() -> click.Option:
    text = f"Also add the next N steps to each frame (0: none; at most {choices.MAX_OVERLAP})."
    unset = "auto: twice the steps of a frame, fewer with many features; 0 for events and with --objective reconstruct"
    return _option("--overlap", text, AutoNumber(0, "steps"), unset=unset)


def _trajectory() -> click.Option:
    text = "Resample each feature at N points and append them to the embedding (0: off)."
    unset = "auto: up to 32 if sequences are aligned, else 0; 0 for events and with --objective reconstruct"
    return _option("--trajectory", text, AutoNumber(0, "points"), unset=unset)


def _kernels() -> click.Option:
    text = "Append to the embedding how often each of N fixed kernels responds (0: off)."
    unset = "auto: 84 for each of up to 4 dilations; 0 for events and with --objective reconstruct"
    return _option("--kernels", text, AutoNumber(0, "kernels"), unset=unset)


def _pairs() -> click.Option:
    text = "Append to the embedding up to N numbers about how steps depend on the step before (0: off)."
    unset = "auto: up to 128 for events; else 0, and 0 with --objective reconstruct"
    return _option("--pairs", text, AutoNumber(0, "numbers"), unset=unset)


def _switch(flag: str, text: str) -> click.Option:
    return click.Option([flag], is_flag=True, default=False, show_default="off", help=text)


SECTIONS: dict[str, list[click.Option]] = {
    "Data": [
        _option("--id", "Column that names a sequence.", metavar="COLUMN"),
        _option(
            "--features", "Columns of numbers or text, in model order.", Names(), unset="all with one value per step"
        ),
        _option("--categorical", "Integer or boolean columns to treat as categories; text always is.", Names()),
        _option("--min-count", "Rarer categories count as unknown.", _POSITIVE, metavar="N"),
        _option("--max-vocabulary", "Maximum number of categories per field.", _POSITIVE, metavar="N"),
        _choice("--layout", LAYOUT_CHOICES, "Whether a row is a sequence (nested) or one step (events)."),
        _option(
            "--time",
            "Column that orders the steps of a sequence; in the nested layout it holds lists.",
            metavar="COLUMN",
        ),
        _option("--time-features/--no-time-features", "Whether timestamps in --time also become features."),
        _option("--label", "Column that colours the map of embeddings; not a feature unless named.", metavar="COLUMN"),
        _option(
            "--max-length", "Maximum steps of a sequence; longer ones are cut.", _POSITIVE, unset="all", metavar="N"
        ),
        _option(
            "--version", "Version or snapshot of the Delta or Iceberg tables.", _COUNT, unset="the newest", metavar="N"
        ),
        _choice("--truncate", TRUNCATES, "Which steps a longer sequence keeps: tail the newest, head the oldest."),
        _option(
            "--validation-fraction",
            "Share of ids held out for validation, by a hash of the id.",
            float,
            unset="0.1; 0 below 500 sequences without early stopping",
            metavar="SHARE",
        ),
    ],
    "Model": [
        _choice("--cell", choices.CELLS, "Recurrent cell."),
        _option(
            "--units",
            "Units of each recurrent layer and direction.",
            _POSITIVE,
            unset="32 beside kernels, else 64, or 48 and 48",
            metavar="N",
        ),
        _option("--layers", "Recurrent layers of the encoder.", _POSITIVE, metavar="N"),
        _choice(
            "--channels",
            choices.CHANNELS,
            "Input channels: the values, their differences from step to step, or both, with separate layers.",
            unset="both; values if differences are mostly noise or with --objective reconstruct",
        ),
        _choice(
            "--normalization",
            choices.NORMALIZATIONS,
            "Standardise by the data set's statistics, or each sequence also by its own, which join the embedding.",
            unset="sequence; dataset with --objective reconstruct",
        ),
        _frame(),
        _overlap(),
        _trajectory(),
        _kernels(),
        _pairs(),
        _option("--bidirectional/--forward-only", "Whether the encoder also reads backwards."),
        _choice("--activation", choices.ACTIVATIONS, "Activation of the recurrent layers."),
        _choice("--pooling", choices.POOLINGS, "From steps to one vector; concat is all three."),
        _option(
            "--embedding-dim",
            "Width of the embedding.",
            _POSITIVE,
            unset="128 or fewer; what the pooling makes with --normalization dataset and --objective reconstruct",
            metavar="N",
        ),
        _choice(
            "--objective",
            choices.OBJECTIVES,
            "Distinguish views of a sequence from other sequences (contrast), reconstruct it, or both (hybrid).",
            unset="hybrid; reconstruct for events, if --task predicts or --loss is binary_crossentropy",
        ),
        _choice(
            "--decoder",
            choices.DECODERS,
            "How the embedding is decoded; reshape and dense write one fixed length.",
            unset="positional; repeat with --objective reconstruct",
        ),
        _option(
            "--decoder-units",
            "Units of each layer of the decoder, and of the layer that predicts the next step.",
            _POSITIVE,
            unset="as many as --units, but at least 64; 128 for the positional decoder",
            metavar="N",
        ),
        _option("--decoder-layers", "Layers of the decoder.", _POSITIVE, unset="1", metavar="N"),
        _switch("--reverse-target", "The autoregressive decoder writes the newest step first."),
        _choice("--task", choices.TASKS, "Reconstruct, predict the step after a prefix, or both (composite)."),
        _choice("--loss", choices.LOSSES, "Loss of the decoder; binary_crossentropy needs values in 0…1."),
    ],
    "Training": [
        _option(
            "--epochs",
            "Maximum passes over the data; 0 writes an untrained model.",
            _COUNT,
            unset="--steps decides",
            metavar="N",
        ),
        _option(
            "--steps",
            "Number of training batches, instead of --epochs.",
            _POSITIVE,
            unset="ten passes, but 500 at least and 2,000 at most (events: 1,000 and 4,000); with --objective "
            "reconstruct of numbers alone 100 passes, but 2,000 at least and 10,000 at most",
            metavar="N",
        ),
        _option(
            "--batch-size",
            "Maximum sequences per batch.",
            _POSITIVE,
            unset="32, 64 from 20,000 sequences; with --objective reconstruct 8 below 200 sequences, 64 of events",
            metavar="N",
        ),
        _option(
            "--learning-rate",
            "Peak of Adam's learning rate, which falls towards the end; that of events stays.",
            float,
            unset="0.008; events 0.002; 0.005 with --objective reconstruct of numbers alone",
            metavar="RATE",
        ),
        _option(
            "--patience",
            "Batches without a better validation loss before training stops; with it, the best weights are kept.",
            _POSITIVE,
            unset="half of all batches with --objective reconstruct of numbers alone; else never",
            metavar="N",
        ),
        _option("--clip-norm", "Maximum norm of the gradient; 0 turns clipping off.", float),
        _option("--seed", "Seed of initial weights, order of batches and cuts.", _COUNT, metavar="N"),
    ],
    _LAST_SECTION: [
        click.Option(["--out"], required=True, type=click.Path(file_okay=False, path_type=Path), help="Run directory."),
        _switch(
            "--resume",
            "Continue the training in --out; after an interrupted --overwrite, continue the replacement.",
        ),
        _switch(
            "--overwrite",
            "Replace the run in --out once the new one is complete; until then it stays.",
        ),
        click.Option(
            ["--progress"],
            type=click.Choice(PROGRESS_STYLES),
            default="auto",
            show_default=True,
            help="A bar, plain lines, or none (notes about the data are still shown); auto: a bar on a terminal.",
        ),
        click.Option(["--log-format"], **LOG_FORMAT),
    ],
}
PARAMETERS: list[click.Parameter] = [
    click.Argument(["inputs"], metavar="INPUT...", nargs=-1, required=True),
    *(option for options in SECTIONS.values() for option in options),
]
