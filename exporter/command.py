"""The command `seqembed export`; TensorFlow is imported only when it runs."""

import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from seqembed.data.arrow_start import settle_without_pandas
from seqembed.data.contract import MAX_TOLERANCE, PRECISIONS
from seqembed.data.display.events import reported
from seqembed.data.display.quiet import hide_unused_libraries
from seqembed.data.garbage import collect_garbage_rarely
from seqembed.data.json_log import LOG_FORMAT, ending_in
from seqembed.data.schema.schema import LAYOUTS, SequenceSchema
from seqembed.data.signals import stopped_by_signals
from seqembed.exporter.columns import column_lines
from seqembed.exporter.config import ExportConfig
from seqembed.exporter.report import ExportReport
from seqembed.runner.cli.names import Names

logger = logging.getLogger("seqembed")
_DEFAULTS = {field.name: field.default for field in fields(ExportConfig)}


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="ONNX file to write.")
@click.option(
    "--tolerance",
    default=_DEFAULTS["tolerance"],
    show_default=True,
    help=f"Maximum of |ONNX Runtime - Keras| / max(1, |Keras|); {MAX_TOLERANCE:g} or less.",
)
@click.option("--opset", default=_DEFAULTS["opset"], show_default=True, help="ONNX operator set, 13 to 18.")
@click.option(
    "--precision",
    default=_DEFAULTS["precision"],
    show_default=True,
    type=click.Choice(PRECISIONS),
    help="int8: quantised LSTM weights, up to twice as fast; written only if vectors stay close to fp32.",
)
@click.option(
    "--data", multiple=True, metavar="INPUT", help="Parquet data for a .keras file trained elsewhere; may be repeated."
)
@click.option(
    "--id",
    default=_DEFAULTS["id"],
    metavar="COLUMN",
    show_default=True,
    help="With --data: column with the id of a sequence.",
)
@click.option(
    "--features",
    default=_DEFAULTS["features"],
    show_default="every numeric sequence column",
    type=Names(),
    help="With --data: feature columns in model order.",
)
@click.option(
    "--layout",
    default=_DEFAULTS["layout"],
    show_default=True,
    type=click.Choice(["auto", *LAYOUTS]),
    help="With --data: nested (a row is a sequence) or events (a row is one step).",
)
@click.option(
    "--time", default=_DEFAULTS["time"], metavar="COLUMN", help="With --data, events layout: column to order steps by."
)
@click.option(
    "--version",
    type=int,
    metavar="N",
    help="With --data: version of Delta tables, or snapshot of Iceberg tables.  [default: the newest]",
)
@click.option(
    "--card/--no-card",
    default=_DEFAULTS["card"],
    show_default=True,
    help="Write a model card for people beside the file: encoder.md for encoder.onnx.",
)
@click.option(
    "--with-decoder",
    is_flag=True,
    help="Add the output reconstruction_error, an anomaly score for `seqembed run --score`, from the decoder of a run.",
)
@click.option("--log-format", **LOG_FORMAT)
def export(**options: Any) -> None:
    """Export a trained encoder to one ONNX file, checked against Keras.

    SOURCE is a directory written by `seqembed train`, or a .keras file trained elsewhere (one (batch, time, features)
    input, one (batch, embedding) output), which needs --data. The file is written only if ONNX Runtime and Keras
    agree on real and random sequences, independent of batch and padding.

    With --precision int8 the file is written only if, on real rows, its vectors also have a mean cosine of at least
    0.999 with the fp32 vectors and keep 95 % of the nearest neighbours. An int8 vector depends slightly on the other
    rows of its batch; running the same input again still gives the same bytes. LSTM only.

    With --with-decoder the file also returns the mean squared error of the reconstruction of each sequence, in standard
    deviations. The embedding keeps its bytes, and a run without --score does not compute the decoder.

    \b
    Examples:
      seqembed export run/ --out encoder.onnx
      seqembed export run/ --out encoder.onnx --precision int8
      seqembed export run/ --out encoder.onnx --with-decoder
      seqembed export theirs.keras --data history.parquet --features f0,f1,f2 --out encoder.onnx
    """  # noqa: D301 - click needs the backspace character itself
    config = ExportConfig(**options)
    hide_unused_libraries()
    collect_garbage_rarely()
    settle_without_pandas()
    with ending_in(config.log_format), stopped_by_signals(), reported(config.log_format, sys.stderr):
        for line in column_lines(config):
            if config.log_format == "json":
                logger.info("%s", line)
            else:
                click.echo(line, err=True)
        from seqembed.exporter.job import export_encoder

        report = export_encoder(config)
    click.echo(summary(report))


def summary(report: ExportReport) -> str:
    """Return a summary of an export in a few lines."""
    contract, parity, structure = report.contract, report.parity, report.structure
    names = ("LSTM", "GRU", "DynamicQuantizeLSTM")
    recurrent = ", ".join(f"{structure.op_counts[name]} {name}" for name in names if name in structure.op_counts)
    return "\n".join(
        [
            f"{report.path}  {_size(report.num_bytes)}, in {report.seconds:.1f} s",
            f"  inputs   {_inputs(contract.schema)}",
            *(f"  output   {output}" for output in contract.outputs),
            f"  graph    {structure.num_nodes} nodes, of them {recurrent or 'none recurrent'}; opset {structure.opset}",
            f"  parity   maximum difference from Keras {parity.max_difference:.1e} (allowed {parity.tolerance:.0e}) on "
            f"{parity.num_sequences} sequences, {parity.num_real} of them real",
            *_int8(report),
            f"  golden   {len(contract.golden)} sequences that every host must reproduce before it writes",
            *([] if report.card is None else [f"  card     {report.card}"]),
            f"Next: seqembed run INPUT --model {report.path} --out DIR",
        ]
    )


def _int8(report: ExportReport) -> list[str]:
    measured = report.contract.quantisation
    if measured is None:
        return []
    return [
        f"  int8     mean cosine {measured.mean_cosine:.5f} to fp32, minimum {measured.min_cosine:.5f}; nearest "
        f"neighbour kept for {measured.neighbour_agreement:.1%} of {measured.num_sequences} rows",
        f"           in a batch against alone: mean cosine {measured.mean_cosine_alone:.5f}, minimum "
        f"{measured.min_cosine_alone:.5f}; beside an outlier {measured.mean_cosine_beside_outlier:.5f}",
        f"           {_size(report.num_bytes)}, {_size(report.num_bytes_fp32)} in fp32",
    ]


def _inputs(schema: SequenceSchema) -> str:
    widths = {"values": schema.num_features, "categories": schema.num_fields}
    wide = [f"{name} (batch, time, {width})" for name, width in widths.items() if width]
    return f"{', '.join(wide)} and lengths (batch)"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.0f} KiB"
