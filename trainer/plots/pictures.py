"""Compute the data of the pictures in ``plots/``: outputs of the finished network for the sample."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.batching import SequenceBatch, pad
from seqembed.data.decode.ids import id_text
from seqembed.data.layout import RunLayout
from seqembed.data.plurals import counted
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID
from seqembed.data.sequences import SequenceBlock
from seqembed.data.standardise import moments
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.categories import answers
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.network import Network, embed, embed_batch
from seqembed.trainer.output.artifacts import replacing
from seqembed.trainer.plots import figures

_NUM_SHOWN = 4
# A free-running decoder runs once per step, over all steps so far: quadratic, so long sequences are cut.
_MAX_SHOWN_STEPS = 120


def draw(
    layout: RunLayout,
    network: Network,
    config: ResolvedModel,
    schema: SequenceSchema,
    profile: SequenceProfile,
    sample: SequenceBlock,
    history: Sequence[Mapping[str, float | None]],
    label: str | None,
    baseline: float | None = None,
    measured_in: str = "epochs",
    kept_epoch: int | None = None,
) -> None:
    """Draw all pictures of a run.

    Args:
        layout: Paths of the run directory.
        network: The trained models.
        config: Their architecture.
        schema: Names of the features.
        profile: Statistics of the training sequences.
        sample: Training sequences with the label column kept.
        history: Records of losses and metrics; without records the loss picture is left out.
        label: Column that colours the map and selects the sequences whose reconstructions are shown.
        baseline: Loss of always predicting the mean, on the monitored data.
        measured_in: Unit of the training's length, ``epochs`` or ``steps``, as in ``history.json``.
        kept_epoch: Number of the record whose weights are kept, from 1; None is the one with the lowest loss.

    Raises:
        OutputError: A picture cannot be written.
    """
    if history:
        with replacing(layout.plots / "losses.png") as path:
            figures.plot_losses(history, path, baseline, measured_in, kept_epoch)
    models = {"encoder": network.encoder, **({"decoder": network.decoder} if network.decoder is not None else {})}
    models |= network.heads
    with replacing(layout.plots / "model.png") as path:
        figures.plot_model(models, path, network.landmarks)
    if network.decoder is not None:
        originals, written, titles = reconstructions(network, config, profile, sample, label)
        rows = _rows(schema)
        originals, written = ([steps[:, list(rows)] for steps in each] for each in (originals, written))
        categories = {place: _names(schema, index) for place, index in enumerate(rows) if index >= schema.num_features}
        with replacing(layout.plots / "reconstructions.png") as path:
            figures.plot_reconstructions(originals, written, list(rows.values()), path, titles, categories)
    labels = _labels(sample, label)
    names = [_text(value) for value in sample.ids]
    with replacing(layout.plots / "embeddings.png") as path:
        figures.plot_embeddings(embed(network, sample), path, labels, names, label)


def reconstructions(
    network: Network,
    config: ResolvedModel,
    profile: SequenceProfile,
    sample: SequenceBlock,
    label: str | None = None,
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[str]]:
    """Return some sequences, their reconstructions, and a title for each.

    With labels the sequences have distinct labels, else they range from short to long. Each is float32 (time, features
    + fields): numbers in raw units, then ids, NaN where missing.
    """
    labels = _labels(sample, label)
    rows = chosen_rows(sample.lengths, labels)
    batch = pad(sample, rows)
    if config.decoder == "autoregressive":
        written = generate(network, config, profile, batch, max_steps=_MAX_SHOWN_STEPS)
    else:
        written = decode(network, batch)
    how = ", free-running" if config.decoder == "autoregressive" else ""
    ids = np.where(batch.categories == MISSING_ID, np.nan, batch.categories)
    steps = np.concatenate([batch.values, ids], axis=2, dtype=np.float32)
    originals = [steps[row, :length] for row, length in enumerate(batch.lengths)]
    outputs = [written[row, :length] for row, length in enumerate(batch.lengths)]
    titles = []
    for row, original in zip(rows, originals, strict=True):
        kind = "" if labels is None else f"{_named(label, labels[row])}, "
        steps_text = counted(len(original), "step")
        titles.append(f"{_one_line(_text(sample.ids[int(row)]))}\n{kind}{steps_text}{how}")
    return originals, outputs, titles


def chosen_rows(lengths: NDArray[np.int64], labels: Sequence[str | None] | None) -> NDArray[np.int64]:
    """Return up to four sequences to show, int64: with distinct labels, most frequent first, and different lengths.

    Args:
        lengths: Steps, int64 (sequences).
        labels: One per sequence; None treats all as one kind.
    """
    every = labels if labels is not None else [None] * len(lengths)
    counts = Counter(every)
    kinds = sorted(counts, key=lambda kind: (kind is None, -counts[kind], kind or ""))[:_NUM_SHOWN]
    rows = []
    for index, kind in enumerate(kinds):
        own = np.flatnonzero([each == kind for each in every])
        wanted = _NUM_SHOWN // len(kinds) + (index < _NUM_SHOWN % len(kinds))
        rows.append(_of_different_lengths(own, lengths, wanted))
    return np.concatenate(rows)


def _of_different_lengths(rows: NDArray[np.int64], lengths: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Return up to `wanted` of the rows, int64, short to long, of different lengths if there are enough."""
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    one_each = ordered[np.unique(lengths[ordered], return_index=True)[1]]
    for pool in (ordered, one_each, ordered):
        indices = (np.arange(wanted) + 0.5) / wanted * len(pool)
        chosen = pool[np.unique(indices.astype(np.int64))]
        if len(np.unique(lengths[chosen])) == wanted:
            break
    return chosen


