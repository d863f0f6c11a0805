"""Check the paths of the new bundle and its card: only an older bundle and an older card may be replaced."""

import os
from pathlib import Path

from seqembed.data.errors import BundleError, OutputError, UsageError
from seqembed.data.files.inputs import refuse_output_name
from seqembed.data.layout import RunLayout
from seqembed.exporter.card.markdown import CARD_START
from seqembed.exporter.config import ExportConfig
from seqembed.runner.bundle.bundle_file import read_bundle
from seqembed.runner.bundle.onnx_check import check_model


def refuse_destination(config: ExportConfig) -> None:
    """Check the path of the new bundle before any work is done.

    Raises:
        UsageError: It is the source or a file of the run directory being exported, possibly through a link.
        OutputError: Another kind of file exists there, or at the path of the model card.
    """
    out = os.path.realpath(config.out)
    root = os.path.realpath(config.source)
    if config.is_run_directory:
        layout = RunLayout(Path(root))
        own = [getattr(layout, name) for name, kind in vars(RunLayout).items() if isinstance(kind, property)]
        inside = any(out == str(path) or out.startswith(f"{path}{os.sep}") for path in own)
        taken = inside or out == root or any(_is_same(out, path) for path in own)
    else:
        taken = out == root or _is_same(out, Path(root))
    if taken:
        what = "a file of the run directory that is exported" if config.is_run_directory else "the model to export"
        raise UsageError(f"--out {config.out}: that is {what}; the bundle would replace it. Choose another --out.")
    refuse_other_file(config.out)
    if config.card:
        refuse_other_card(config.card_path)


def refuse_other_card(path: Path) -> None:
    """Check that `path` does not exist, or is a model card as `seqembed export` wrote it.

    Raises:
        OutputError: Another kind of file exists there.
    """
    if not os.path.exists(path):
        return
    try:
        is_card = os.path.isfile(path) and path.read_bytes().startswith(CARD_START.encode())
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be read ({error.strerror}). Unlock it, or pass --no-card to write no model card."
        ) from error
    if not is_card:
        raise OutputError(
            f"{path}: a file that is not a model card of `seqembed export`, or was edited, exists there and would be "
            "replaced. Move it away, or pass --no-card to write no model card."
        )


def refuse_other_file(path: Path) -> None:
    """Check that `path` does not exist or is a bundle of any version.

    Raises:
        OutputError: Another kind of file exists there, or the name is not UTF-8.
    """
    refuse_output_name(path)
    if not os.path.exists(path):  # also a dangling link, which has no content to lose
        return
    try:
        check_model(read_bundle(path), str(path))
    except BundleError as error:
        raise OutputError(
            f"{path}: a file that is not a seqembed bundle exists there and would be replaced. Move it away, or "
            f"choose another --out. ({error})"
        ) from error


def _is_same(out: str, path: Path) -> bool:
    """Return whether two paths are the same file, hard links included."""
    return os.path.isfile(out) and path.is_file() and os.path.samefile(out, path)
