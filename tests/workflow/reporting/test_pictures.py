"""The figures that show pictures: what stands where."""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from pconv.images import write_image
from tests.workflow.reporting.project import SIZE_PX
from workflow.pairs import Pair
from workflow.reporting import pictures
from workflow.reporting.drawing import DPI, size_px
from workflow.reporting.examples import Example
from workflow.reporting.pictures import (
    MAX_ERROR,
    contact_sheet,
    error_figure,
    extremes_figure,
    fills_figure,
    hero_figure,
    masks_figure,
)


def texts(figure: Figure, ending: str) -> list[str]:
    """Return what is written in a figure with this ending."""
    return [found for text in figure.texts if (found := text.get_text()).endswith(ending)]


def colour_above(figure: Figure, title: str, caption: str) -> list[int]:
    """Return the colour of the picture in the column of a title and in the row of a caption."""
    canvas = figure.images[0].get_array()
    x = next(text.get_position()[0] for text in figure.texts if text.get_text() == title)
    y = next(text.get_position()[1] for text in figure.texts if text.get_text() == caption)
    row, column = int((1 - y) * len(canvas)), int(x * len(canvas[0]))
    return canvas[row - 50, column].tolist()  # a picture has some hundred rows


def colour_below(figure: Figure, title: str) -> list[int]:
    """Return the colour of the first picture in the column of a title."""
    canvas = figure.images[0].get_array()
    x, y = next(text.get_position() for text in figure.texts if text.get_text() == title)
    return canvas[int((1 - y) * len(canvas)) + 50, int(x * len(canvas[0]))].tolist()


@pytest.fixture
def example() -> Example:
    """A grey photograph that is nearly all hole, and two fills, each of another grey."""
    truth = np.full((SIZE_PX, SIZE_PX, 3), 100, np.uint8)
    mask = np.zeros((SIZE_PX, SIZE_PX), bool)
    mask[0, 0] = True
    fills = {"pconv-last": truth - np.uint8(40), "telea": truth - np.uint8(80)}
    pair = Pair("p", "photo.png", "mask.png", "or", 0.99, SIZE_PX)
    return Example(pair, truth, mask, fills, {"pconv-last": 20.0, "telea": 30.0})


class TestFigures:
    """What stands under a title, or above a caption, is what it says."""

    def test_hero(self, example: Example) -> None:
        """The README's picture shows hole, filled and truth under these words."""
        figure = hero_figure([example], "pconv-last")
        found = [colour_below(figure, title)[0] for title in ("Hole", "Filled", "Truth")]
        assert found == [255, 60, 100]

    def test_fills(self, example: Example) -> None:
        """Each method's fill stands under its name, with its own score."""
        figure = fills_figure([example], list(example.fills), {"pconv-last": "Ours", "telea": "T"})
        titles = ("Truth", "Damaged", "Ours", "T")
        assert [colour_below(figure, title)[0] for title in titles] == [100, 255, 60, 20]
        assert texts(figure, " in the hole") == ["20.0 dB in the hole", "30.0 dB in the hole"]

    @pytest.mark.parametrize("columns", [1, 2, 3, 4, 7])
    def test_size(self, example: Example, columns: int) -> None:
        """Pictures fill the page's width, but alone in a row none is larger than a screen."""
        figure = extremes_figure({"Best": [example] * columns}, "telea")
        height, width = figure.images[0].get_array().shape[:2]
        scale = DPI / 100  # pixels of the file for each of the page
        assert width == scale * min(900, 28 + 6 + columns * (240 + 6))
        assert height <= 2 * scale * (240 + 6 + 18) + scale * 6

    def test_colour_scale(self, example: Example) -> None:
        """The error map's colour scale is as wide in a narrow figure, as far from its border."""
        few, many = {"telea": "T"}, {method: method for method in ("telea", *"abcd")}
        fills = {method: example.truth for method in many}
        edges = []
        for labels in (few, many):
            figure = error_figure(replace(example, fills=fills), list(labels), labels)
            place = figure.axes[0].get_position()
            edges.append([(1 - place.x0) * size_px(figure)[0], place.width * size_px(figure)[0]])
        assert size_px(figure)[0] == 900
        assert edges[0] == pytest.approx(edges[1])
        assert edges[1] == pytest.approx([66 - 0.008 * 900, 0.013 * 900])

    def test_extremes(self, example: Example) -> None:
        """Above the score is the fill, above the hole's share the damaged photograph."""
        figure = extremes_figure({"Best": [example]}, "telea")
        for caption, grey in (("OR, 99 % hole", 255), ("30.0 dB in the hole", 20)):
            assert colour_above(figure, caption, caption)[0] == grey

    def test_spread(self, tmp_path: Path) -> None:
        """The training images shown are spread over all of them, first and last included."""
        for item in range(35):
            write_image(tmp_path / f"{item % 2:04d}/{item:06d}.png", np.full((4, 4, 3), item, "u1"))
        assert [image[0, 0, 0] for image in contact_sheet(tmp_path)] == list(range(0, 35, 2))


class TestErrorFigure:
    """Fills, and how far they are off."""

    def test_values(self) -> None:
        """Below each method's name is its own fill, and below this its own error."""
        truth = np.full((SIZE_PX, SIZE_PX, 3), 100, np.uint8)
        errors = {"pconv-last": 60, "telea": 0, "mean": 120}
        fills = {method: truth + np.uint8(error) for method, error in errors.items()}
        mask = np.arange(SIZE_PX)[:, None] >= np.full(SIZE_PX, SIZE_PX // 4)
        pair = Pair("p", "photo.png", "mask.png", "ec", 0.25, SIZE_PX)
        scores = dict.fromkeys(errors, 20.0)
        example = Example(pair, truth, mask, fills, scores)
        figure = error_figure(example, list(errors), {method: method.title() for method in errors})
        for method, error in errors.items():
            filled = colour_above(figure, method.title(), "20.0 dB in the hole")
            assert filled == [100 + error] * 3
            wanted = mpl.colormaps["cividis"](error / MAX_ERROR, bytes=True)[:3]
            assert colour_above(figure, method.title(), "25 % hole") == list(wanted)


class TestMasksFigure:
    """Masks by kind."""

    def test_captions(self) -> None:
        """Under each mask stands how much of it is hole."""
        few, many = np.ones((2, 10, 10), bool)
        few[0], many[:8] = False, False
        figure = masks_figure({"ec": [few], "walk": [many, few]}, {"ec": "EC", "walk": "Walk"})
        assert texts(figure, " hole") == ["10 % hole", "80 % hole", "10 % hole"]


class TestError:
    """The error map."""

    def test_error(self) -> None:
        """The error map has the absolute difference, whichever is brighter."""
        dark, light = (np.full((2, 2, 3), value, np.uint8) for value in (10, 210))
        for one, other in ((dark, light), (light, dark)):
            assert (pictures._error(one, other) == 200).all()
