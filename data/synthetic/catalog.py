"""The samples by name, and the function that writes them."""

import json
from dataclasses import dataclass
from pathlib import Path

from seqembed.data.errors import UsageError
from seqembed.data.schema.schema import Layout
from seqembed.data.synthetic import japanese_vowels, moving_ones, ramps, tanks, telemetry, transactions
from seqembed.data.synthetic.daily import MAX_DAYS, write_days
from seqembed.data.synthetic.generator import SampleGenerator, blocks
from seqembed.data.synthetic.writer import WrittenSample, refuse_other_files, replacing, write_blocks

_ALL = (moving_ones.GENERATOR, ramps.GENERATOR, tanks.GENERATOR, telemetry.GENERATOR, transactions.GENERATOR)
GENERATORS: dict[str, SampleGenerator] = {generator.name: generator for generator in _ALL}
SAMPLE_NAMES = (japanese_vowels.NAME, *GENERATORS)


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How a sample is written; None is the sample's default.

    Attributes:
        rows: Number of sequences; for recordings, the maximum per file. Default: the generator's, or all recordings.
        seed: Random seed, 0 or more. Default 0.
        layout: ``nested`` or ``events``. Default nested.
        files: Number of files in a directory. Default 1.
        days: Write the events of this many days, a file each; None divides the sample by sequences.
    """

    rows: int | None = None
    seed: int | None = None
    layout: Layout | None = None
    files: int | None = None
    days: int | None = None


def write_sample(name: str, out: str, options: SampleOptions | None = None) -> WrittenSample:
    """Write sample `name` to `out`: one file if that ends in ``.parquet``, else a directory.

    Raises:
        UsageError: An option does not apply to this sample, or `out` is not a local path.
        OutputError: `out` cannot be written, or holds other files.
    """
    options = options or SampleOptions()
    if "://" in out:
        raise UsageError(f"--out {out}: samples are written to local paths only. Write it here, then copy it there.")
    path = Path(out)
    if name == japanese_vowels.NAME:
        _refuse_generator_options(options)
        return japanese_vowels.write(path, options.rows)
    return _write_generated(GENERATORS[name], path, options)


def _refuse_generator_options(options: SampleOptions) -> None:
    given = {"--seed": options.seed, "--layout": options.layout, "--files": options.files, "--days": options.days}
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{option} {value}: {japanese_vowels.NAME} is recorded data, shipped as it is. "
                f"Leave {option} out, or choose one of {', '.join(GENERATORS)}."
            )


def _write_generated(generator: SampleGenerator, out: Path, options: SampleOptions) -> WrittenSample:
    rows = generator.default_rows if options.rows is None else options.rows
    seed = 0 if options.seed is None else options.seed
    layout = options.layout or "nested"
    if options.days is not None:
        return _write_days(generator, out, rows, seed, options.days, options)
    paths = _paths(out, rows, options.files)
    if paths != [out]:
        refuse_other_files(out, [path.name for path in paths])
    marker = json.dumps({"name": generator.name, "rows": rows, "seed": seed, "layout": layout, "files": len(paths)})
    with replacing(paths) as temporary:
        num_sequences, num_steps = write_blocks(blocks(generator, rows, seed), temporary, rows, layout, marker.encode())
    return WrittenSample(
        path=out,
        num_files=len(paths),
        num_sequences=num_sequences,
        num_steps=num_steps,
        num_bytes=sum(path.stat().st_size for path in paths),
    )


def _write_days(
    generator: SampleGenerator, out: Path, rows: int, seed: int, days: int, options: SampleOptions
) -> WrittenSample:
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"--days must be between 1 and {MAX_DAYS}, was {days}.")
    for option, value in (("--files", options.files), ("--layout", options.layout)):
        if value is not None and value != "events":
            raise UsageError(f"--days {days} writes one file of events per day; leave out {option} {value}.")
    marker = json.dumps({"name": generator.name, "rows": rows, "seed": seed, "days": days})
    return write_days(generator, out, rows, seed, days, marker.encode())


def _paths(out: Path, rows: int, files: int | None) -> list[Path]:
    if out.suffix == ".parquet":
        if files is not None and files > 1:
            raise UsageError(f"--files {files}: {out} is one file. Name a directory, without .parquet at its end.")
        return [out]
    count = 1 if files is None else files
    if count > rows:
        raise UsageError(f"--files {count}: there are only {rows} rows. Ask for more --rows or fewer --files.")
    return [out / f"part-{index:05d}.parquet" for index in range(count)]
