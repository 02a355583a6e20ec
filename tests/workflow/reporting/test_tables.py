"""The tables as they are printed."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.workflow.reporting.project import METHODS, PHOTOS, Project
from workflow.reporting.evaluation import read_evaluation
from workflow.reporting.names import METRIC_OF
from workflow.reporting.summary import compare, summarise
from workflow.reporting.tables import (
    Cell,
    Table,
    comparison_tables,
    group_table,
    headline,
    share_table,
)


class TestGroupTable:
    """All metrics of one group."""

    def test_best(self, reported: Project) -> None:
        """Bold is the highest PSNR and the lowest L1 of those on the most pairs; no L_TV is."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        values["mean", "psnr"] = np.where(np.arange(len(values)) < 9, 99.0, np.nan)
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        rows = {row[0].text: row[1:] for row in group_table(summary, "all", labels).rows}
        full = ["pconv-first", "pconv-last", "telea"]
        for column, methods, choose_best in (("psnr", full, max), ("l1", METHODS, min)):
            best = choose_best(methods, key=lambda m, c=column: values[m, c].mean())
            marked = [cell.best for cell in rows[METRIC_OF[column].label]]
            assert marked == [method == best for method in labels]
        assert not any(cell.best for cell in rows["L_TV"])

    def test_best_is_not_of_a_subsample(self, reported: Project) -> None:
        """A number that prints like the best one is not the best if it is of fewer pairs."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        for method, level in (("pconv-last", 20.001), ("telea", 19.0), ("mean", 20.004)):
            values[method, "psnr"] = level
        values.loc[values.index[9:], ("mean", "psnr")] = np.nan
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        labels = {method: method for method in ("pconv-last", "telea", "mean")}
        rows = {row[0].text: row[1:] for row in group_table(summary, "all", labels).rows}
        assert [cell.text for cell in rows["PSNR (dB)"]] == ["20.00", "19.00", "20.00"]
        assert [cell.best for cell in rows["PSNR (dB)"]] == [True, False, False]

    @pytest.mark.parametrize("last", [20.003, 19.0])
    def test_print_alike(self, reported: Project, last: float) -> None:
        """Numbers that print alike are the best together, or none is where all do."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        for method, level in zip(METHODS, (20.0, 20.001, 20.002, last), strict=True):
            values[method, "psnr"] = level
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        table = group_table(summary, "all", {method: method for method in METHODS})
        (row,) = (row for row in table.rows if row[0].text == "PSNR (dB)")
        assert [cell.best for cell in row[1:]] == [last == 19.0] * 3 + [False]

    def test_pairs(self, reported: Project) -> None:
        """The last row says of how many pairs the numbers are, and L_total where it is of fewer."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        values.loc[values.index[5:], ("telea", "total")] = np.nan
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        table = group_table(summary, "all", {method: method for method in ("pconv-last", "telea")})
        assert [cell.text for cell in table.rows[-1]] == ["Pairs", "100", "100 (L_total 5)"]


class TestShareTable:
    """One metric by kind and hole share."""

    def test_conserves_pairs(self, reported: Project) -> None:
        """Every pair is in one bucket, and Liu et al.'s numbers stand in theirs."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        summary = summarise(evaluation, draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        table = share_table(summary, "psnr", labels)
        all_kinds = [row for row in table.rows if row[0].text == "All kinds"]
        assert sum(int(row[2].text) for row in all_kinds) == len(evaluation.facts)
        beside = {row[1].text: row[-1].text for row in all_kinds}
        assert beside["10-20 %"] == "28.32"
        assert beside["1-10 %"] == "-"

    def test_fewer_pairs(self, reported: Project) -> None:
        """A mean over fewer pairs than the row's says of how many it is."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values.loc[evaluation.facts.index[1::2], ("telea", "psnr")] = float("nan")
        summary = summarise(evaluation, draws=100, seed=1)
        table = share_table(summary, "psnr", {method: method for method in evaluation.methods})
        rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
        fewer = [row["telea"].text for row in rows if row["Kind"].text == "All kinds"]
        kept = evaluation.facts["bucket"][::2].value_counts()
        told = [int(n) for text in fewer for n in re.findall(r"\((\d+) pairs?\)$", text)]
        assert sorted(told) == sorted(kept)
        assert not any("(" in row["pconv-last"].text for row in rows)


class TestComparisonTables:
    """Our network against the others, printed."""

    def test_printed(self, reported: Project) -> None:
        """The table prints wins in per cent and differences with their sign."""
        found = compare(read_evaluation(reported.inputs.evaluation), draws=100, seed=1)
        labels = {method: method for method in METHODS}
        table = next(t for t in comparison_tables(found, labels) if "EC (" in t.title)
        rows = {row[0].text: row[1:] for row in table.rows}
        for method in ("pconv-first", "telea", "mean"):
            row = found.set_index(["group", "method"]).loc["ec", method]
            wins, difference = rows[method][:2]
            assert wins.text == f"{100 * row['wins']:.0f} %"
            is_mixed = 0 < row["wins"] < 1
            ends = (
                f"[{100 * row['wins_low']:.0f}, {100 * row['wins_high']:.0f}]" if is_mixed else ""
            )
            assert wins.interval == ends
            assert difference.text == f"{row['difference']:+.2f}"
            assert [cell.text for cell in rows[method][2:]] == [str(2 * PHOTOS), str(PHOTOS)]
            assert difference.interval == f"[{row['low']:+.2f}, {row['high']:+.2f}]"

    def test_each_in_its_row(self, reported: Project) -> None:
        """Numbers of pairs are each method's own, and what prints as nothing has no sign."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values
        values[("mean", "psnr_hole")] = values["pconv-last", "psnr_hole"] + 0.004
        values.loc[values.index[5:], ("mean", "psnr_hole")] = np.nan
        found = compare(evaluation, draws=100, seed=1)
        rows = found[found["group"] == "all"].set_index("method")
        assert rows["pairs"].to_dict() == {"pconv-first": 100, "telea": 100, "mean": 5}
        labels = {method: method for method in METHODS}
        (table,) = (t for t in comparison_tables(found, labels) if "All" in t.title)
        assert [row[2].text for row in table.rows if row[0].text == "mean"] == ["0.00"]


class TestTable:
    """A table, and the numbers that stand for a run."""

    def test_transposed(self) -> None:
        """On the page a method's row has its own numbers, each under its metric."""
        rows = [[Cell("PSNR"), Cell("1"), Cell("2")], [Cell("L1"), Cell("3"), Cell("4")]]
        turned = Table("T", ["", "A", "B"], rows).transposed()
        assert turned.head == ["Method", "PSNR", "L1"]
        texts = [[cell.text for cell in row] for row in turned.rows]
        assert texts == [["A", "1", "3"], ["B", "2", "4"]]

    def test_headline(self) -> None:
        """Partial convolutions stand for a run where plain ones were trained beside them."""
        tree = {
            "plain-last": {"all": {"psnr_hole": 1.0}},
            "pconv-last": {"all": {"psnr_hole": 2.0}},
        }
        assert headline(tree) == {"all": {"psnr_hole": 2.0}}

    def test_markdown(self) -> None:
        """A table's Markdown has as many cells in every row, and bars in names are escaped."""
        table = Table("T", ["", "A"], [[Cell("x|y"), Cell("1", "[0, 2]", 1.0, best=True)]])
        lines = table.markdown().splitlines()
        assert lines[-1] == "| x\\|y | **1** [0, 2] |"
        assert lines[-2] == "| --- | ---: |"
