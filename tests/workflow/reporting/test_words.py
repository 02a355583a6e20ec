"""The sentences of the report that depend on its numbers."""

import pytest

from pconv.metrics import AROUND_PX, WANG
from workflow.reporting.words import DEFINITIONS, phase_sentences


def about(first: int, last: int, second_phase: int) -> dict[str, dict[str, str]]:
    """Return what the headers of two weights say."""
    said = {"finetune_from_epoch": str(second_phase)}
    return {
        "pconv-first": said | {"epoch": str(first)},
        "pconv-last": said | {"epoch": str(last)},
    }


class TestPhaseSentences:
    """`phase_sentences`."""

    @pytest.mark.parametrize("second_phase", [100, 120])
    def test_between(self, second_phase: int) -> None:
        """Where the second phase begins between two epochs, a reader learns that."""
        (sentence,) = phase_sentences(about(100, 150, second_phase))
        start = f"Epoch 100 is before the second phase, which begins after epoch {second_phase} "
        assert sentence.startswith(start)
        assert "Epoch 150 therefore differs" in sentence

    @pytest.mark.parametrize("second_phase", [0, 99, 150])
    def test_not_between(self, second_phase: int) -> None:
        """Where both are of one phase there is nothing to say."""
        assert phase_sentences(about(100, 150, second_phase)) == []

    def test_not_known(self) -> None:
        """Nor where weights say nothing of it, or there are none."""
        assert phase_sentences({}) == []
        assert phase_sentences({"pconv-last": {"epoch": "3"}}) == []


def test_definitions() -> None:
    """The measures are those that are computed."""
    assert f"within {AROUND_PX} pixels" in DEFINITIONS
    assert f"cut off after {WANG.radius}" in DEFINITIONS