def decode(network: Network, batch: SequenceBatch) -> NDArray[np.float32]:
    """Decode embeddings with a decoder that needs no previous steps.

    Args:
        network: Models with such a decoder.
        batch: Sequences, raw units.

    Returns:
        float32 (batch, time, features + fields), raw units and the most likely ids.
    """
    embeddings, decoder = embed_batch(network, batch), _decoder(network)
    with fused(decoder):  # or Keras runs a loop in Python over the steps
        return _decoded(decoder({"embedding": embeddings, "mask": _mask(batch)}))


def generate(
    network: Network,
    config: ResolvedModel,
    profile: SequenceProfile,
    batch: SequenceBatch,
    *,
    max_steps: int,
) -> NDArray[np.float32]:
    """Decode embeddings with an autoregressive decoder that runs freely: each step from its own previous outputs.

    Args:
        network: Models with an autoregressive decoder.
        config: Their architecture.
        profile: Statistics of the training sequences.
        batch: Sequences, raw units.
        max_steps: Maximum steps to write; the rest stays NaN.

    Returns:
        float32 (batch, time, features + fields), raw units and ids, oldest step first.
    """
    mean, std = moments(profile)
    num_features, num_fields = len(mean), batch.categories.shape[2]
    mask, embedding = _mask(batch), embed_batch(network, batch)
    num_steps = min(mask.shape[1], max_steps)
    written = np.full((*mask.shape, num_features + num_fields), np.nan, dtype=np.float32)
    previous = np.zeros((len(mask), num_steps, num_features), dtype=np.float32)
    ids = np.zeros((len(mask), num_steps, num_fields), dtype=np.int32)
    for step in range(num_steps):
        so_far = slice(0, step + 1)
        given = {"embedding": embedding, "mask": mask[:, so_far]}
        given |= {"previous": previous[:, so_far]} if num_features else {}
        given |= {"previous_categories": ids[:, so_far]} if num_fields else {}
        written[:, step] = _decoded(_decoder(network)(given))[:, step]
        if step + 1 < num_steps:
            numbers = written[:, step, :num_features]
            numbers = np.round(numbers) if config.loss == "binary_crossentropy" else numbers
            previous[:, step + 1] = (numbers - mean) / std
            ids[:, step + 1] = written[:, step, num_features:]
    if config.reverse_target:
        for row, length in enumerate(batch.lengths):
            written[row, :length] = written[row, :length][::-1].copy()
    return written


def _decoded(output: Any) -> NDArray[np.float32]:
    """Return a decoder's output, float32 (batch, time, features + fields): numbers and the most likely ids."""
    if not isinstance(output, dict):
        return np.asarray(output)
    fields = [np.asarray(field) for name, field in output.items() if name != "reconstruction"]
    ids = [answers(field).astype(np.float32)[..., None] for field in fields]
    numbers = [np.asarray(output["reconstruction"])] if "reconstruction" in output else []
    return np.concatenate([*numbers, *ids], axis=2)


def _rows(schema: SequenceSchema) -> dict[int, str]:
    """Return index and name of the values to draw, measured values before time features."""
    kinds = [feature.kind for feature in schema.features]
    names = dict(enumerate(schema.feature_names))
    fields = {schema.num_features + index: field.name for index, field in enumerate(schema.categorical)}
    numbers, times = ({index: names[index] for index in names if kinds[index] == kind} for kind in ("numeric", "time"))
    return {**numbers, **fields, **times}


def _names(schema: SequenceSchema, index: int) -> dict[int, str]:
    """Return the name of each id of a categorical field, by its index behind the features."""
    vocabulary = schema.categorical[index - schema.num_features].vocabulary
    values = vocabulary.values if vocabulary is not None else ()
    return {UNKNOWN_ID: "unknown", **{FIRST_ID + number: str(value) for number, value in enumerate(values)}}


def _decoder(network: Network) -> Any:
    if network.decoder is None:
        raise ValueError("a network that only predicts has no decoder")
    return network.decoder


def _mask(batch: SequenceBatch) -> NDArray[np.bool_]:
    steps = np.arange(batch.values.shape[1])
    return steps < batch.lengths[:, None]


def _labels(sample: SequenceBlock, label: str | None) -> list[str | None] | None:
    """Return the label of each sequence, None for null."""
    return None if label is None else [id_text(value) for value in sample.kept[label]]


def _named(name: str | None, label: str | None) -> str:
    return f"no {name}" if label is None else _one_line(f"{name} {label}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(value: pa.Scalar) -> str:
    return id_text(value) or ("" if value.is_valid else "missing")
