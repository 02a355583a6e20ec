"""What a person reads of a run in MLflow."""

from pathlib import Path

import pytest

from workflow.params import read_params
from workflow.run_text import description, epoch_numbers

ROOT = Path(__file__).parents[2]


class TestEpochNumbers:
    """What MLflow is told of an epoch."""

    def test_order(self) -> None:
        """The numbers that tell most come first, what was planned last; epoch 1 has no score."""
        record = {"epoch": 1, "phase": 1, "learning_rate": 0.1, "tv": 3.0, "total": 4.0}
        scores = {"valid_hole_l1": 0.5, "valid_hole_psnr": 20.0}
        wanted = ["train/total", "train/tv", "train/phase", "train/learning_rate"]
        assert list(epoch_numbers(record)) == wanted
        assert list(epoch_numbers(record | scores)) == ["valid/hole_psnr", "valid/hole_l1", *wanted]


class TestDescription:
    """What a person reads of a run."""

    def test_first_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It begins in words with what differs: a list of model versions shows no more."""
        monkeypatch.chdir(ROOT)
        params = read_params(Path("presets/tiny.yaml"))
        assert description(params, "f").startswith("The preset `tiny` as it is.\n\n")
        train = params.train.model_copy(update={"learning_rate": 0.125, "epochs": 9})
        text = description(params.model_copy(update={"train": train}), "f")
        assert text.startswith("epochs=9 learning_rate=0.125; else the preset `tiny`.\n\n|")
        assert "| `train.epochs` | 2 | **9** |" in text
