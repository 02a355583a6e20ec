"""The figures that show pictures: masks, augmentation, fills, and where they are wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pconv.errors import DataError
from pconv.images import Mask, Pixels, read_image, read_mask
from workflow.reporting.drawing import WIDTH_PX, Grid, Panel, draw_grid, size_px
from workflow.reporting.examples import Example
from workflow.reporting.names import KIND_LABELS
from workflow.shard_files import shard_files

HERO_WIDTH_PX = 720
SHEET_COLUMNS, SHEET_ROWS = 6, 3
MASKS_A_KIND = 6
BAR_PX = 66  # right of the error map, for its colour scale
MAX_ERROR = 128  # where the error map's colour scale ends, of 255


def masks_figure(masks: dict[str, list[Mask]], labels: dict[str, str]) -> Figure:
    """Draw masks by kind (the paper's Figure 5): a row a kind, holes black.

    Args:
        masks: bool ``(S, S)``, True where known, by kind.
        labels: The name of each kind.
    """
    rows = [
        [Panel(mask, f"{100 * (1 - mask.mean()):.0f} % hole") for mask in found]
        for found in masks.values()
    ]
    return draw_grid(Grid(rows, row_labels=[labels[kind] for kind in masks]))


def augmentation_figure(images: Sequence[Pixels]) -> Figure:
    """Draw a contact sheet of training images (the paper's Figure 6)."""
    panels = [Panel(image) for image in images]
    starts = range(0, len(panels), SHEET_COLUMNS)
    return draw_grid(Grid([panels[start : start + SHEET_COLUMNS] for start in starts]))


def fills_figure(
    examples: Sequence[Example], methods: Sequence[str], labels: dict[str, str]
) -> Figure:
    """Draw truth, damaged and fills (the paper's Figures 7 and 8): a row a pair."""
    rows = [
        [
            Panel(example.truth),
            Panel(example.damaged, f"{100 * example.pair.hole_share:.0f} % hole"),
            *(Panel(example.fills[m], _score(example, m)) for m in methods),
        ]
        for example in examples
    ]
    titles = _titles(["Truth", "Damaged", *(labels[method] for method in methods)])
    return draw_grid(Grid(rows, titles))


def extremes_figure(examples: dict[str, list[Example]], method: str) -> Figure:
    """Draw the best, median and worst fills of one method: hole above fill, a row each."""
    rows: list[list[Panel]] = []
    labels: list[str] = []
    for name, found in examples.items():
        rows.append(
            [Panel(e.damaged, f"{KIND_LABELS[e.pair.kind]}, {_share(e)} hole") for e in found]
        )
        rows.append([Panel(e.fills[method], _score(e, method)) for e in found])
        labels += [f"{name}: damaged", f"{name}: filled"]
    return draw_grid(Grid(rows, row_labels=labels))


def hero_figure(examples: Sequence[Example], method: str) -> Figure:
    """Draw hole, filled, truth: the picture at the top of the README."""
    rows = [
        [Panel(example.damaged), Panel(example.fills[method]), Panel(example.truth)]
        for example in examples
    ]
    return draw_grid(Grid(rows, ["Hole", "Filled", "Truth"], width_px=HERO_WIDTH_PX))


def error_figure(example: Example, methods: Sequence[str], labels: dict[str, str]) -> Figure:
    """Draw one pair's fills and, below each, how far every pixel is from the truth."""
    errors = {method: _error(example.fills[method], example.truth) for method in methods}
    colours = ScalarMappable(Normalize(0, MAX_ERROR), "cividis")
    rows = [
        [Panel(example.truth), *(Panel(example.fills[m], _score(example, m)) for m in methods)],
        [
            Panel(example.damaged, f"{_share(example)} hole"),
            *(Panel(colours.to_rgba(e, bytes=True)[..., :3]) for e in errors.values()),
        ],
    ]
    titles = _titles(["Truth", *(labels[method] for method in methods)])
    figure = draw_grid(Grid(rows, titles, right_px=BAR_PX))
    scale = WIDTH_PX / size_px(figure)[0]  # the bar is as wide where the figure is narrower
    bar = figure.add_axes((1 - scale * (BAR_PX / WIDTH_PX - 0.008), 0.1, scale * 0.013, 0.33))
    figure.colorbar(colours, cax=bar, extend="max")
    bar.set_ylabel("Absolute error, of 255", fontsize=8.5)
    bar.tick_params(labelsize=8)
    return figure


def contact_sheet(folder: Path) -> list[Pixels]:
    """Read pictures spread evenly over a folder of shards.

    Raises:
        DataError: If there are none.
    """
    return [read_image(path) for path in _spread(folder, SHEET_COLUMNS * SHEET_ROWS)]


def training_masks(folder: Path) -> list[Mask]:
    """Read masks spread evenly over a folder of shards.

    Raises:
        DataError: If there are none.
    """
    return [read_mask(path) for path in _spread(folder, MASKS_A_KIND)]


def _spread(folder: Path, count: int) -> list[Path]:
    # By item number, not by shard: the same pictures whatever the number of shards.
    paths = sorted(shard_files(folder, "*.png"), key=lambda path: path.name)
    if not paths:
        raise DataError(f"{folder}: no pictures */*.png; run the stage that makes them again")
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[place] for place in places]


def _error(filled: Pixels, truth: Pixels) -> np.ndarray:
    """Return the absolute difference, mean over the channels, ``(S, S)``."""
    return np.abs(filled.astype(np.int16) - truth.astype(np.int16)).mean(axis=2)


def _score(example: Example, method: str) -> str:
    score = example.scores.get(method)
    return f"{score:.1f} dB in the hole" if score is not None else ""


def _share(example: Example) -> str:
    return f"{100 * example.pair.hole_share:.0f} %"


def _titles(names: Sequence[str]) -> list[str]:
    """Put a method's epoch on a line of its own."""
    return [name.replace(", ", ",\n") for name in names]
