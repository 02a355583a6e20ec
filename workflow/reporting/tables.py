"""The tables of the report, each made once and written as Markdown, CSV, JSON and HTML."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workflow.reporting import published
from workflow.reporting.names import (
    ALL,
    BUCKETS,
    EC_OR,
    GROUP_LABELS,
    KIND_LABELS,
    METRIC_OF,
    Metric,
    leading_weights,
    number,
    pairs_counted,
)
from workflow.reporting.summary import COLUMNS, Entry, Picked, Summary, most_pairs

JSON_DIGITS = 6
# What tells two runs apart: of every kind the first, of all kinds together all of these.
HEADLINE = ("psnr_hole", "ssim_hole", "perceptual", "style")
# The page's first columns, in sight without scrolling: what tells most.
PAGE_FIRST = ("psnr_hole", "ssim_hole", "psnr_paper", "ssim_paper")
SHARE_METRICS = ("psnr_hole", "psnr", "ssim", "l1_hole")
NOT_TAKEN = "-"
Labels = dict[str, str]


@dataclass(frozen=True)
class Cell:
    """One cell: what it shows, its interval, what it sorts by, whether it is the row's best."""

    text: str
    interval: str = ""
    value: float | None = None
    best: bool = False

    def markdown(self) -> str:
        """Return the cell for a Markdown table."""
        text = f"**{self.text}**" if self.best else self.text
        return f"{text} {self.interval}".strip().replace("|", "\\|")


@dataclass(frozen=True)
class Table:
    """A table: its title, its head, its rows, and notes to print below it."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return title, table and notes as Markdown."""
        ruler = ["---", *["---:"] * (len(self.head) - 1)]
        rows = [self.head, ruler, *([cell.markdown() for cell in row] for row in self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"### {self.title}", "", *lines, *(f"\n{note}" for note in self.notes)])

    def transposed(self) -> "Table":
        """Return the table with methods as rows, so that it can be sorted by a metric."""
        first = [Cell(name) for name in self.head[1:]]
        columns = zip(*(row[1:] for row in self.rows), strict=True)
        rows = [[name, *column] for name, column in zip(first, columns, strict=True)]
        return Table(self.title, ["Method", *(row[0].text for row in self.rows)], rows, self.notes)


def group_table(
    summary: Summary, group: str, labels: Labels, *, first: Sequence[str] = ()
) -> Table:
    """Return the table of one group: metrics × methods, with the paper's numbers for EC and OR.

    Args:
        summary: The numbers.
        group: A key of `GROUPS`.
        labels: The name of each method in the report, in its order.
        first: Metrics that come before the others.
    """
    found = summary.pick(group)
    methods = [method for method in labels if most_pairs(found, method)]
    with_paper = group == EC_OR
    rows = []
    for column in sorted(summary.metrics, key=lambda column: column not in first):
        cells = _cells(found, methods, METRIC_OF[column])
        paper = [_published(METRIC_OF[column], published.PAPER)] if with_paper else []
        rows.append([Cell(METRIC_OF[column].label), *cells, *paper])
    rows.append(_pairs_row(found, methods, with_paper))
    head = ["", *(labels[method] for method in methods)]
    if with_paper:
        head.append(published.PAPER_LABEL)
    notes = (published.PAPER_NOTE,) if with_paper else ()
    return Table(GROUP_LABELS[group], head, rows, notes)


def share_table(summary: Summary, column: str, labels: Labels) -> Table:
    """Return one metric by kind and hole share: a row a kind and bucket, a column a method."""
    metric = METRIC_OF[column]
    liu = published.LIU.get(column, {})
    methods = list(labels)
    rows = []
    for group in summary.groups:
        for share in BUCKETS:
            found = summary.pick(group, share)
            if not found:
                continue
            pairs = max(entry.pairs for entry in found.values())
            beside = [_published(metric, liu, share)] if liu else []
            head = [Cell(GROUP_LABELS[group]), Cell(share, value=BUCKETS.index(share))]
            count = Cell(str(pairs), value=pairs)
            rows.append([*head, count, *_cells(found, methods, metric, of_pairs=pairs), *beside])
    head_row = ["Kind", "Hole share", "Pairs", *(labels[method] for method in methods)]
    if liu:
        head_row.append(published.LIU_LABEL)
    title = f"{metric.label} by kind and hole share"
    return Table(title, head_row, rows, (published.LIU_NOTE,) if liu else ())


def comparison_tables(comparison: pd.DataFrame, labels: Labels) -> list[Table]:
    """Return the paired comparison, how often and by how much our network wins, by group."""
    ours = leading_weights(labels)
    if ours is None or comparison.empty:
        return []
    head = ["Against", "Pairs won", "Difference (dB)", "Pairs", "Photographs"]
    note = (
        f"{labels[ours]} against every other method by PSNR in the hole, on the pairs "
        "that both filled. A tie counts as half. Intervals, if there are any, are paired: both "
        "methods see the same draws of photographs."
    )
    found: list[Table] = []
    for group in comparison["group"].unique():
        rows = comparison[comparison["group"] == group].itertuples(index=False)
        cells = [_comparison_row(row, labels) for row in rows]
        found.append(Table(GROUP_LABELS[group], head, cells, () if found else (note,)))
    return found


