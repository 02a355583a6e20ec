"""What a person reads of a run in MLflow."""

from pathlib import Path

import pytest

from workflow.params import read_params
from workflow.run_text import (
    description,
    epoch_numbers,
    evaluation_name,
    numbers,
    run_name,
)

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

    def test_finite(self) -> None:
        """What is no finite number is not told."""
        values = {"ec": {"psnr": 20.5, "style": float("nan"), "total": float("inf"), "all": True}}
        assert numbers(values) == {"ec/psnr": 20.5}


class TestRunName:
    """What a run is called."""

    def test_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its preset, the network if it is the plain one, three changes and its fingerprint."""
        monkeypatch.chdir(ROOT)
        params = read_params(Path("presets/tiny.yaml"))
        assert run_name(params, "pconv", "1a2b3c4d5e") == "tiny 1a2b3c4d"
        assert run_name(params, "plain", "1a2b3c4d5e") == "tiny plain 1a2b3c4d"
        assert run_name(None, "pconv", "1a2b3c4d5e") == "pconv 1a2b3c4d"
        changes = {"epochs": 9, "learning_rate": 0.125, "tv_weight": 3.0, "hole_weight": 7.0}
        changed = params.model_copy(update={"train": params.train.model_copy(update=changes)})
        name = run_name(changed, "pconv", "1a2b3c4d5e")
        assert name.startswith("tiny epochs=9 learning_rate=0.125 ")
        assert name.endswith(" (+1) 1a2b3c4d")

    def test_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """How many photographs were expected, and how many may be unusable, is no part of it."""
        monkeypatch.chdir(ROOT)
        params = read_params(Path("presets/tiny.yaml"))
        limits = {"expected_train": 0, "max_rejected": 1000, "folder_train": "photos"}
        own = params.model_copy(update={"download": params.download.model_copy(update=limits)})
        assert run_name(own, "pconv", "1a2b3c4d5e") == "tiny download.folder_train=photos 1a2b3c4d"


class TestEvaluationName:
    """What an evaluation's run is called."""

    def test_values(self) -> None:
        """The first parameters that differ are named, and how many more there are."""
        first = {"sample.seed": "1", "sample.pairs": "8"}
        assert evaluation_name(first, first | {"sample.seed": "2"}) == "evaluation sample.seed=2"
        others = {f"evaluate.{letter}": letter for letter in "abcd"}
        assert evaluation_name(first, others) == (
            "evaluation evaluate.a=a evaluate.b=b evaluate.c=c (+1)"
        )


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
