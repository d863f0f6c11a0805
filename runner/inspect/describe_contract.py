"""Describe the contract of a model: its data and its training."""

from collections.abc import Iterator
from itertools import islice

from seqembed.data.contract import ModelContract
from seqembed.data.display.tables import aligned, folded
from seqembed.data.plurals import counted
from seqembed.data.profile import QUANTILES, SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.week_hours import coverage_gap
from seqembed.runner.inspect.describe_categories import describe_fields, describe_times

_MAX_FEATURES = 30


def describe_contract(contract: ModelContract) -> Iterator[str]:
    """Yield a description of a contract."""
    schema, policy, profile = contract.schema, contract.length_policy, contract.training.profile
    parts = ", ".join(f"{name} {_plain(value)}" for name, value in contract.architecture.items())
    yield from folded(f"Architecture: {parts}")
    where = "one row per sequence" if schema.layout == "nested" else "one row per event, rows of an id contiguous"
    order = f", ordered by '{schema.time}'" if schema.time else ""
    if len(contract.blocks) > 1:
        blocks = ", ".join(f"{block.name} {block.width}" for block in contract.blocks)
        yield from folded(f"Embedding: {'projected from' if contract.projected else 'numbers of'} {blocks}")
    yield f"Layout: {schema.layout} ({where}{order}); id column '{schema.id}'"
    limit = policy.max_length
    yield (
        "Length: any"
        if limit is None
        else (
            f"Length: at most {counted(limit, 'step')}; longer sequences keep the "
            f"{'newest' if policy.truncate == 'tail' else 'oldest'}"
        )
    )
    yield f"Precision: {contract.precision}; {contract.batch_size} sequences per batch, more if they are short"
    yield ""
    yield (
        f"Trained on {counted(profile.num_sequences, 'sequence')} ({counted(profile.num_steps, 'step')}) of "
        f"{counted(contract.training.num_files, 'file')}, fingerprint {contract.training.fingerprint[:16]}…"
    )
    lengths = dict(zip(QUANTILES, profile.length_quantiles, strict=True))
    yield f"Lengths: shortest {lengths[0.0]}, median {lengths[0.5]}, 95 % up to {lengths[0.95]}, longest {lengths[1.0]}"
    yield from _features(schema, profile)
    yield from describe_fields(schema)
    yield from _statistics(contract)
    yield from describe_times(schema)
    if (gap := coverage_gap(schema, profile)) is not None:
        yield from folded(gap)
    yield ""
    yield from folded("Made with " + ", ".join(f"{name} {one}" for name, one in sorted(contract.versions.items())))


def _statistics(contract: ModelContract) -> Iterator[str]:
    statistics = contract.training.statistics
    if statistics is None:
        return
    stride, vectors = statistics.definition.stride, statistics.number("vectors")
    which = "every step" if stride == 1 else f"one step in {stride:,}"
    of_vectors = f"; embeddings compared with those of {vectors:,} training sequences" if vectors else ""
    yield from folded(f"Statistics of a run: rows, lengths, and the values of {which}{of_vectors}")


def _features(schema: SequenceSchema, profile: SequenceProfile) -> Iterator[str]:
    if not schema.features:
        return
    yield f"{counted(schema.num_features, 'feature')} in this order:"
    moments = zip(schema.features, profile.mean, profile.std, profile.missing_rate, strict=True)
    rows = [
        (feature.name, feature.kind, f"{mean:.4g}", f"{std:.4g}", f"{missing:.1%}" if missing else "")
        for feature, mean, std, missing in islice(moments, _MAX_FEATURES)
    ]
    yield from aligned(("feature", "kind", "mean", "std", "missing"), rows)
    if schema.num_features > _MAX_FEATURES:
        yield f"  … and {schema.num_features - _MAX_FEATURES} more"


def _plain(value: object) -> str:
    return " → ".join(map(str, value)) if isinstance(value, list) else str(value)
