"""The figures that show pictures: what stands where."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from workflow.pairs import Pair
from workflow.reporting.examples import Example
from workflow.reporting.pictures import MAX_ERROR, error_figure, masks_figure

SIZE_PX = 32


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