def csv_text(summary: Summary, labels: Labels) -> str:
    """Return the whole summary as CSV, numbers with six significant digits."""
    table = summary.table.assign(label=summary.table["method"].map(labels))
    table = table.rename(columns={"group": "kind"})
    table = table[["kind", "hole_share", "method", "label", *COLUMNS[3:]]]
    return table.to_csv(index=False, float_format=f"%.{JSON_DIGITS}g", lineterminator="\n")


def metrics_tree(summary: Summary) -> dict[str, dict[str, dict[str, float]]]:
    """Return method → kind → metric → mean, for ``metrics.json``.

    And the number of pairs; under ``vgg_pairs`` those behind the perceptual and the style term.
    """
    tree: dict[str, dict[str, dict[str, float]]] = {}
    for group in summary.groups:
        for (method, metric), entry in summary.pick(group).items():
            numbers = tree.setdefault(method, {}).setdefault(group, {})
            numbers[metric] = float(f"{entry.mean:.{JSON_DIGITS}g}")
            numbers["pairs"] = max(entry.pairs, numbers.get("pairs", 0))
            if metric == "total":
                numbers["vgg_pairs"] = entry.pairs
    return tree


def headline(tree: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the numbers of our network by which runs are compared: kind → metric → mean.

    Args:
        tree: What `metrics_tree` returns; its hundreds of numbers are too many for one table.
    """
    ours = tree.get(leading_weights(tree) or "", {})
    names = {kind: HEADLINE if kind == ALL else HEADLINE[:1] for kind in (ALL, *KIND_LABELS)}
    return {
        kind: {name: ours[kind][name] for name in names[kind] if name in ours[kind]}
        for kind in names
        if kind in ours
    }


def _comparison_row(row: Any, labels: Labels) -> list[Cell]:
    wins_interval = _interval(row.wins_low, row.wins_high, _percent)
    interval = _interval(row.low, row.high, _signed)
    return [
        Cell(labels[row.method]),
        Cell(f"{_percent(row.wins)} %", wins_interval, row.wins),
        Cell(_signed(row.difference), interval, row.difference),
        Cell(str(row.pairs), value=row.pairs),
        Cell(str(row.photos), value=row.photos),
    ]


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def _cells(
    found: Picked, methods: Sequence[str], metric: Metric, *, of_pairs: int = 0
) -> list[Cell]:
    """Return one metric's cell for every method, the best marked; fewer pairs than given, told."""
    entries = {m: found[m, metric.column] for m in methods if (m, metric.column) in found}
    best = _best(entries, metric)
    return [
        _cell(entries[method], metric, method in best, of_pairs)
        if method in entries
        else Cell(NOT_TAKEN)
        for method in methods
    ]


def _best(entries: dict[str, Entry], metric: Metric) -> set[str]:
    """Return the methods whose number, as it is printed, is the best; none if none stands out.

    Only methods measured on the most pairs compete: a subsample may be an easier one.
    """
    choose = {"higher": max, "lower": min}.get(metric.better)
    most = max((entry.pairs for entry in entries.values()), default=0)
    means = {method: entry.mean for method, entry in entries.items() if entry.pairs == most}
    printed = {method: number(mean, unit=metric.unit) for method, mean in means.items()}
    if not choose or len(set(printed.values())) < 2:
        return set()
    best = number(choose(means.values()), unit=metric.unit)
    return {method for method, text in printed.items() if text == best}


def _cell(entry: Entry, metric: Metric, is_best: bool, of_pairs: int) -> Cell:
    def write(value: float) -> str:
        return number(value, unit=metric.unit)

    interval = _interval(entry.low, entry.high, write)
    fewer = f" ({pairs_counted(entry.pairs)})" if entry.pairs < of_pairs else ""
    return Cell(write(entry.mean) + fewer, interval, entry.mean, is_best)


def _interval(low: float, high: float, write: Callable[[float], str]) -> str:
    return "" if math.isnan(low) else f"[{write(low)}, {write(high)}]"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


def _published(metric: Metric, numbers: dict[str, float], key: str = "") -> Cell:
    value = numbers.get(key or metric.column)
    return Cell(NOT_TAKEN) if value is None else Cell(number(value, unit=metric.unit), value=value)


def _pairs_row(found: Picked, methods: Sequence[str], with_paper: bool) -> list[Cell]:
    """Return how many pairs are behind each method's numbers, the VGG terms' apart if fewer."""
    cells = []
    for method in methods:
        most = most_pairs(found, method)
        vgg = found[method, "total"].pairs if (method, "total") in found else 0
        text = f"{most} (L_total {vgg})" if 0 < vgg < most else str(most)
        cells.append(Cell(text, value=most))
    paper = [Cell(published.PAPER_PAIRS, value=int(published.PAPER_PAIRS))] if with_paper else []
    return [Cell("Pairs"), *cells, *paper]
