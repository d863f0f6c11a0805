"""The command `seqembed sample`: write sample data."""

import click

from seqembed.data.plurals import counted
from seqembed.data.schema.schema import LAYOUTS, Layout
from seqembed.data.synthetic.catalog import SAMPLE_NAMES, SampleOptions, write_sample


@click.command(short_help="Write sample data as Parquet.")
@click.argument("name", type=click.Choice(SAMPLE_NAMES), metavar="NAME")
@click.option("--out", required=True, metavar="PATH", help="A file if it ends in .parquet, else a directory.")
@click.option("--rows", type=click.IntRange(min=1), help="Sequences; for japanese-vowels, the first of each file.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same bytes. Default 0.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="One row per sequence, or one row per step. Default nested.")
@click.option("--files", type=click.IntRange(min=1), help="Number of files to write to a directory. Default 1.")
@click.option("--days", type=click.IntRange(min=1), help="Write events, one file per day, for the first N days.")
def sample(
    name: str,
    out: str,
    rows: int | None,
    seed: int | None,
    layout: Layout | None,
    files: int | None,
    days: int | None,
) -> None:
    """Write sample data NAME as Parquet.

    \b
    japanese-vowels  640 recorded utterances of nine speakers, 12 features, 7 to 29 steps.
                     A directory gets train.parquet (270) and test.parquet (370);
                     a single file gets all of them and a column `split`.
    moving-ones      1,000 rows of 0 to 10 steps, 8 features: a one that moves by one feature per step.
    tanks            1,000 windows of 50 to 90 levels of four tanks, one of whose pipes is open
                     (column `open_pipe`): one level follows another one, three steps later.
    ramps            400 short rising lines of four kinds with a little noise, 1 feature.
    telemetry        10,000 windows of 5 to 100 steps from six devices, 8 features;
                     ask for millions: memory stays the same.
    transactions     6,000 customers with 20 to 200 payments each: time, category, type, amount.
                     Six kinds of customers in the column `label`; `order` and `timing` differ
                     from `plain` in the order of payments and of gaps between them alone.

    All but japanese-vowels are generated, and take --seed, --layout, --files and --days. In the events layout a
    sequence without steps has no rows. With --days, events after the last day are left out. Files that this
    command did not write are never replaced.

    \b
    Examples:
      seqembed sample japanese-vowels --out vowels
      seqembed sample tanks --out tanks --files 2
      seqembed sample moving-ones --out ones.parquet --rows 5000 --seed 7
      seqembed sample telemetry --out sensors --rows 1000000 --files 8
      seqembed sample telemetry --out events.parquet --layout events
      seqembed sample transactions --out payments --layout events --files 2
      seqembed sample transactions --out daily --rows 100000 --days 365
    """  # noqa: D301 - the backspace character tells click not to rewrap these lines
    options = SampleOptions(rows=rows, seed=seed, layout=layout, files=files, days=days)
    written = write_sample(name, out, options)
    click.echo(
        f"Wrote {written.path}: {counted(written.num_sequences, 'sequence')}, {counted(written.num_steps, 'step')}, "
        f"{written.num_bytes:,} bytes in {counted(written.num_files, 'file')}."
    )
