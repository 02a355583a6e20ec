"""The figures that show numbers: loss curves, and PSNR against hole share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from workflow.reporting import published
from workflow.reporting.curves import EPOCH, PLAIN, TERMS
from workflow.reporting.drawing import WIDTH_PX, method_colour, method_marker, new_figure
from workflow.reporting.names import ALL, BUCKETS, METRIC_OF, sorted_methods
from workflow.reporting.summary import Entry, Summary

_CHART_HEIGHT_PX = 400
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_FEW = 15  # values that are drawn as points too
_PANELS = (
    ("Training loss", {f"train_{term}": METRIC_OF[term].label for term in TERMS}, "log"),
    ("Held-out pictures: L1 in the hole", {"valid_hole_l1": "L1"}, "linear"),
    ("Held-out: PSNR in the hole (dB)", {"valid_hole_psnr": "PSNR"}, "linear"),
)


def share_figure(summary: Summary, labels: dict[str, str]) -> Figure:
    """Draw PSNR against hole share, whole picture and hole, all kinds of holes together.

    Args:
        summary: The numbers.
        labels: The name of each method in the report.
    """
    figure = new_figure(WIDTH_PX, _CHART_HEIGHT_PX + 90)
    panels = figure.subplots(1, 2)
    present = [share for share in BUCKETS if summary.pick(ALL, share)]
    for axes, metric in zip(panels, ("psnr", "psnr_hole"), strict=True):
        _draw_by_share(axes, summary, metric, labels, present)
    _draw_liu(panels[0], present)
    # The whole-picture panel has every method and, first, Liu et al., who shall come last.
    handles, names = (found[1:] + found[:1] for found in panels[0].get_legend_handles_labels())
    figure.subplots_adjust(0.065, 0.32, 0.985, 0.93, 0.16)
    _add_legend(figure, handles, names)
    return figure


def _add_legend(figure: Figure, handles: list[Artist], names: list[str]) -> None:
    """Write the legend below the panels, in four columns, or as many as there is room for."""
    for columns in (4, 3, 2):
        legend = figure.legend(
            handles, names, loc="lower center", ncols=columns, fontsize=8.5, columnspacing=1.2
        )
        if columns == 2 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def share_csv(summary: Summary, metric: str = "psnr_hole") -> str:
    """Return one metric by hole share over all kinds as CSV, a column a method."""
    means = {
        share: {method: entry.mean for method, entry in _by_method(summary, share, metric).items()}
        for share in BUCKETS
        if summary.pick(ALL, share)
    }
    table = pd.DataFrame.from_dict(means, orient="index").rename_axis("hole_share")
    table = table[sorted_methods(set(table.columns))]
    return table.to_csv(float_format="%.6g", lineterminator="\n")


def curves_figure(curves: pd.DataFrame, checkpoints: Sequence[int]) -> Figure:
    """Draw the loss terms of training and the validation, epoch by epoch.

    Args:
        curves: What `workflow.reporting.curves.read_curves` returns.
        checkpoints: Epochs whose weights are evaluated.
    """
    figure = new_figure(WIDTH_PX, _CHART_HEIGHT_PX)
    panels = figure.subplots(1, len(_PANELS))
    for axes, (title, names, scale) in zip(panels, _PANELS, strict=True):
        _draw_curves(axes, curves, names)
        axes.set(title=title, xlabel="Epoch", yscale=scale)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        if scale == "log":
            _label_log(axes)
        for epoch in checkpoints:
            axes.axvline(epoch, color="#888888", linewidth=0.8, linestyle=":")
    figure.subplots_adjust(0.06, 0.25, 0.99, 0.92, 0.22)
    handles, names = panels[0].get_legend_handles_labels()
    if any(str(column).startswith(PLAIN) for column in curves):
        handles.append(Line2D([], [], color="black", linestyle="--"))
        names.append("dashed: plain convolution")
    figure.legend(handles, names, loc="lower center", ncols=len(handles), fontsize=9)
    return figure


def _draw_by_share(
    axes: Axes, summary: Summary, metric: str, labels: dict[str, str], present: list[str]
) -> None:
    entries = {share: _by_method(summary, share, metric) for share in present}
    for place, method in enumerate(labels):
        found = [(x, entries[share].get(method)) for x, share in enumerate(present)]
        drawn = [(x, entry) for x, entry in found if entry is not None]
        if not drawn:
            continue
        # Side by side, or the intervals would hide each other.
        aside = (place - (len(labels) - 1) / 2) * 0.07
        bars = np.array([(e.mean - e.low, e.high - e.mean) for _, e in drawn]).T
        axes.errorbar(
            [x + aside for x, _ in drawn],
            [entry.mean for _, entry in drawn],
            np.nan_to_num(bars).clip(min=0),
            label=labels[method],
            markersize=4.5,
            linewidth=1,
            color=method_colour(method),
            marker=method_marker(method),
        )
    axes.set(title=METRIC_OF[metric].label, xlabel="Hole share (%), and how many pairs")
    # A mean of one pair must not look like one of hundreds.
    counts = [max(entry.pairs for entry in entries[share].values()) for share in present]
    names = [share.removesuffix(" %") for share in present]
    axes.set_xticks(range(len(present)), map("{}\n{}".format, names, counts))


def _draw_liu(axes: Axes, present: list[str]) -> None:
    numbers = {x: published.LIU["psnr"].get(share) for x, share in enumerate(present)}
    found = {x: number for x, number in numbers.items() if number is not None}
    axes.plot(
        list(found),
        list(found.values()),
        linestyle="none",
        marker="*",
        markersize=11,
        color="black",
        markerfacecolor="white",
        label=f"{published.LIU_LABEL} (other data)",
        zorder=5,
    )


def _draw_curves(axes: Axes, curves: pd.DataFrame, names: dict[str, str]) -> None:
    """Draw the columns that were logged; the plain network's are dashed."""
    for colour, (column, name) in zip(_COLOURS, names.items(), strict=False):
        for prefix, line, label in (("", "-", name), (PLAIN, "--", "")):
            if prefix + column not in curves:
                continue
            values = curves[[EPOCH, prefix + column]].dropna()
            marker = "." if len(values) < _FEW else ""
            epochs, numbers = values.to_numpy().T
            axes.plot(epochs, numbers, line, marker=marker, color=colour, label=label)


def _label_log(axes: Axes) -> None:
    """Write 0.2, where matplotlib writes 2 × 10^-1 for which there is no room."""

    def minor(value: float, _: float) -> str:
        low, high = axes.get_ylim()
        is_dense = high > 100 * low
        return "" if is_dense or f"{value:e}"[0] not in "235" else f"{value:g}"

    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(minor)


def _by_method(summary: Summary, share: str, metric: str) -> dict[str, Entry]:
    found = summary.pick(ALL, share)
    return {method: entry for (method, name), entry in found.items() if name == metric}
