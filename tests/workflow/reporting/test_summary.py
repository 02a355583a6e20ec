"""Means, wins and differences over the pairs."""

from dataclasses import replace

import numpy as np
import pytest

from tests.workflow.reporting.project import PHOTOS, Project
from workflow.reporting.evaluation import read_evaluation
from workflow.reporting.names import ANY_SHARE, BUCKETS, GROUPS
from workflow.reporting.summary import compare, summarise


class TestSummarise:
    """Means by kind of hole and hole share."""

    def test_values(self, reported: Project) -> None:
        """Each is over the pairs of its kinds and its hole share, and no others."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        summary = summarise(evaluation, draws=100, seed=1)
        values = evaluation.values["telea", "l1"]
        for group, kinds in GROUPS.items():
            for share in (ANY_SHARE, *BUCKETS):
                wanted = [
                    values[pair]
                    for pair, facts in evaluation.facts.iterrows()
                    if facts["kind"] in kinds and share in (ANY_SHARE, facts["bucket"])
                ]
                found = summary.pick(group, share).get(("telea", "l1"))
                assert (found is not None) == bool(wanted)
                if found is not None:
                    assert (found.mean, found.pairs) == (
                        pytest.approx(np.mean(wanted)),
                        len(wanted),
                    )


class TestCompare:
    """Our network against the others, pair by pair."""

    def test_values(self, reported: Project) -> None:
        """Wins and differences are those of a loop over the pairs; a tie counts half."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values.loc["0-ec-0", ("telea", "psnr_hole")] = evaluation.values.at[
            "0-ec-0", ("pconv-last", "psnr_hole")
        ]
        found = compare(evaluation, draws=100, seed=1).set_index(["group", "method"])
        wins, differences = 0.0, []
        for pair, row in evaluation.values.iterrows():
            if evaluation.facts.at[pair, "kind"] == "ec":
                ours, theirs = row["pconv-last", "psnr_hole"], row["telea", "psnr_hole"]
                wins += 0.5 if ours == theirs else float(ours > theirs)
                differences.append(ours - theirs)
        row = found.loc["ec", "telea"]
        assert row["wins"] == pytest.approx(wins / len(differences))
        assert row["difference"] == pytest.approx(np.mean(differences))
        assert row["low"] <= row["difference"] <= row["high"]
        assert (row["pairs"], row["photos"]) == (len(differences), PHOTOS)
        mixed = found[found["wins"].between(0, 1, inclusive="neither")]
        assert len(mixed) > 0
        assert mixed["wins"].between(mixed["wins_low"], mixed["wins_high"]).all()
        assert mixed["wins_low"].between(0, 1).all()
        assert mixed["wins_high"].between(0, 1).all()

    @pytest.mark.parametrize(("theirs", "wins"), [(1.0, 1), (99.0, 0)])
    def test_all_or_nothing(self, reported: Project, theirs: float, wins: int) -> None:
        """Where all pairs are won, or none, a share has no interval, as no draw would differ."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values[("telea", "psnr_hole")] = theirs
        found = compare(evaluation, draws=100, seed=1).set_index(["group", "method"])
        row = found.loc["ec", "telea"]
        assert row["wins"] == wins
        assert row[["wins_low", "wins_high"]].isna().all()
        assert row["low"] < row["difference"] < row["high"]

    def test_plain_network(self, reported: Project) -> None:
        """Where only the plain network was trained, it is the one that is compared."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        whole = compare(evaluation, draws=100, seed=1)
        renamed = {"pconv-last": "plain-last", "pconv-first": "plain-first"}
        values = evaluation.values.rename(columns=renamed, level="method")
        found = compare(replace(evaluation, values=values), draws=100, seed=1)
        assert found.equals(whole.replace({"method": renamed}))

    def test_alone(self, reported: Project) -> None:
        """Without another method there is nothing to compare."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        alone = replace(evaluation, values=evaluation.values[["pconv-last"]])
        assert compare(alone, draws=100, seed=1).empty
