"""What is carried back from the GPU machine: weights in parts, and how long a run took."""

from pathlib import Path

import pytest
import torch

from benchmarks.paper_scale.bring import bring_weights
from benchmarks.paper_scale.collect import Run, _times, gather
from benchmarks.paper_scale.run import ROOT, _in_shards
from pconv.unet import PConvUNet
from pconv.weights import load_weights, save_weights
from workflow.graph import load_stages
from workflow.params import read_params


class TestParts:
    """Weights larger than a part."""

    def test_values(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In however many parts and named in whatever order, they come back as they were."""
        monkeypatch.setattr("benchmarks.paper_scale.bring.PART_BYTES", 1000)
        torch.manual_seed(0)
        model = PConvUNet(width=2, levels=2)
        save_weights(tmp_path / "work/models/pconv/last.safetensors", model, {"epoch": "3"})
        (tmp_path / "out").mkdir()
        parts = bring_weights(tmp_path / "work", tmp_path / "out", "pconv-last")
        assert len(parts) > 3
        assert gather(parts[::-1], tmp_path / "here") == []
        brought = load_weights(tmp_path / "here/models/pconv/last.safetensors").state_dict()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(brought[name], value, rtol=1e-3, atol=1e-4)


class TestTimes:
    """How long a run took."""

    def test_values(self) -> None:
        """Slices of a stage add up, and waiting is a share of all the time.

        An epoch that a killed run had to make again counts once.
        """
        stages = [{"stage": "train", "seconds": s, "status": c} for s, c in ((10, 75), (20, 0))]
        epochs = [
            {"epoch": 1, "seconds": 60, "images_per_s": 100, "wait_share": 0.5},
            {"epoch": 2, "seconds": 70, "images_per_s": 120, "wait_share": 0.9},
            {"epoch": 2, "seconds": 90, "images_per_s": 150, "wait_share": 0.1},
            {"epoch": 3, "seconds": 90, "images_per_s": 300, "wait_share": 0.1},
        ]
        machine, params = {"GPU": "H100", "torch": "2.9"}, read_params(ROOT / "params.yaml")
        text = _times(Run("pconv", params, machine, stages, {"pconv": epochs}))
        assert "pconv, on H100, torch 2.9:" in text
        assert "- stage train: 30 s" in text
        assert "3 epochs, 4.0 minutes" in text
        assert "median 150 images/s; 20.00 % of the time waiting" in text


def test_in_shards() -> None:
    """The evaluation's command is run with as many shards as are asked for."""
    stage = next(stage for stage in load_stages(ROOT / "dvc.yaml") if stage.name == "evaluate")
    other = _in_shards(stage, 3)
    assert other.shards == 3
    assert other.command == stage.command.replace(f"--shards {stage.shards}", "--shards 3")
    assert "--shards 3" in other.command
