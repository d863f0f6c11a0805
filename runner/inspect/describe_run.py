"""Describe a run directory, complete or damaged."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from seqembed.data.contract import RETRAIN, ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.layout import CONFIG_HEADER, RunLayout
from seqembed.runner.bundle.contract_check import check_contract
from seqembed.runner.inspect.describe_contract import describe_contract
from seqembed.runner.inspect.facts import Facts, contract_facts


def is_unfinished(layout: RunLayout) -> bool:
    """Return whether a training began here but did not finish: it writes its configuration first, its contract last."""
    try:
        with layout.config.open("rb") as config:
            return config.read(len(CONFIG_HEADER)) == CONFIG_HEADER.encode() and not layout.contract.exists()
    except OSError:
        return False


def describe_run(layout: RunLayout, facts: Facts) -> Iterator[str]:
    """Yield a description of a run directory.

    Args:
        layout: Its paths.
        facts: Receives the same as JSON values.

    Raises:
        BundleError: The contract or the history is damaged.
    """
    facts["finished"] = layout.contract.exists()
    if not layout.contract.exists():
        yield f"{layout.root}: a seqembed run directory; its training has not finished"
        yield "Next: the same `seqembed train` with --resume"
        return
    contract = ModelContract.from_json(_text(layout.contract), str(layout.contract))
    check_contract(contract, str(layout.contract), RETRAIN)
    facts |= contract_facts(contract)
    yield f"{layout.root}: a seqembed run directory"
    yield ""
    yield from describe_contract(contract)
    yield from _training(layout.history, facts)
    facts["next"] = f"seqembed export {quote(str(layout.root))} --out encoder.onnx"
    yield f"Next: seqembed export {layout.root} --out encoder.onnx"


def _training(path: Path, facts: Facts) -> list[str]:
    """Return a line about the training and its losses, and a warning if training had a problem.

    Raises:
        BundleError: The history is damaged.
    """
    try:
        history: dict[str, Any] = json.loads(_text(path))
        facts["training"] = {
            "steps": history["num_steps"],
            "monitored": history["monitored"],
            "loss": history["best_loss"],
            "baseline_loss": history["baseline"]["loss"],
            "problem": history["health"]["problem"],
        }
        lines = [f"Training: {history['num_steps']:,} batches{_losses(history)}"]
        if (problem := history["health"]["problem"]) is not None:
            lines.append(f"WARNING: the training ended with a problem, {problem!r}: see `health` in {path}")
        return lines
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path}: the history of the run is damaged ({type(error).__name__}). The model may be intact: "
            "`seqembed export` checks it. Or train again."
        ) from error


def _losses(history: Mapping[str, Any]) -> str:
    """Return the loss of the weights that were kept, beside that of a model that learned nothing."""
    held_out = history["monitored"].startswith("val_")
    return (
        f"; {'validation' if held_out else 'training'} loss {history['best_loss']:.4g} "
        f"({history['baseline']['loss']:.4g} for a model that learned nothing)"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: damaged, not UTF-8 text ({error.reason}). Train again.") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}). Train again.") from error
