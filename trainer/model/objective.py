"""The training objective: the loss terms of all outputs and their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.classes import unit_of_surprise
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.standardise import MAX_DEVIATIONS, moments
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import tf
from seqembed.trainer.model.categories import log_frequencies, output_name
from seqembed.trainer.model.losses import Batch, category_sums, contrast_sums, masked_sums


@dataclass(frozen=True, slots=True)
class LossTerm:
    """The loss of one output.

    Attributes:
        head: Head of the network.
        field_index: Index of the categorical field in model order; None for numbers and views.
        name: Name of the output (`output_name`).
        weight: Weight within the loss of its head.
    """

    head: str
    field_index: int | None
    name: str
    weight: float


class Objective:
    """The loss sums of all outputs, from a batch and the network's scores.

    Every number, every field and every time column (all its features together) has the same weight. The cross-entropy
    of a field is divided by the entropy of its training frequencies: always predicting the frequencies then costs 1, as
    always predicting the mean costs 1 in squared standardised errors. So no field dominates another.

    Attributes:
        loss: Name of the loss of numbers.
        heads: Heads of the network.
        terms: Loss terms, in the order of the sums.
        weights: float32 (terms), weight of each mean in the total loss.
    """

    def __init__(
        self,
        config: ResolvedModel,
        profile: SequenceProfile,
        fields: Sequence[CategoricalField] = (),
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Define the loss terms.

        Args:
            config: Heads and loss.
            profile: Statistics of the training sequences.
            fields: Categorical fields in model order.
            weights: float32 (features), from `feature_weights`; None is 1 for every feature.
        """
        self.loss = config.loss
        self.heads = config.heads
        self._mean, self._std = moments(profile)
        self._feature_weights = None if weights is None or (weights == 1).all() else weights
        self._entropies = [unit_of_surprise(field) for field in fields]
        self._logits = [log_frequencies(field) for field in fields]
        counted = len(self._mean) if self._feature_weights is None else float(self._feature_weights.sum())
        self.terms = tuple(term for head in self.heads for term in _terms(head, fields, counted))
        self.weights = np.array([term.weight for term in self.terms], dtype=np.float32)

    def sums(self, batch: Batch, scores: Mapping[str, Any]) -> Any:
        """Return float32 (terms, 3): `masked_sums` for numbers, `category_sums` in units of the entropy for fields."""
        return tf.stack([self._term_sums(term, batch, scores[term.name]) for term in self.terms])

    def _term_sums(self, term: LossTerm, batch: Batch, scores: Any) -> Any:
        if term.head == "contrast":
            return contrast_sums(scores)
        mask: Any = True
        if term.head == "reconstruction":
            steps = tf.range(tf.shape(batch.targets)[1])
            mask = steps < batch.lengths[:, None]  # (batch, time)
        if term.field_index is not None:
            ids = batch.category_targets if term.head == "reconstruction" else batch.next_categories
            sums = category_sums(ids[..., term.field_index], scores, mask)
            return sums / tf.constant([self._entropies[term.field_index], 1.0, 1.0])
        if term.head == "reconstruction":
            return self._numeric_sums(batch.targets, scores, mask[:, :, None])
        return self._numeric_sums(batch.next_step, scores, mask)

    def _numeric_sums(self, targets: Any, scores: Any, mask: Any) -> Any:
        return masked_sums(self.loss, self._in_loss_units(targets), scores, mask, self._feature_weights)

    def _in_loss_units(self, targets: Any) -> Any:
        if self.loss == "binary_crossentropy":
            return targets
        scaled = (targets - self._mean) / self._std
        clipped = tf.clip_by_value(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        return tf.where(tf.math.is_nan(targets), targets, clipped)

    def baseline_scores(self, profile: SequenceProfile) -> NDArray[np.float32]:
        """Return the scores of always predicting each feature's mean, float32 (features)."""
        if self.loss != "binary_crossentropy":
            return np.zeros_like(self._mean)
        share = np.clip(np.asarray(profile.mean), 1e-6, 1 - 1e-6)
        logits: NDArray[np.float32] = np.log(share / (1 - share)).astype(np.float32)
        return logits

    def baseline(self, batch: Batch, profile: SequenceProfile, num_branches: int) -> dict[str, Any]:
        """Return the scores of always predicting means and frequencies; for views, that all are equal."""
        scores: dict[str, Any] = {}
        for term in self.terms:
            target = batch.targets if term.head == "reconstruction" else batch.next_step
            if term.head == "contrast":
                scores[term.name] = tf.zeros((tf.shape(batch.lengths)[0], num_branches, 1))
            elif term.field_index is None:
                scores[term.name] = tf.broadcast_to(self.baseline_scores(profile), tf.shape(target))
            else:
                logits = self._logits[term.field_index]
                shape = tf.concat([tf.shape(target)[:-1], [len(logits)]], axis=0)
                scores[term.name] = tf.broadcast_to(logits, shape)
        return scores

    def report(self, totals: NDArray[np.float64], prefix: str = "") -> dict[str, float]:
        """Convert total sums, float64 (terms, 3), to the loss, the loss of each of several heads, and accuracies.

        With fields, the numbers and each field also have a loss, and each field an accuracy, by output name.
        """
        means = totals[:, 0] / np.maximum(totals[:, 1], 1)
        shares = totals[:, 2] / np.maximum(totals[:, 1], 1)
        weighted = means * np.array([term.weight for term in self.terms])
        figures = {f"{prefix}loss": float(weighted.sum())}
        if len(self.heads) > 1:
            for head in self.heads:
                indices = [index for index, term in enumerate(self.terms) if term.head == head]
                figures[f"{prefix}{head}_loss"] = float(weighted[indices].sum())
        if "contrast" in self.heads:
            figures[f"{prefix}contrast_accuracy"] = float(shares[self.heads.index("contrast")])
        numeric = [
            index for index, term in enumerate(self.terms) if term.head != "contrast" and term.field_index is None
        ]
        if self.loss == "binary_crossentropy" and numeric:
            counted = totals[numeric].sum(axis=0)
            figures[f"{prefix}binary_accuracy"] = float(counted[2] / max(counted[1], 1))
        if self._logits:
            figures |= self._by_output(means, shares, prefix)
        return figures

    def _by_output(self, means: NDArray[np.float64], shares: NDArray[np.float64], prefix: str) -> dict[str, float]:
        figures = {}
        for term, mean, share in zip(self.terms, means, shares, strict=True):
            if term.head == "contrast":
                continue
            name = term.name if term.field_index is not None else f"{term.head}.numbers"
            figures[f"{prefix}{name}_loss"] = float(mean)
            if term.field_index is not None:
                figures[f"{prefix}{name}_accuracy"] = float(share)
        return figures


def _terms(head: str, fields: Sequence[CategoricalField], num_numbers: float) -> list[LossTerm]:
    """Return the loss terms of a head; `num_numbers` is the sum of the feature weights."""
    if head == "contrast":
        return [LossTerm(head, None, head, 1.0)]
    counted = num_numbers + len(fields)
    numbers = [LossTerm(head, None, output_name(head), num_numbers / counted)] if num_numbers else []
    return numbers + [
        LossTerm(head, index, output_name(head, field), 1.0 / counted) for index, field in enumerate(fields)
    ]
