"""What `seqembed inspect --json` prints about a contract, as JSON values; `runner/README.md` documents every field."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from seqembed.data.contract import ModelContract
from seqembed.data.profile import QUANTILES
from seqembed.data.schema.schema import CategoricalField, SequenceSchema
from seqembed.runner.inspect.describe_categories import MEANINGS

# What an object of `--json` holds besides `kind`, `source` and `next`; each describing function fills in its own.
Facts = dict[str, Any]


def contract_facts(contract: ModelContract) -> Facts:
    """Return everything about a contract that its description shows, for all features and fields."""
    schema, policy, training = contract.schema, contract.length_policy, contract.training
    profile, statistics = training.profile, training.statistics
    return {
        "architecture": dict(contract.architecture),
        "embedding_dim": contract.embedding_dim,
        "blocks": [{"name": block.name, "width": block.width} for block in contract.blocks],
        "projected": contract.projected,
        "layout": schema.layout,
        "id": schema.id,
        "time": schema.time,
        "max_length": policy.max_length,
        "truncate": policy.truncate,
        "precision": contract.precision,
        "batch_size": contract.batch_size,
        "trained_on": {
            "sequences": profile.num_sequences,
            "empty": profile.num_empty,
            "steps": profile.num_steps,
            "files": training.num_files,
            "fingerprint": training.fingerprint,
            "length_quantiles": dict(zip(map(str, QUANTILES), profile.length_quantiles, strict=True)),
        },
        "features": list(_features(contract)),
        "categories": [_field(field) for field in schema.categorical],
        "statistics": None
        if statistics is None
        else {"stride": statistics.definition.stride, "vectors": statistics.number("vectors")},
        "versions": dict(sorted(contract.versions.items())),
    }


def input_facts(schema: SequenceSchema) -> list[dict[str, Any]]:
    """Return the inputs of a model."""
    inputs: list[dict[str, Any]] = []
    if schema.features:
        inputs.append({"name": "values", "dtype": "float32", "shape": ["batch", "time", schema.num_features]})
    if schema.categorical:
        inputs.append({"name": "categories", "dtype": "int32", "shape": ["batch", "time", schema.num_fields]})
    return [*inputs, {"name": "lengths", "dtype": "int32", "shape": ["batch"]}]


def as_json(value: Any) -> Any:
    """Return a value with null in place of numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _features(contract: ModelContract) -> Iterator[dict[str, Any]]:
    profile = contract.training.profile
    moments = zip(contract.schema.features, profile.mean, profile.std, profile.missing_rate, strict=True)
    for feature, mean, std, missing in moments:
        meaning = {"meaning": MEANINGS[str(feature.component)]} if feature.kind == "time" else {}
        numbers = {"mean": mean, "std": std, "missing_share": missing}
        yield {"name": feature.name, "kind": feature.kind, **numbers, **meaning}


def _field(field: CategoricalField) -> dict[str, Any]:
    vocabulary = field.vocabulary
    if vocabulary is None:
        return {"name": field.name, "kind": None}
    total = max(1, sum(vocabulary.counts) + vocabulary.num_unknown + vocabulary.num_missing)
    pairs = list(zip(vocabulary.values, vocabulary.counts, strict=True))[:5]
    return {
        "name": field.name,
        "kind": vocabulary.kind,
        "num_values": len(vocabulary.values),
        "most_frequent": [{"value": value, "share": count / total} for value, count in pairs],
        "unknown_share": vocabulary.unknown_share,
        "missing_share": vocabulary.missing_share,
    }
