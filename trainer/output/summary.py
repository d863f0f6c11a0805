"""The summary that is printed after a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from seqembed.data.display.progress import duration
from seqembed.data.layout import RunLayout
from seqembed.data.plurals import counted
from seqembed.trainer.fit.progress import LINE_WIDTH

_CLEARLY_LOWER = 0.95  # of the final loss
_WELL = 0.1  # of the mean's loss


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """The result of a training.

    Attributes:
        layout: Paths of the run directory.
        history: The content of ``history.json``.
        loss: Name of the loss.
        warnings: What is wrong with the model or lacking in the data, and what to try, one line each.
        already_finished: Whether a resumed run was already finished.
        mixes: Whether a trained dense layer brings the embedding to its width, so that the loss depends on that.
    """

    layout: RunLayout
    history: Mapping[str, Any]
    loss: str
    warnings: tuple[str, ...] = ()
    already_finished: bool = False
    mixes: bool = False

    def __repr__(self) -> str:
        """Return the run and the loss that counts; `history` holds the rest."""
        monitored, num_steps = self.history["monitored"], self.history["num_steps"]
        best = self.history["best"][monitored]
        warned = f", warnings={list(self.warnings)}" if self.warnings else ""
        return f"TrainSummary({str(self.layout.root)!r}, num_steps={num_steps}, {monitored}={best:.4f}{warned})"

    def lines(self) -> list[str]:
        """Return the lines of the summary."""
        history, layout = self.history, self.layout
        lines = []
        if self.already_finished:
            more = f"Pass more --{history['measured_in']} to continue."
            lines.append(f"{layout.root}: this run is already finished; nothing was done. {more}")
        lines += [f"parameters   {history['num_parameters']:,}", f"learned      {self._epochs()}"]
        lines += wrap(f"{history['monitored']:<12} {self._best()}", LINE_WIDTH, subsequent_indent=" " * 13)
        lines += self._hints()
        lines += self._outputs()
        if history["epochs"]:
            lines.append(f"speed        {history['rows_per_second']:,.0f} rows/s over {duration(history['seconds'])}")
        lines += [f"{path.name:<17} {what}" for path, what in self._files()]
        lines.append(f"plots are in {layout.plots}, checkpoints in {layout.checkpoints}")
        if history["num_restarts"]:
            problem = (history["discarded_attempt"] or {}).get("health", {}).get("problem")
            why = f" ({problem})" if problem else ""
            lines.append(f"Training was repeated with other initial weights; the other attempt was discarded{why}.")
        lines += [line for warning in self.warnings for line in wrap(warning, LINE_WIDTH)]
        lines.append(f"Next: seqembed export {layout.root} --out encoder.onnx")
        return lines

    def _epochs(self) -> str:
        run, history = len(self.history["epochs"]), self.history
        if not run:
            return "nothing: the model is untrained"
        text = counted(history["num_steps"], "batch", "batches")
        if history["measured_in"] == "epochs":
            text += f" in {counted(run, 'epoch')}"
        if history["patience"] is None:
            return text
        why = (
            f", stopped early after {counted(history['patience'], 'batch', 'batches')} without improvement"
            if history["stopped_early"]
            else ""
        )
        best = history["epochs"][history["best_epoch"] - 1]["step"]
        return f"{text}, the best weights are those after {best:,}{why}"

    def _best(self) -> str:
        """Return the monitored loss and its terms, beside those of predicting the mean or by chance."""
        best, baseline = self.history["best"], self.history["baseline"]
        prefix = self.history["monitored"].removesuffix("loss")
        texts = [f"{best[f'{prefix}loss']:.4f} ({self.loss}); always predicting the mean scores {baseline['loss']:.4f}"]
        if self.loss == "mse" and baseline["loss"] > 0 and not any("." in name for name in best):
            texts[0] += f": {max(0.0, 1 - best[f'{prefix}loss'] / baseline['loss']):.1%} of the variance is explained"
        if f"{prefix}contrast_loss" in best or f"{prefix}contrast_accuracy" in best:
            texts = [f"{best[f'{prefix}loss']:.4f}"]
            right = best[f"{prefix}contrast_accuracy"]
            texts.append(f"views distinguished {right:.1%} (chance {self.history['contrast_chance']:.1%})")
        for head in ("reconstruction", "prediction"):
            if f"{prefix}{head}_loss" in best:
                scored, mean = best[f"{prefix}{head}_loss"], baseline[f"{head}_loss"]
                texts.append(f"{head} {scored:.4f} ({self.loss}; the mean scores {mean:.4f})")
        if f"{prefix}binary_accuracy" in best:
            right, mean = best[f"{prefix}binary_accuracy"], baseline["binary_accuracy"]
            texts.append(f"{prefix}binary_accuracy {right:.4f} (the mean {mean:.4f})")
        return ", ".join(texts)

    def _hints(self) -> list[str]:
        """Return what may help if the last weights are not the best, or a reconstruction is far from its target."""
        history, name = self.history, self.history["monitored"]
        records = [(record[name], record["step"]) for record in history["epochs"]]
        lines = []
        if records and history["patience"] is None:
            lowest, step = min(records)
            if lowest < _CLEARLY_LOWER * history["best_loss"]:
                after = counted(step, "batch", "batches")
                text = f"{name} was {lowest:.4f} after {after}, and the last weights are kept: with --patience "
                lines += wrap(f"{text}the best ones would be, or train with --steps {step}", LINE_WIDTH - 13)
        explained = history["health"]["loss_over_mean"]
        if (
            history["contrast_chance"] is None
            and explained is not None
            and explained > _WELL
            and not history["health"]["problem"]
        ):
            wider = "--units or --embedding-dim" if self.mixes else "--units"
            text = f"For a closer reconstruction: more {wider}, more --decoder-units, more --steps."
            lines += wrap(text, LINE_WIDTH - 13)
        return [f"{'':<13}{line}" for line in lines]

    def _outputs(self) -> list[str]:
        """Return one line for the numbers and one per field, if there are fields."""
        best, baseline = self.history["best"], self.history["baseline"]
        prefix, lines = self.history["monitored"].removesuffix("loss"), []
        for name, loss in best.items():
            output = name.removeprefix(prefix).removesuffix("_loss")
            if not name.startswith(prefix) or not name.endswith("_loss") or "." not in output:
                continue
            trivial = baseline[f"{output}_loss"]
            line = f"{output}: {loss:.3f} (trivial predictions score {trivial:.3f})"
            if (right := best.get(f"{prefix}{output}_accuracy")) is not None:
                line += f", accuracy {right:.1%} (the most frequent {baseline[f'{output}_accuracy']:.1%})"
            lines.append(f"{'':<13}{line}")
        return lines

    def _files(self) -> list[tuple[Any, str]]:
        layout = self.layout
        described = [
            (layout.encoder, "sequences → embedding"),
            (layout.decoder, "{embedding, mask} → steps"),
            (layout.autoencoder, "sequences → reconstruction or prediction, in raw units"),
            (layout.report, "the page of this training, for a browser"),
            (layout.history, "losses and metrics of every epoch"),
            (layout.config, "the effective options"),
            (layout.contract, "the encoder's inputs, and statistics of the training data"),
        ]
        return [(path, what) for path, what in described if path.exists()]
