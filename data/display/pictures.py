"""The style of all pictures, alike in every command: colour-blind-safe colours, light axes, and saving.

Pictures use only matplotlib's object interface, never pyplot and its global state.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from seqembed.data.errors import OutputError

# The palette of Okabe & Ito (2008), "Color universal design", without its yellow, which is lost on white.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
PALE_BLUE = "#56B4E9"
AMBER = "#E69F00"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, PALE_BLUE, AMBER, "#000000")
MARKERS = ("o", "^", "s")  # with seven colours: twenty-one kinds of points
INK, GREY, PALE = "#222222", "#767676", "#E4E4E4"
MIDDLE_GREY, LIGHT_GREY = "#8C8C8C", "#BDBDBD"  # of bars that stay in the background
SMALL, NORMAL, LARGE = 9, 10.5, 13  # points
DPI = 120
MAX_TEXT = 28  # default maximum length of a user's label, in characters
# matplotlib's own font lacks many scripts; these fonts are used for them if the host has them.
_OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK TC",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Yu Gothic",
    "IPAexGothic",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
FAMILIES = ["DejaVu Sans", *sorted(set(_OTHER_SCRIPTS) & set(font_manager.get_font_names()), key=_OTHER_SCRIPTS.index)]

_MISSING = re.compile(r"Glyph (\d+) .* missing from font")
_MAX_GLYPHS = 8  # in a message
_warned: list[bool] = []  # filled by the first warning of missing glyphs of this process
logger = logging.getLogger("seqembed")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` by `height` inches with automatic layout."""
    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=engine, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, x: str = "", y: str = "", title: str = "", *, bars: bool = False) -> None:
    """Set the texts of `axes`, with a light grid and without a box; for bars, with the lines that tell their height."""
    axes.set_xlabel(x, fontsize=NORMAL, fontfamily=FAMILIES, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, fontfamily=FAMILIES, color=INK)
    axes.set_title(title, fontsize=NORMAL, fontfamily=FAMILIES, color=INK, loc="left")
    axes.grid(axis="y" if bars else "both", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, colors=GREY, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom" or (side == "left" and not bars))
        spine.set_color(PALE)


def headline(figure: Figure, text: str) -> None:
    """Put `text` above the whole figure."""
    figure.suptitle(text, fontsize=LARGE, fontfamily=FAMILIES, color=INK, x=0.012, ha="left")


def plain(text: object, max_length: int = MAX_TEXT) -> str:
    """Return a user's text for matplotlib: without formulas, on one line, and of limited length.

    Long text is cut in the middle, since names often differ at their ends.
    """
    label = " ".join(str(text).split())
    if len(label) > max_length:
        tail = max_length // 3
        label = f"{label[: max_length - 1 - tail]}…{label[-tail:]}"
    return label.replace("$", r"\$")


@contextmanager
def any_script() -> Iterator[None]:
    """Replace matplotlib's warning about each glyph that no font has by one, once in this process.

    A label in an unsupported script must not fail a training; it is drawn as boxes.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_MISSING.pattern)
        yield
    missing = dict.fromkeys(found[1] for one in caught if (found := _MISSING.match(str(one.message))))
    for one in caught:
        if not _MISSING.match(str(one.message)):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, source=one.source)
    if missing:
        _warn_of_boxes(tuple(missing))


def _warn_of_boxes(missing: Sequence[str]) -> None:
    if _warned:
        return
    _warned.append(True)
    shown = " ".join(chr(int(code)) for code in missing[:_MAX_GLYPHS])
    logger.warning(
        "pictures show boxes for characters that no font of this host has: %s. Install a font that has them, such as "
        "Noto Sans CJK (Debian: fonts-noto-cjk), and draw again.",
        shown + (" …" if len(missing) > _MAX_GLYPHS else ""),
    )


def save(figure: Figure, path: Path | str) -> None:
    """Write `figure` to `path` as PNG.

    Raises:
        OutputError: The picture cannot be written there.
    """
    try:
        with any_script():
            # `savefig` would draw everything twice, the first time only for the layout, which drawing does anyway.
            FigureCanvasAgg(figure).print_png(path)
    except OSError as error:
        raise OutputError(
            f"{path}: the picture cannot be written ({error.strerror or error}). Free space, or fix the permissions."
        ) from error
