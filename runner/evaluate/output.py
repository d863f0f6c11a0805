"""Write the results of an evaluation as JSON and as a plot; paths are checked before the work begins."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqembed.data.errors import OutputError
from seqembed.runner.evaluate.config import STDOUT, EvaluateConfig

if TYPE_CHECKING:
    from seqembed.runner.evaluate.report import Evaluation


def json_text(evaluation: "Evaluation") -> str:
    """Return the results as JSON."""
    return json.dumps(evaluation.to_json(), indent=1, allow_nan=False)


class Outputs:
    """The files to write; the constructor checks their paths, and imports matplotlib if needed."""

    def __init__(self, config: EvaluateConfig) -> None:
        """Check the paths.

        Raises:
            OutputError: A path cannot be written.
        """
        self._json = None if config.json_path in (None, STDOUT) else Path(str(config.json_path))
        self._plot = config.plot_path
        self._draw: Callable[[Evaluation, Path], None] | None = None
        if self._plot is not None:
            from seqembed.runner.evaluate.plot import draw

            self._draw = draw
        for path in (self._json, self._plot):
            if path is not None:
                _check(path)

    def write(self, evaluation: "Evaluation") -> None:
        """Write the requested files.

        Raises:
            OutputError: A path can no longer be written.
        """
        if self._json is not None:
            path, text = self._json, json_text(evaluation)
            _write(path, lambda: path.write_text(f"{text}\n", encoding="utf-8"))
        if self._plot is not None and self._draw is not None:
            path, draw = self._plot, self._draw
            _write(path, lambda: draw(evaluation, path))


def _check(path: Path) -> None:
    def check() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(13, "no permission")

    _write(path, check)


def _write(path: Path, work: Callable[[], Any]) -> None:
    try:
        work()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Choose another path, or free or unlock this one."
        ) from error
