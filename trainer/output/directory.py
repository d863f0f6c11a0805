"""Ownership of a run directory: one training at a time, and an old run stays until the new one is complete.

With ``--overwrite`` a training writes to `_STAGING` inside the directory. When the run is complete, the list of its
files is written, and then the files are moved into the directory, the contract last. A training that is killed before
leaves the old run unchanged; one that is killed while files are moved leaves the list, and the next training moves the
rest. This module does not import TensorFlow, so that problems with the directory are found before that is loaded.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import refuse_output_name
from seqembed.data.layout import CONFIG_HEADER, PLOT_NAMES, RunLayout
from seqembed.data.lock import hold_lock
from seqembed.data.signals import not_interrupted

_STAGING = ".seqembed-replacement"
_LIST = "files.json"
# Files that TensorFlow writes for a checkpoint, and those that a kill leaves of an unfinished one.
_CHECKPOINT = re.compile(r"checkpoint(\.tmp.*)?|ckpt-\d+(\.index|\.data-\d+-of-\d+)(\.tempstate.*)?|ckpt-\d+_temp")
_BEING_WRITTEN = ".writing-"  # prefix of files that `seqembed.trainer.output.artifacts` has not finished


class RunDirectory:
    """Where a training writes, and where its run ends up.

    Attributes:
        final: The directory given as ``--out``.
        layout: Where the training writes: `final`, or the staging directory inside it.
    """

    def __init__(self, out: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        """Name the directory; nothing is created or changed yet.

        Args:
            out: The run directory.
            resume: Whether to continue the training that was interrupted there.
            overwrite: Whether to replace the run there.
        """
        self.final = self.layout = RunLayout(out)
        self._staging = RunLayout(out / _STAGING)
        self._resume, self._overwrite = resume, overwrite

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Create and lock the directory; on leaving, created directories that stayed empty are removed.

        Raises:
            OutputError: Another training writes there, it holds a run or files not written by seqembed, it cannot be
                written, or its name is not UTF-8.
        """
        root = self.final.root
        refuse_output_name(root)
        _refuse_unwritable(root)
        made = [path for path in (root.absolute(), *root.absolute().parents) if not path.exists()]
        try:
            with ExitStack() as stack:
                with _translated(root):
                    root.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(hold_lock(root))
                    self._recover()
                    self._choose()
                yield
        finally:
            with not_interrupted():
                for path in made:
                    _remove_if_empty(path)

    def begin(self) -> None:
        """Remove what an interrupted replacement left, unless it is resumed; before the first file is written."""
        with _translated(self.final.root):
            if not self._resume and self._staging.root.exists():
                shutil.rmtree(self._staging.root)

    def publish(self) -> None:
        """Move a complete staged run into the directory; do nothing without one.

        Raises:
            OutputError: The old run cannot be replaced.
        """
        if self.layout is self.final:
            return
        with _translated(self.final.root):
            files = [str(path.relative_to(self._staging.root)) for path in _owned(self._staging)]
            _write_synced(self._staging.root / _LIST, json.dumps(files))
            self._move(files)

    def _recover(self) -> None:
        """Finish a replacement that was killed while files were moved, and remove unfinished files."""
        files = self._listed()
        if files is not None:
            self._move(files)
        for directory in (self.final.root, self.final.plots):
            for name in (*_root_names(self.final), *PLOT_NAMES):
                (directory / f"{_BEING_WRITTEN}{name}").unlink(missing_ok=True)

    def _listed(self) -> list[str] | None:
        """Return the files of a complete staged run; None if there is none, or its list is damaged."""
        try:
            value = json.loads((self._staging.root / _LIST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
        return value if isinstance(value, list) and all(isinstance(name, str) for name in value) else None

    def _move(self, files: list[str]) -> None:
        """Move the listed files that are still staged; may be killed and repeated at any point."""
        root, contract = self.final.root, self.final.contract.name
        self.final.contract.unlink(missing_ok=True)  # until it is written again there is no finished run
        _sync(root)
        for path in _owned(self.final):
            if str(path.relative_to(root)) not in files:
                _remove(path)
        for name in sorted(files, key=lambda name: name == contract):
            staged = self._staging.root / name
            if staged.exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                staged.replace(root / name)
        for directory in (self.final.checkpoints, self.final.plots):
            if directory.exists():
                _remove_if_empty(directory)
        _sync(root)
        shutil.rmtree(self._staging.root)

    def _choose(self) -> None:
        """Decide where this training writes.

        Raises:
            OutputError: The directory holds a run, or files of the same names not written by seqembed.
        """
        root, occupied = self.final.root, [path.relative_to(self.final.root) for path in _owned(self.final)]
        if self._resume and self._staging.root.is_dir():
            self.layout = self._staging
        elif occupied and not (self._resume or self._overwrite):
            others = "" if _is_ours(self.final) else f", or files with the names of one ({occupied[0]})"
            left = " --resume continues the interrupted --overwrite there." if self._staging.root.is_dir() else ""
            raise OutputError(
                f"{root}: already holds a run{others}. Pass --resume to continue it, --overwrite to replace it, or "
                f"another --out.{left}"
            )
        elif occupied and not _is_ours(self.final):
            names = ", ".join(map(str, occupied[:3])) + (", …" if len(occupied) > 3 else "")
            raise OutputError(
                f"{root}: holds {names}, but no run of seqembed: neither a contract.json nor a config.toml written by "
                "seqembed. Nothing was changed. Pass another --out, or move these files away."
            )
        elif occupied and self._overwrite:
            self.layout = self._staging


def _root_names(layout: RunLayout) -> list[str]:
    files = [layout.contract, layout.encoder, layout.decoder, layout.autoencoder, layout.config, layout.history]
    return [path.name for path in (*files, layout.sample, layout.held_out, layout.report)]


def _owned(layout: RunLayout) -> list[Path]:
    """Return the existing files with names that a training writes, the contract first; others belong to the user."""
    found = [layout.root / name for name in _root_names(layout)]
    found += [layout.plots / name for name in PLOT_NAMES]
    if layout.checkpoints.is_dir():
        found += sorted(path for path in layout.checkpoints.iterdir() if _CHECKPOINT.fullmatch(path.name))
    return [path for path in found if path.exists() or path.is_symlink()]


def _is_ours(layout: RunLayout) -> bool:
    """Return whether seqembed wrote the directory: it has a contract, or the configuration that is written first."""
    header = CONFIG_HEADER.encode()
    if layout.config.is_file():
        with layout.config.open("rb") as config:  # as bytes: an edited file need not be UTF-8
            if config.read(len(header)) == header:
                return True
    try:
        contract = json.loads(layout.contract.read_text(encoding="utf-8")) if layout.contract.is_file() else None
    except (ValueError, RecursionError):
        return False
    return isinstance(contract, dict) and {"format_version", "length_policy", "training"} <= contract.keys()


def _refuse_unwritable(directory: Path) -> None:
    """Fail before any work if `directory` cannot be written or created."""
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "not writable" if nearest.is_dir() else "a file"
        raise OutputError(
            f"{directory}: cannot be created, since {nearest} is {what}. Fix the permissions, or pass another --out."
        )


@contextmanager
def _translated(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{root}: cannot be written ({error}). Free space, or fix the permissions.") from error


def _write_synced(path: Path, text: str) -> None:
    temporary = path.with_name(f"{_BEING_WRITTEN}{path.name}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
