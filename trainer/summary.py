"""What a training says when it is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.layout import RunLayout
from trainer.progress import duration, figures


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """The end of a training.

    Attributes:
        layout: Where things lie.
        history: The document in ``history.json``.
        loss: Name of the loss.
        already_finished: Whether a resumed run had nothing left to do.
    """

    layout: RunLayout
    history: Mapping[str, Any]
    loss: str
    already_finished: bool = False

    def lines(self) -> list[str]:
        """Return the summary, a line each."""
        history, layout = self.history, self.layout
        lines = []
        if self.already_finished:
            lines.append(f"{layout.root}: this run is finished; nothing was done. Give more --epochs to go on.")
        lines += [f"parameters   {history['num_parameters']:,}", f"epochs       {self._epochs()}"]
        lines.append(f"{history['watched']:<12} {self._best()}")
        if history["epochs"]:
            lines.append(f"speed        {history['rows_per_second']:,.0f} rows/s over {duration(history['seconds'])}")
        lines += [f"{path.name:<17} {what}" for path, what in self._files()]
        lines.append(f"plots are in {layout.plots}, checkpoints in {layout.checkpoints}")
        lines.append(f"next: seqembed export {layout.root} --out encoder.onnx")
        return lines

    def _epochs(self) -> str:
        run, history = len(self.history["epochs"]), self.history
        if not run:
            return "0: the model is untrained"
        why = f", stopped early after {history['patience']} without a better one" if history["stopped_early"] else ""
        return f"{run}, the best is epoch {history['best_epoch']}{why}"

    def _best(self) -> str:
        history = self.history
        accuracy = "".join(f", {text}" for text in figures(history["best"]) if text.startswith(self._accuracy_name()))
        baseline = history["baseline"]
        beside = f"{baseline['loss']:.4f}"
        if "binary_accuracy" in baseline:
            beside += f", binary_accuracy {baseline['binary_accuracy']:.4f}"
        value = history["best_loss"]
        return f"{value:.4f} ({self.loss}){accuracy}; answering with the mean scores {beside}"

    def _accuracy_name(self) -> str:
        return "binary_accuracy" if self.history["watched"] == "loss" else "val_binary_accuracy"

    def _files(self) -> list[tuple[Any, str]]:
        layout = self.layout
        described = [
            (layout.encoder, "{values, lengths} → embedding"),
            (layout.decoder, "{embedding, mask} → steps"),
            (layout.autoencoder, "{values, lengths} → what it was trained for, in raw units"),
            (layout.history, "losses and metrics of every epoch"),
            (layout.config, "the options in force"),
            (layout.contract, "what the encoder expects and was trained on"),
        ]
        return [(path, what) for path, what in described if path.exists()]
