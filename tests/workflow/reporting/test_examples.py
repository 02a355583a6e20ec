"""Which pairs and methods the report's pictures show."""

from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.reporting.project import Project
from workflow.fills import fill_pairs
from workflow.pairs import read_pairs
from workflow.reporting import examples
from workflow.reporting.evaluation import Evaluation, read_evaluation
from workflow.reporting.examples import (
    MIN_HOLE_SHARE,
    Sources,
    choose,
    load_examples,
    nearest,
    shown_methods,
    spread,
)

# PSNR in the hole of our network; the median of the EC and OR pairs is not that of all.
SCORES = {"ec-0": 30.0, "or-0": 20.0, "ec-1": 10.0, "walk-0": 9.0, "walk-1": 8.0, "walk-2": 7.0}


@pytest.fixture
def evaluation() -> Evaluation:
    """Some pairs, each of a photograph of its own."""
    kinds = [name.split("-")[0] for name in SCORES]
    facts = pd.DataFrame({"photo": list(SCORES), "kind": kinds, "hole_share": 0.2}, index=[*SCORES])
    values = pd.DataFrame({("pconv-last", "psnr_hole"): SCORES})
    values.columns.names = ["method", "metric"]
    return Evaluation(facts, values, {}, "")


class TestChoose:
    """Which pair the error map is of."""

    def test_error(self, evaluation: Evaluation) -> None:
        """It is the median one of the EC and OR pairs, unless another is asked for."""
        for error_pair, wanted in ((None, "or-0"), ("walk-2", "walk-2")):
            choice = choose(evaluation, examples=1, extremes=1, error_pair=error_pair)
            assert choice.error == wanted

    def test_small_holes(self, evaluation: Evaluation) -> None:
        """Where all holes are small, small ones are shown."""
        evaluation.facts["hole_share"] = 0.01
        choice = choose(evaluation, examples=1, extremes=1, error_pair=None)
        assert (choice.error, choice.ec) == ("or-0", ["ec-0"])

    def test_extremes_of_all_sizes(self, evaluation: Evaluation) -> None:
        """The best and the worst are of all holes, small ones too."""
        evaluation.facts.loc[["ec-0", "walk-2"], "hole_share"] = 0.01
        choice = choose(evaluation, examples=1, extremes=1, error_pair=None)
        assert (choice.extremes["Best"], choice.extremes["Worst"]) == (["ec-0"], ["walk-2"])
        assert choice.ec == ["ec-1"]

    def test_hero_of_few_kinds(self, evaluation: Evaluation) -> None:
        """Kinds come again in the first picture where it shows more pairs than there are kinds."""
        choice = choose(evaluation, examples=6, extremes=1, error_pair=None)
        assert choice.hero == ["or-0", "ec-0", "walk-1", "ec-1", "walk-0", "walk-2"]


class TestShownMethods:
    """Which methods the pictures show."""

    def test_weights_elsewhere(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Networks whose weights did not come along are left out, and it is said."""
        measured = ["pconv-first", "pconv-last", "plain-last", "telea", "mean"]
        networks = measured[:3]
        for method in networks:
            path = tmp_path / f"{method.replace('-', '/')}.safetensors"
            path.parent.mkdir(exist_ok=True)
            path.touch()
        assert shown_methods(measured, "pconv-last", tmp_path) == [*networks, "telea"]
        assert not caplog.text
        (tmp_path / "pconv/first.safetensors").unlink()
        (tmp_path / "plain/last.safetensors").unlink()
        assert shown_methods(measured, "pconv-last", tmp_path) == ["pconv-last", "telea"]
        assert "no weights of pconv-first, plain-last; not in the pictures" in caplog.text


class TestChoice:
    """Which pairs are shown."""

    RANKED = pd.DataFrame(
        {"photo": ["a", "a", "b", "b", "c", "c"]}, index=[f"p{i}" for i in range(6)]
    )

    @pytest.mark.parametrize(
        ("quantile", "wanted"), [(0.0, ["p0", "p2"]), (1.0, ["p3", "p5"]), (0.5, ["p1", "p2"])]
    )
    def test_nearest(self, quantile: float, wanted: list[str]) -> None:
        """The nearest in the ranking come, of different photographs, in the ranking's order."""
        assert nearest(self.RANKED, quantile, 2) == wanted

    def test_nearest_runs_out_of_photos(self) -> None:
        """Photographs come again only when there is no other."""
        assert len(set(nearest(self.RANKED, 0.0, 5))) == 5

    def test_spread(self) -> None:
        """As many as asked for and there are, none twice, best first."""
        assert spread(self.RANKED, 3) == ["p1", "p2", "p4"]
        assert spread(self.RANKED, 9) == list(self.RANKED.index)

    def test_spread_of_few_photos(self) -> None:
        """Best first also where another photograph has pairs only further up the ranking."""
        few = pd.DataFrame({"photo": list("baaa")}, index=["p0", "p1", "p2", "p3"])
        assert spread(few, 2) == ["p0", "p1"]

    def test_choose(self, reported: Project) -> None:
        """Pairs are ranked by our network's PSNR in the hole; small holes are extremes only."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        choice = choose(evaluation, examples=2, extremes=2, error_pair=None)
        scores, kinds = evaluation.values["pconv-last", "psnr_hole"], evaluation.facts["kind"]
        assert choice.judge == "pconv-last"
        assert choice.extremes["Best"][0] == scores.idxmax()
        assert choice.extremes["Worst"][-1] == scores.idxmin()
        middle = scores[choice.extremes["Median"]].mean()
        assert scores.quantile(0.4) < middle < scores.quantile(0.6)
        for ids, kind in ((choice.ec, "ec"), (choice.or_, "or")):
            assert set(kinds[ids]) == {kind}
            assert scores[ids].is_monotonic_decreasing
        assert set(kinds[choice.hero]) == {"or", "strokes"}
        visible = evaluation.facts["hole_share"] >= MIN_HOLE_SHARE
        of_kind = scores[visible & (kinds == "or")]
        assert of_kind.quantile(0.4) < scores[choice.hero[0]] < of_kind.quantile(0.6)
        shown = [*choice.ec, *choice.or_, *choice.hero, choice.error]
        assert evaluation.facts.loc[shown, "hole_share"].min() >= MIN_HOLE_SHARE


class TestLoadExamples:
    """The shown pairs, filled."""

    def test_real_fills(self, reported: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Networks and classical methods fill the hole and keep the known pixels."""
        monkeypatch.setattr(examples, "fill_pairs", fill_pairs)
        evaluation = read_evaluation(reported.inputs.evaluation)
        pairs = {pair.id: pair for pair in read_pairs(reported.inputs.sample)}
        inputs = reported.inputs
        sources = Sources(inputs.models, inputs.raw, inputs.masks)
        methods = ["pconv-last", "telea"]
        shown = load_examples(["1-or-0"], pairs, evaluation, methods, sources)["1-or-0"]
        assert list(shown.fills) == methods
        for filled in shown.fills.values():
            assert (filled[shown.mask] == shown.truth[shown.mask]).all()
        assert (shown.damaged[~shown.mask] == 255).all()
        assert shown.scores["telea"] == evaluation.values.at["1-or-0", ("telea", "psnr_hole")]
