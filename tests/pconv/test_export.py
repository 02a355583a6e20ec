"""The ONNX file computes what the network computes, at any size."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pconv.errors import WeightsError
from pconv.export import TOLERANCE, export_onnx
from pconv.unet import PConvUNet, composite
from pconv.weights import load_weights, save_weights

needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="onnx, onnxscript or onnxruntime is not installed",
)


@pytest.fixture(scope="module", params=[{}, {"centre": "known", "mask_channel": True}])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny random network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, PConvUNet(width=2, levels=2, **request.param), {"dataset": "none"})
    return path


class TestExportOnnx:
    """One file, checked."""

    @needs_onnx
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_values(self, weights: Path, tmp_path: Path) -> None:
        """ONNX Runtime fills as PyTorch does, batches and odd sizes too, to 1e-4."""
        import onnxruntime

        difference = export_onnx(weights, tmp_path / "tiny.onnx")
        assert difference is not None
        assert difference <= TOLERANCE
        session = onnxruntime.InferenceSession(str(tmp_path / "tiny.onnx"))
        assert session.get_modelmeta().custom_metadata_map["dataset"] == "none"
        network = load_weights(weights)
        for batch, height, width in ((1, 256, 256), (3, 17, 65)):
            image = torch.rand(batch, 3, height, width)
            mask = (torch.rand(batch, 1, height, width) > 0.3).float()
            with torch.inference_mode():
                wanted = composite(network(image, mask).clamp(0, 1), image, mask)
            given = {"image": image.numpy(), "mask": mask.numpy()}
            found = np.asarray(session.run(None, given)[0])
            assert np.abs(found - wanted.numpy()).max() <= TOLERANCE

    @needs_onnx
    def test_unwritable(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that can't be written is told before the network is exported."""

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "touch", refuse)
        monkeypatch.setattr("torch.onnx.export", lambda *_, **__: pytest.fail("exported"))
        with pytest.raises(PermissionError, match=r"/tiny\.onnx'$"):
            export_onnx(weights, tmp_path / "tiny.onnx")

    def test_missing(self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the packages the message says which to install."""
        monkeypatch.setattr("pconv.export.find_spec", lambda name: None)
        with pytest.raises(WeightsError, match="pip install onnx onnxscript"):
            export_onnx(weights, tmp_path / "tiny.onnx")
        assert list(tmp_path.iterdir()) == []
