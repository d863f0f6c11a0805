"""The command `seqembed evaluate`; scikit-learn is imported only when it runs."""

import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from seqembed.data.display.progress import PROGRESS_STYLES
from seqembed.runner.evaluate.config import STDOUT, EvaluateConfig
from seqembed.runner.options import usable_cores

if TYPE_CHECKING:
    from seqembed.runner.evaluate.report import Evaluation

_DEFAULTS = {field.name: field.default for field in fields(EvaluateConfig)}


@click.command(
    epilog="""\b
Examples:
  seqembed evaluate --model encoder.onnx --train train.parquet --test test.parquet --label speaker
  seqembed evaluate --model encoder.onnx --train 'day=0*/' --train old/ --test 'day=1*/' --label churned
  seqembed evaluate --model encoder.onnx --train a.parquet --test b.parquet --label kind --plot scores.png
  seqembed evaluate --model encoder.onnx --train a.parquet --test b.parquet --label kind --json | jq .verdict
"""
)
@click.option("--model", required=True, metavar="FILE", help="Bundle made by `seqembed export`.")
@click.option("--train", required=True, multiple=True, metavar="INPUT", help="Labelled Parquet to train on.")
@click.option("--test", required=True, multiple=True, metavar="INPUT", help="Labelled Parquet to test on.")
@click.option("--label", required=True, metavar="COLUMN", help="Column with the class: text, integers, booleans.")
@click.option(
    "--untrained-seeds",
    type=int,
    default=_DEFAULTS["untrained_seeds"],
    show_default=True,
    metavar="N",
    help="Number of untrained encoders to compare with.",
)
@click.option(
    "--max-rows",
    type=int,
    default=_DEFAULTS["max_rows"],
    show_default=True,
    metavar="N",
    help="Maximum rows of each split; a larger split is sampled, stratified by class, and the output says so.",
)
@click.option(
    "--version",
    type=int,
    metavar="N",
    help="Version of the Delta tables, or snapshot of the Iceberg tables, among the inputs.  [default: the newest]",
)
@click.option("--seed", type=int, default=_DEFAULTS["seed"], show_default=True, help="Seed of all random numbers.")
@click.option(
    "--threads",
    type=int,
    default=None,
    metavar="N",
    help=f"Threads to use.  [default: all cores, here {usable_cores()}]",
)
@click.option(
    "--json",
    "json_path",
    is_flag=False,
    flag_value=STDOUT,
    default=None,
    metavar="[PATH]",
    help="Write the results as JSON to PATH; without PATH, to standard output, and nothing else there.",
)
@click.option(
    "--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path), metavar="PNG", help="File for a plot."
)
@click.option("--progress", type=click.Choice(PROGRESS_STYLES), default=_DEFAULTS["progress"], show_default=True)
def evaluate(threads: int | None, **options: Any) -> None:
    """Evaluate embeddings on your own labels, and compare them with an untrained encoder.

    Both splits are embedded as by `seqembed run`. Embeddings are scored by TS2Vec's protocol (an RBF SVM on frozen
    vectors), logistic regression, nearest neighbour, and k-means. They are compared with the same encoder untrained,
    the raw values if all sequences have the same length, mean and spread of each feature, the features of MiniRocket,
    and, for a model with categories, their frequencies. Up to 20 classes are also listed individually.

    --train and --test take a file, a directory or a glob, and may be repeated. Rows without a label or without steps
    are excluded and counted.
    """
    config = EvaluateConfig(threads=usable_cores() if threads is None else threads, **options)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    from seqembed.data.signals import stopped_by_signals
    from seqembed.runner.evaluate.job import evaluate as run_evaluation
    from seqembed.runner.evaluate.output import Outputs

    with stopped_by_signals():
        outputs = Outputs(config)
        evaluation = run_evaluation(config, Console(stderr=True))
        outputs.write(evaluation)
    _show(evaluation, config)


def _show(evaluation: "Evaluation", config: EvaluateConfig) -> None:
    from seqembed.runner.evaluate.output import json_text
    from seqembed.runner.evaluate.table import class_table, lines_after, lines_before, table

    if config.json_path == STDOUT:
        click.echo(json_text(evaluation))
        return
    for line in lines_before(evaluation):
        click.echo(line)
    console = Console()
    console.print(table(evaluation))
    if (classes := class_table(evaluation)) is not None:
        console.print(classes)
    for line in lines_after(evaluation):
        click.echo(line)
    for path in (config.json_path, config.plot_path):
        if path is not None:
            click.echo(f"wrote {path}")
