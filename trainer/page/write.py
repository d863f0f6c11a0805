"""Write the page of a training; a page that cannot be made does not cost the training."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from seqembed.data.layout import RunLayout
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.model.network import Network
from seqembed.trainer.output.artifacts import versions, write_text
from seqembed.trainer.prepare import Prepared

logger = logging.getLogger("seqembed")


def write_page(
    layout: RunLayout,
    prepared: Prepared,
    network: Network,
    history: Mapping[str, Any],
    warnings: tuple[str, ...],
    progress: Progress,
) -> None:
    """Write ``report.html``; without Jinja2, or if the page cannot be made, only a note says so.

    Args:
        layout: Paths of the run directory.
        prepared: The data and the options.
        network: The models as they are saved.
        history: The content of ``history.json``.
        warnings: What is wrong with the model and what to try.
        progress: Receives the note.

    Raises:
        OutputError: The page cannot be written.
    """
    if find_spec("jinja2") is None:
        progress.note(f"{layout.report.name} is not written: it needs jinja2 (pip install 'seqembed[report]')")
        return
    from seqembed.trainer.page.material import gather
    from seqembed.trainer.page.page import page

    try:
        text = page(gather(prepared, network, history, warnings, versions()))
    except Exception as error:  # whatever it is: the models are trained, and hours may have gone into them
        logger.debug("the page could not be made", exc_info=True)
        progress.note(f"{layout.report.name} is not written: {type(error).__name__}: {error}")
        return
    write_text(layout.report, text)
