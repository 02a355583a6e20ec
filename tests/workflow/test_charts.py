"""The figures that show numbers."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow.reporting.charts import curves_figure

CURVES = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "train_total": [9.0, 8.0, 7.0],
        "train_hole": [6.0, 5.0, 4.0],
        "valid_hole_l1": [0.3, 0.2, 0.1],
        "valid_hole_psnr": [21.0, 22.0, 23.0],
        "plain_train_total": [19.0, 18.0, 17.0],
        "plain_train_hole": [16.0, 15.0, 14.0],
        "plain_valid_hole_l1": [0.6, 0.5, 0.4],
        "plain_valid_hole_psnr": [11.0, 12.0, 13.0],
    }
)
COLUMNS = (["train_total", "train_hole"], ["valid_hole_l1"], ["valid_hole_psnr"])  # by panel


def of_style(axes: Axes, style: str) -> list[Line2D]:
    """Return the lines that are solid (-), dashed (--) or dotted (:)."""
    return [line for line in axes.lines if line.get_linestyle() == style]


class TestCurvesFigure:
    """The loss curves."""

    @pytest.mark.parametrize(("style", "prefix"), [("-", ""), ("--", "plain_")])
    def test_networks(self, style: str, prefix: str) -> None:
        """Our network's curves are solid, the plain network's dashed."""
        for axes, columns in zip(curves_figure(CURVES, []).axes, COLUMNS, strict=True):
            drawn = [list(line.get_ydata()) for line in of_style(axes, style)]
            assert drawn == [list(CURVES[prefix + column]) for column in columns]

    def test_names(self) -> None:
        """A term is of one colour, which the legend names; it says what is dashed."""
        figure = curves_figure(CURVES, [])
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert names == ["L_total", "L_hole", "dashed: plain convolution"]
        solid, dashed = (of_style(figure.axes[0], style) for style in ("-", "--"))
        assert [line.get_label() for line in solid] == names[:2]
        assert [line.get_color() for line in solid] == [line.get_color() for line in dashed]

    def test_checkpoints(self) -> None:
        """Every panel has a dotted line at each epoch whose weights are evaluated."""
        for axes in curves_figure(CURVES, [2, 3]).axes:
            assert [list(line.get_xdata()) for line in of_style(axes, ":")] == [[2, 2], [3, 3]]
