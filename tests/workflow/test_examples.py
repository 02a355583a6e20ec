"""Which pairs and methods the report's pictures show."""

from pathlib import Path

import pandas as pd
import pytest

from workflow.reporting.evaluation import Evaluation
from workflow.reporting.examples import choose, shown_methods

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
