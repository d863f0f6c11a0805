"""Describe a path or URI: find out its kind, and describe models here and other kinds in their modules."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyarrow import fs

from seqembed.data.errors import InputError
from seqembed.data.files.globs import is_glob
from seqembed.data.files.inputs import PARQUET_SUFFIXES, is_local
from seqembed.data.files.listing import resolve_location
from seqembed.data.files.secrets import without_secrets
from seqembed.data.files.table_formats import what_else
from seqembed.data.lake.iceberg import METADATA_END
from seqembed.data.layout import RunLayout
from seqembed.data.plurals import counted
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.scores import LEVELS
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.inspect.describe_contract import describe_contract
from seqembed.runner.inspect.describe_data import DataOptions, describe_data
from seqembed.runner.inspect.describe_output import describe_output
from seqembed.runner.inspect.describe_run import describe_run, is_unfinished
from seqembed.runner.inspect.facts import Facts, as_json, contract_facts, input_facts

Kind = Literal["bundle", "run", "output", "outputs", "grouped", "data"]
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """Description of a path or URI.

    Attributes:
        source: The path or URI, without credentials.
        kind: A model ``bundle``, a ``run`` directory of a training, an ``output`` directory, a directory of several
            ``outputs``, ``grouped`` events, or Parquet ``data``.
        lines: The description.
        facts: The same as JSON values, with `source` and `kind`: what ``seqembed inspect --json`` prints.
    """

    source: str
    kind: Kind
    lines: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return kind and description."""
        return f"Description({self.source!r}, kind={self.kind!r})\n" + "\n".join(self.lines)


def describe(given: str, **data_options: Any) -> Iterator[str]:
    """Yield a description of a path or URI: a bundle, run directory, output directory or Parquet data.

    Args:
        given: Path or URI; for Parquet data also a glob.
        data_options: Fields of `DataOptions`: how to read Parquet data as sequences.

    Raises:
        InputError: The path does not exist, or is nothing that seqembed reads or writes.
        BundleError: A model, a contract or the history of a run is damaged.
    """
    yield from _lines(given, DataOptions(**data_options), {})


def description(given: str, options: DataOptions) -> Description:
    """Return the lines of `describe` together with the kind, and the same as JSON values.

    Raises:
        InputError, BundleError: See `describe`.
    """
    facts: Facts = {"kind": None, "source": without_secrets(given), "next": None}
    lines = tuple(_lines(given, options, facts))
    return Description(facts["source"], facts["kind"], lines, as_json(facts))


def _lines(given: str, options: DataOptions, facts: Facts) -> Iterator[str]:
    filesystem, path = resolve_location(given)
    shown = without_secrets(given)
    if not path.strip("/") and not is_local(filesystem):
        raise InputError(f"{shown}: the URI has no bucket. Pass a URI such as s3://BUCKET/DIRECTORY.")
    try:
        kind = filesystem.get_file_info(path).type
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error}).") from error
    if kind == fs.FileType.NotFound:
        if is_glob(path):
            return _data(given, options, facts)
        raise InputError(f"{shown}: no such file or directory.")
    if kind == fs.FileType.Unknown:
        raise InputError(f"{shown}: {what_else(path)}. Pass a file, a directory or a glob.")
    if kind == fs.FileType.File:
        return _data(given, options, facts) if _is_parquet(filesystem, path) else _bundle(given, facts)
    if is_local(filesystem):
        layout = RunLayout(Path(path))
        if layout.contract.exists() or is_unfinished(layout):
            facts["kind"] = "run"
            return describe_run(layout, facts)
    return describe_output(given, facts, options.label) or _data(given, options, facts)


def _data(given: str, options: DataOptions, facts: Facts) -> Iterator[str]:
    facts["kind"] = "data"
    return describe_data(given, options, facts)


def _is_parquet(filesystem: fs.FileSystem, path: str) -> bool:
    """Return whether a file is named like Parquet or begins with its magic bytes."""
    if path.lower().endswith((*PARQUET_SUFFIXES, METADATA_END)):
        return True
    try:
        with filesystem.open_input_file(path) as source:
            return bool(source.read(4) == _MAGIC)
    except OSError:
        return False  # reading it as a model then explains why it cannot be read


def _bundle(given: str, facts: Facts) -> Iterator[str]:
    content = read_bundle(given)
    encoder = Encoder.from_bytes(content, source=given)
    contract = encoder.contract
    facts |= {"kind": "bundle", "bytes": len(content), "sha256": bundle_sha256(content)}
    facts |= {"inputs": input_facts(contract.schema), "outputs": [output.to_json() for output in contract.outputs]}
    facts |= contract_facts(contract)
    for name, checked in (("parity", contract.parity), ("quantisation", contract.quantisation)):
        facts[name] = None if checked is None else asdict(checked)
    yield f"{encoder.source}: a seqembed model, {len(content):,} bytes, sha256 {bundle_sha256(content)[:16]}…"
    yield ""
    yield from _inputs(contract.schema)
    for output in contract.outputs:
        yield f"Output  {output}"
    yield ""
    yield from describe_contract(contract)
    if contract.parity is not None:
        parity = contract.parity
        yield (
            f"Checked against Keras on {parity.num_sequences:,} sequences ({parity.num_real:,} real): maximum "
            f"difference {parity.max_difference:.2g}, allowed {parity.tolerance:.0e}"
        )
    if contract.quantisation is not None:
        measured = contract.quantisation
        yield (
            f"int8 against fp32 on {measured.num_sequences:,} rows: mean cosine {measured.mean_cosine:.5f} (minimum "
            f"{measured.min_cosine:.5f}, centred {measured.mean_centred_cosine:.5f}), nearest neighbour kept "
            f"{measured.neighbour_agreement:.1%}; in a batch against alone: mean cosine "
            f"{measured.mean_cosine_alone:.5f}, minimum {measured.min_cosine_alone:.5f}; beside an outlier "
            f"{measured.mean_cosine_beside_outlier:.5f}"
        )
    if contract.errors is not None:
        errors = contract.errors
        rows = counted(errors.num_sequences, f"{'held-out' if errors.held_out else 'training'} sequence")
        median, high, most = (errors.quantiles[LEVELS.searchsorted(level)] for level in (0.5, 0.99, 1.0))
        facts["reconstruction_errors"] = {"sequences": errors.num_sequences, "held_out": errors.held_out}
        facts["reconstruction_errors"] |= {"median": median, "p99": high, "largest": most}
        yield f"Reconstruction errors of {rows}: median {median:.3g}, 99 % up to {high:.3g}, largest {most:.3g}"
    difference = encoder.replay_golden() if contract.golden else None
    facts["golden"] = {"sequences": len(contract.golden), "difference_on_this_host": difference}
    if difference is not None:
        yield f"Golden sequences: {len(contract.golden)}; on this host they differ by {difference:.2g}"


def _inputs(schema: SequenceSchema) -> Iterator[str]:
    inputs = []
    if schema.features:
        inputs.append(("values", "float32 (batch, time, features), raw units, NaN where missing"))
    if schema.categorical:
        inputs.append(("categories", "int32 (batch, time, fields), ids: 0 unknown, 1 missing, values from 2"))
    inputs.append(("lengths", "int32 (batch); padding beyond a sequence's length has no effect"))
    width = max(len(name) for name, _ in inputs)
    for index, (name, kind) in enumerate(inputs):
        yield f"{'' if index else 'Input':<8}{name:<{width}} {kind}"
