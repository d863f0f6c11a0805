"""`seqembed inspect`: what a path holds, in plain words."""

import click

from runner.describe import describe


@click.command(
    epilog="""\b
Examples:
  seqembed inspect encoder.onnx
  seqembed inspect run/
  seqembed inspect vectors/
"""
)
@click.argument("path")
def inspect(path: str) -> None:
    """Tell in plain words what PATH holds: a model, a run directory or an output directory."""
    for line in describe(path):
        click.echo(line)
