"""Models, run directories and output directories in plain words."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

from data.contract import ModelContract
from data.errors import BundleError, InputError, OutputError, UsageError
from data.inputs import filesystem_and_path
from data.layout import RunLayout
from data.profile import QUANTILES, SequenceProfile
from data.schema import SequenceSchema
from data.secrets import without_secrets
from runner.bundle_file import read_bundle
from runner.describe_categories import describe_fields, describe_times
from runner.encoder import Encoder
from runner.options import RunOptions
from runner.output import OutputDirectory
from runner.parts import PartCounts
from runner.plan import InputStates, bundle_sha256, plan_run

_MOST_FEATURES = 30
_MOST_PARTS = 50
_SAID = {"rows_made", "seconds", "model"}


def describe(given: str) -> Iterator[str]:
    """Yield lines that tell what a path holds: a bundle, a run directory or an output directory.

    Raises:
        InputError: There is nothing, or nothing of ours.
        BundleError: A model or contract is damaged.
    """
    filesystem, path = filesystem_and_path(given)
    shown = without_secrets(given)
    try:
        kind = filesystem.get_file_info(path).type
    except OSError as error:
        raise InputError(f"{shown}: cannot be looked at ({error}).") from error
    if kind == fs.FileType.NotFound:
        raise InputError(f"{shown}: no such file or directory.")
    if kind == fs.FileType.File:
        yield from _bundle(given)
    elif isinstance(filesystem, fs.LocalFileSystem) and RunLayout(Path(path)).contract.exists():
        yield from _run_directory(RunLayout(Path(path)))
    else:
        yield from _output_directory(given)


def _bundle(given: str) -> Iterator[str]:
    content = read_bundle(given)
    encoder = Encoder.from_bytes(content, source=given)
    contract = encoder.contract
    yield f"{encoder.source}: a seqembed model, {len(content):,} bytes, sha256 {bundle_sha256(content)[:16]}…"
    yield ""
    yield from _inputs(contract.schema)
    yield f"Output  embedding float32 (batch, {contract.embedding_dim})"
    yield ""
    yield from _contract(contract)
    if contract.parity is not None:
        parity = contract.parity
        yield (
            f"Checked against Keras on {parity.num_sequences:,} sequences ({parity.num_real:,} real): largest "
            f"difference {parity.max_difference:.2g}, allowed {parity.tolerance:.0e}"
        )
    if contract.quantisation is not None:
        measured = contract.quantisation
        yield (
            f"int8 against fp32 on {measured.num_sequences:,} rows: mean cosine {measured.mean_cosine:.5f} (least "
            f"{measured.min_cosine:.5f}, centred {measured.mean_centred_cosine:.5f}), nearest neighbour kept "
            f"{measured.neighbour_agreement:.1%}; in a batch against alone: mean cosine "
            f"{measured.mean_cosine_alone:.5f}, least {measured.min_cosine_alone:.5f}; beside an outlier "
            f"{measured.mean_cosine_beside_outlier:.5f}"
        )
    if contract.golden:
        yield f"Golden sequences: {len(contract.golden)}; on this host they differ by {encoder.replay_golden():.2g}"


def _inputs(schema: SequenceSchema) -> Iterator[str]:
    inputs = []
    if schema.features:
        inputs.append(("values", "float32 (batch, time, features), raw units, NaN where missing"))
    if schema.categorical:
        inputs.append(("categories", "int32 (batch, time, fields), ids: 0 unknown, 1 missing, values from 2"))
    inputs.append(("lengths", "int32 (batch); what stands beyond a sequence's length has no influence"))
    width = max(len(name) for name, _ in inputs)
    for place, (name, kind) in enumerate(inputs):
        yield f"{'' if place else 'Input':<8}{name:<{width}} {kind}"


def _contract(contract: ModelContract) -> Iterator[str]:
    schema, policy, profile = contract.schema, contract.length_policy, contract.training.profile
    yield "Architecture: " + ", ".join(f"{name} {_plain(value)}" for name, value in contract.architecture.items())
    where = "one row a sequence" if schema.layout == "nested" else "one row an event, the rows of an id together"
    order = f", ordered by '{schema.time}'" if schema.time else ""
    if len(contract.parts) > 1:
        yield "Embedding: numbers of " + ", ".join(f"{part.name} {part.width}" for part in contract.parts)
    yield f"Layout: {schema.layout} ({where}{order}); id column '{schema.id}'"
    limit = policy.max_length
    yield (
        "Length: any"
        if limit is None
        else (
            f"Length: at most {limit:,} steps; of a longer sequence the "
            f"{'newest' if policy.truncate == 'tail' else 'oldest'} are kept"
        )
    )
    yield f"Precision: {contract.precision}; {contract.batch_size} sequences a batch, more where they are short"
    yield ""
    yield (
        f"Trained on {profile.num_sequences:,} sequences ({profile.num_steps:,} steps) of "
        f"{contract.training.num_files:,} files, fingerprint {contract.training.fingerprint[:16]}…"
    )
    lengths = dict(zip(QUANTILES, profile.length_quantiles, strict=True))
    yield f"Lengths: shortest {lengths[0.0]}, median {lengths[0.5]}, 95 % up to {lengths[0.95]}, longest {lengths[1.0]}"
    yield from _features(schema, profile)
    yield from describe_fields(schema)
    yield from describe_times(schema)
    yield ""
    yield "Made with " + ", ".join(f"{name} {version}" for name, version in sorted(contract.versions.items()))


def _features(schema: SequenceSchema, profile: SequenceProfile) -> Iterator[str]:
    if not schema.features:
        return
    yield f"{schema.num_features} features in this order:"
    width = max(len(name) for name in schema.feature_names[:_MOST_FEATURES])
    moments = zip(schema.features, profile.mean, profile.std, profile.missing_rate, strict=True)
    for place, (feature, mean, std, missing) in enumerate(moments):
        if place == _MOST_FEATURES:
            yield f"  … and {schema.num_features - _MOST_FEATURES} more"
            break
        gaps = f", missing {missing:.1%}" if missing else ""
        yield f"  {feature.name:<{width}}  {feature.kind}, mean {mean:.4g}, std {std:.4g}{gaps}"


def _run_directory(layout: RunLayout) -> Iterator[str]:
    contract = ModelContract.from_json(_text(layout.contract), str(layout.contract))
    yield f"{layout.root}: a seqembed run directory"
    yield ""
    yield from _contract(contract)
    history: dict[str, Any] = json.loads(_text(layout.history))
    epochs = history.get("epochs", [])
    baseline = history.get("baseline", {}).get("loss")
    yield (
        f"Epochs: {len(epochs)}; best validation loss {_number(history.get('best_val_loss'))}, answering with the "
        f"mean of each feature {_number(baseline)}"
    )
    yield f"Next: seqembed export {layout.root} --out encoder.onnx"


def _output_directory(given: str) -> Iterator[str]:
    output = OutputDirectory(given)
    footers, record = output.read_ledger().parts, output.read_record()
    if not footers and record is None:
        raise InputError(f"{output.given}: neither a model, nor a run directory, nor an output directory of seqembed.")
    totals = sum((footer.counts for footer in footers.values()), PartCounts())
    success = output.read_success()
    yield f"{output.given}: a seqembed output directory; finished parts: {len(footers):,}"
    yield (
        f"{totals.rows_in:,} rows in = {totals.rows_embedded:,} embedded + {totals.rows_null:,} null + "
        f"{totals.rows_quarantined:,} quarantined; {totals.rows_truncated:,} truncated"
    )
    for model in sorted({footer.key.model_sha256 for footer in footers.values()}):
        yield f"Model sha256 {model[:16]}…"
    if success is not None and _SAID <= success.keys():
        yield f"Last complete run: {success['rows_made']:,} rows made in {success['seconds']} s by {success['model']}"
    else:
        what = "A damaged _SUCCESS" if output.is_marked else "No _SUCCESS"
        yield f"{what}: the last run counts as not finished. Run it again; finished parts are skipped."
    if record is not None:
        yield ""
        yield from _rerun(output, record)


def _rerun(output: OutputDirectory, record: Mapping[str, Any]) -> Iterator[str]:
    """Tell which parts are whole, stale, missing or orphaned, and so what the same run would do now."""
    # Nothing is refused here: what another model or other options made counts as stale.
    lenient = {"on_bad_file": "skip", "overwrite": True, "prune": True}
    try:
        options = RunOptions(**{**record["options"], "keep": tuple(record["options"]["keep"]), **lenient})
        inputs, model_sha256 = record["inputs"], record["model_sha256"]
    except (KeyError, TypeError, UsageError):
        yield "What the last run was asked for (_RUN) is damaged or of another version; the next run writes it anew."
        return
    try:
        plan = plan_run(InputStates.find(inputs), output, model_sha256, options)
    except InputError as error:
        yield f"The inputs of the last run cannot be found: {error}"
        return
    except OutputError as error:
        yield f"A rerun would be refused: {error}"
        return
    states = {"skip": "whole", "make": "missing", "remake": "stale", "replace": "stale"}
    counts = Counter(states[part.action] for part in plan.parts)
    yield (
        f"Held against its inputs now: {counts['whole']:,} whole, {counts['stale']:,} stale, "
        f"{counts['missing']:,} missing, {len(plan.orphans):,} orphaned"
    )
    named = [(states[part.action], part.name) for part in plan.parts if part.action != "skip"]
    named += [("orphaned (its input is gone)", name) for name in plan.orphans]
    named += [("beyond --limit", name) for name in plan.beyond]
    named += [("unreadable input", reason) for _, reason in plan.skipped_files]
    for state, name in named[:_MOST_PARTS]:
        yield f"  {state}: {name}"
    if len(named) > _MOST_PARTS:
        yield f"  … and {len(named) - _MOST_PARTS:,} more"
    if plan.to_make:
        yield f"A rerun would make {len(plan.to_make):,} parts and skip {counts['whole']:,}."
    else:
        yield "A rerun would make nothing."


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}). Train again.") from error


def _plain(value: object) -> str:
    return " → ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
