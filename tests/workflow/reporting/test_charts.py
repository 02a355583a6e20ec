"""The figures that show numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tests.workflow.reporting.project import Project
from workflow.pairs import read_pairs
from workflow.reporting.charts import curves_figure, share_figure
from workflow.reporting.evaluation import read_evaluation
from workflow.reporting.names import BUCKETS
from workflow.reporting.published import LIU, LIU_LABEL
from workflow.reporting.statistics import MIN_PHOTOS
from workflow.reporting.summary import summarise

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


class TestShareFigure:
    """PSNR against hole share."""

    def test_intervals(self, reported: Project) -> None:
        """Error bars end where the intervals end."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        summary = summarise(evaluation, draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        panel = share_figure(summary, labels).axes[1]
        picked = [found for share in BUCKETS if (found := summary.pick("all", share))]
        for method, drawn in zip(labels, panel.containers, strict=True):
            entries = [found[method, "psnr_hole"] for found in picked]
            wanted = [
                (e.low, e.high) if e.photos >= MIN_PHOTOS else (e.mean, e.mean) for e in entries
            ]
            ends = [tuple(segment[:, 1]) for segment in drawn.lines[2][0].get_segments()]
            np.testing.assert_allclose(ends, wanted)

    def test_pairs_of_a_share(self, reported: Project) -> None:
        """Below each hole share stands how many pairs its means are of."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        figure = share_figure(summarise(evaluation, draws=100, seed=1), {"telea": "Telea"})
        (axes, _) = figure.axes
        counts = [int(label.get_text().split("\n")[1]) for label in axes.get_xticklabels()]
        assert sum(counts) == len(read_pairs(reported.inputs.sample))
        assert len(set(counts)) > 1

    def test_liu(self, reported: Project) -> None:
        """Liu et al.'s numbers stand as stars, named last, at their hole shares of all pixels."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        labels = {method: method for method in evaluation.methods}
        figure = share_figure(summarise(evaluation, draws=100, seed=1), labels)
        whole, hole = figure.axes
        assert [axes.get_title() for axes in (whole, hole)] == [
            "PSNR (dB)",
            "PSNR in the hole (dB)",
        ]
        assert not [line for line in hole.lines if line.get_marker() == "*"]
        (stars,) = (line for line in whole.lines if line.get_marker() == "*")
        shares = [label.get_text().split("\n")[0] for label in whole.get_xticklabels()]
        drawn = {f"{shares[int(x)]} %": y for x, y in zip(*stars.get_data(), strict=True)}
        assert drawn == {share: y for share, y in LIU["psnr"].items() if share[:-2] in shares}
        (legend,) = figure.legends
        assert legend.get_texts()[-1].get_text().startswith(LIU_LABEL)
        assert legend.legend_handles[-1].get_marker() == "*"

    @pytest.mark.parametrize("length", [5, 30, 45])
    def test_legend_fits(self, reported: Project, length: int) -> None:
        """Every method is named, within the figure and below its panels, by long names too."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        labels = {method: method.ljust(length, "x") for method in evaluation.methods}
        figure = share_figure(summarise(evaluation, draws=100, seed=1), labels)
        (legend,) = figure.legends
        assert {text.get_text() for text in legend.get_texts()} >= set(labels.values())
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
        assert all(box.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


class TestTicks:
    """What stands at the axes of the loss curves."""

    def test_ticks(self) -> None:
        """Losses are labelled with plain numbers, few of them, and epochs are whole."""
        curves = pd.DataFrame({"epoch": [1, 2], "train_total": [0.3, 0.2], "train_hole": 0.02})
        figure = curves_figure(curves, [1, 2])
        figure.draw_without_rendering()
        losses, *_ = panels = figure.axes
        labels = [label.get_text() for label in losses.get_yticklabels(which="both")]
        low, high = losses.get_ylim()
        shown = [label for label in labels if label and low <= float(label) <= high]
        assert shown == ["0.1", "0.02", "0.03", "0.05", "0.2", "0.3"]
        for axes in panels:
            assert all(tick == round(tick) for tick in axes.get_xticks())

    def test_many_powers(self) -> None:
        """Where there are labels of several powers of ten, there are no others between them."""
        curves = pd.DataFrame({"epoch": [1, 2], "train_total": [30.0, 20.0], "train_hole": 0.02})
        figure = curves_figure(curves, [])
        figure.draw_without_rendering()
        between = figure.axes[0].get_yticklabels(minor=True)
        assert not any(label.get_text() for label in between)
