"""The gate of `--fail-on-drift`: rows that moved too far from the training data end the run before its marker."""

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError, DriftError
from seqembed.data.files.secrets import without_secrets
from seqembed.runner.options import RunOptions
from seqembed.runner.report import RunReport


def refuse_without_thresholds(contract: ModelContract, source: str) -> None:
    """Check that a bundle can compare rows with its training data.

    Args:
        contract: Of the bundle.
        source: Its file, for messages.

    Raises:
        BundleError: It cannot.
    """
    if contract.training.statistics is None or contract.training.noise is None:
        raise BundleError(
            f"{source}: --fail-on-drift needs a bundle with thresholds of drift, and this one was exported by an older "
            "version or without training rows. Export the model again, or run without the option."
        )


def is_refused(report: RunReport, options: RunOptions) -> bool:
    """Return whether the run has to end with the exit code of the gate."""
    return options.fail_on_drift and report.drift is not None and report.drift.alarmed


def refuse_drift(report: RunReport, out: str, options: RunOptions, *, marked: bool = False) -> None:
    """Check that the rows did not move too far from the training data, where the options ask for it.

    Args:
        report: Of the run.
        out: The output directory.
        options: Of the run.
        marked: Whether an earlier run without the option has written the success marker.

    Raises:
        DriftError: They did; the parts are complete.
    """
    if report.drift is None or not is_refused(report, options):
        return
    marker = "_SUCCESS is that of an earlier run" if marked else "_SUCCESS was not written"
    raise DriftError(
        f"{without_secrets(out)}: {report.drift.line()}. The parts are complete; {marker}. Look at the input, or train "
        "again on newer data; to accept these rows, run again without --fail-on-drift, which makes no part again.",
        report.drift,
    )
