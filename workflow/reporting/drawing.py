"""How the report's figures look: one style, one size, and the same bytes every time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pconv.atomic import atomic_file
from pconv.images import Mask, Pixels
from workflow.reporting.names import METHODS

WIDTH_PX = 900  # of a picture in a README
DPI = 150  # 1.5 device pixels for each: sharp on most screens
_CSS_DPI = 100  # pixels of the README an inch
_GAP_PX, _LINE_PX, _LABEL_PX = 6, 18, 28
_MAX_SIDE_PX = 240  # of a picture in a grid: alone in its row, it would be larger than a screen
_FRAME = (136, 136, 136)
_STYLE = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
# Okabe and Ito (2008): told apart with any of the common colour blindnesses; markers and lines
# tell them apart in grey.
_COLOURS = (
    "#56B4E9",
    "#0072B2",
    "#332288",
    "#E69F00",
    "#D55E00",
    "#882255",
    "#999999",
    "#009E73",
    "#CC79A7",
    "#6B6B00",
    "#000000",
)
_MARKERS = "os*D^<vPXph"


@dataclass(frozen=True)
class Panel:
    """One picture of a grid, with a caption below it."""

    picture: Pixels | Mask
    caption: str = ""


@dataclass(frozen=True)
class Grid:
    """Rows of pictures, with titles above the columns and labels left of the rows.

    A row may be shorter than the longest; its last places stay empty. ``right_px`` is left free.
    Where rows are so short that pictures would be too large, the grid is narrower.
    """

    rows: list[list[Panel]]
    column_titles: Sequence[str] = ()
    row_labels: Sequence[str] = ()
    width_px: int = WIDTH_PX
    right_px: int = 0


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the report's style, whatever matplotlib's own configuration file says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width_px: int, height_px: int) -> Figure:
    """Return an empty figure with a canvas of its own: no global state, no window."""
    figure = Figure(figsize=(width_px / _CSS_DPI, height_px / _CSS_DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def size_px(figure: Figure) -> tuple[float, float]:
    """Return a figure's width and height in pixels of a README."""
    width, height = figure.get_size_inches() * _CSS_DPI
    return float(width), float(height)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all, without version or date in it."""
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def method_colour(method: str) -> str:
    """Return the colour of a method, the same in every figure."""
    return _COLOURS[METHODS.index(method) % len(_COLOURS)]


def method_marker(method: str) -> str:
    """Return the marker of a method, the same in every figure."""
    return _MARKERS[METHODS.index(method) % len(_MARKERS)]


def draw_grid(grid: Grid) -> Figure:
    """Draw rows of square pictures."""
    left = _LABEL_PX if any(grid.row_labels) else 0
    lines = max((title.count("\n") + 1 for title in grid.column_titles), default=1)
    top = _LINE_PX * lines + _GAP_PX if any(grid.column_titles) else _GAP_PX
    columns = max(len(row) for row in grid.rows)
    width, beside = grid.width_px, left + grid.right_px + _GAP_PX * (columns + 1)
    side = (width - beside) // columns
    if side > _MAX_SIDE_PX:
        side, width = _MAX_SIDE_PX, _MAX_SIDE_PX * columns + beside
    captioned = any(panel.caption for row in grid.rows for panel in row)
    step = side + _GAP_PX + (_LINE_PX if captioned else 0)
    height = top + step * len(grid.rows)
    figure = new_figure(width, height)
    # One picture and some words: axes for each would take most of the stage's time.
    canvas = np.full((height * DPI // _CSS_DPI, width * DPI // _CSS_DPI, 3), 255, np.uint8)
    for y, row in enumerate(grid.rows):
        upper = top + y * step
        if y < len(grid.row_labels):
            label = grid.row_labels[y]
            _write(figure, (left - 10, upper + side / 2), label, rotation=90, va="center")
        for x, panel in enumerate(row):
            corner = left + _GAP_PX + x * (side + _GAP_PX)
            _paste(canvas, (upper, corner), side, panel.picture)
            below = (corner + side / 2, upper + side + 3)
            _write(figure, below, panel.caption, va="top", fontsize=8.5)
            if y == 0 and x < len(grid.column_titles):
                _write(figure, (below[0], top - 4), grid.column_titles[x], va="bottom")
    figure.figimage(canvas, origin="upper", zorder=-1)  # below a colour scale
    return figure


def _write(figure: Figure, place: tuple[float, float], text: str, **style: Any) -> None:
    """Write text centred at a place given in pixels from the upper left."""
    width, height = size_px(figure)
    figure.text(place[0] / width, 1 - place[1] / height, text, ha="center", **style)


def _paste(canvas: Pixels, corner: tuple[int, int], side_px: int, picture: Pixels | Mask) -> None:
    """Put a picture on the canvas, scaled to a side, with a thin grey frame."""
    top, left = (value * DPI // _CSS_DPI for value in corner)
    side = side_px * DPI // _CSS_DPI
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None] * np.uint8(255), 3, 2)
    # Masks have sharp edges: when enlarged, their pixels stay squares.
    grow = cv2.INTER_LANCZOS4 if picture.ndim == 3 else cv2.INTER_NEAREST
    scaling = cv2.INTER_AREA if side < picture.shape[0] else grow
    canvas[top : top + side, left : left + side] = cv2.resize(
        colour, (side, side), None, 0, 0, scaling
    )
    cv2.rectangle(canvas, (left, top), (left + side - 1, top + side - 1), _FRAME, 1)
