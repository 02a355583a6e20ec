"""VGG-16 features: what they compute, and where their weights may come from."""

import io
import subprocess
import sys
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.response import addinfourl

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from pconv.errors import ImageError, ShapeError, WeightsError
from pconv.features import IMAGENET_MEAN, IMAGENET_STD, VGG16Features, vgg16_features


@pytest.fixture(scope="module")
def random_features() -> VGG16Features:
    """Features with seeded random weights, made once."""
    return vgg16_features("random", seed=3)


@pytest.fixture
def state(random_features: VGG16Features) -> dict[str, Tensor]:
    """The weights of `random_features` under torchvision's names."""
    return dict(random_features.state_dict())


def torchvisions(state: dict[str, Tensor]) -> nn.Sequential:
    """Return torchvision's own layers up to pool3 with these weights."""
    with torch.device("meta"):
        layers = torchvision.models.vgg16(weights=None).features[:17]
    layers.load_state_dict(
        {key.removeprefix("features."): value for key, value in state.items()}, assign=True
    )
    return layers


class TestVGG16Features:
    """`VGG16Features.forward`."""

    @pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 48), (37, 51)])
    def test_shapes(self, random_features: VGG16Features, height: int, width: int) -> None:
        """Three maps come out, with sides halved and rounded down each time."""
        shapes = [tuple(x.shape) for x in random_features(torch.rand(2, 3, height, width))]
        assert shapes == [
            (2, channels, height >> level, width >> level)
            for level, channels in ((1, 64), (2, 128), (3, 256))
        ]

    def test_values(self, random_features: VGG16Features, state: dict[str, Tensor]) -> None:
        """The maps equal torchvision's own vgg16 on images normalised by torchvision."""
        reference = torchvisions(state)
        image = torch.rand(1, 3, 24, 40)
        normalise = torchvision.transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
        for pool, features in zip((5, 10, 17), random_features(image), strict=True):
            torch.testing.assert_close(features, reference[:pool](normalise(image)))

    def test_biases(self, state: dict[str, Tensor]) -> None:
        """With biases, too, maps and the image's gradient are torchvision's."""
        state = {key: value + 0.3 * torch.randn(value.shape) for key, value in state.items()}
        ours = VGG16Features()
        ours.load_state_dict(state, assign=True)
        ours, reference = ours.double(), torchvisions(state).double()
        image = torch.rand(2, 3, 24, 40, dtype=torch.float64, requires_grad=True)
        wanted, pooled = (image - ours.mean) / ours.std, []
        for layer in reference:
            wanted = layer(wanted)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(wanted)
        weights = [torch.randn(x.shape, dtype=torch.float64) for x in pooled]
        for found, expected in zip(ours(image), pooled, strict=True):
            torch.testing.assert_close(found, expected)
        gradients = [
            torch.autograd.grad(
                sum((x * w).sum() for x, w in zip(maps, weights, strict=True)), image
            )[0]
            for maps in (ours(image), pooled)
        ]
        torch.testing.assert_close(*gradients)

    def test_constants(self) -> None:
        """Mean and deviation are those that torchvision's weights were trained with."""
        preset = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
        assert (tuple(preset.mean), tuple(preset.std)) == (IMAGENET_MEAN, IMAGENET_STD)

    def test_gradient_reaches_the_image_only(self, random_features: VGG16Features) -> None:
        """The weights are frozen; the image gets a gradient through all three maps."""
        image = torch.rand(1, 3, 16, 16, requires_grad=True)
        sum(x.mean() for x in random_features(image)).backward()
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
        assert not any(p.requires_grad for p in random_features.parameters())

    def test_no_classifier(self, random_features: VGG16Features) -> None:
        """It has the 1.7 million parameters of seven convolutions, not 138 million."""
        convolutions = [m for m in random_features.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 7
        assert sum(p.numel() for p in random_features.parameters()) == 1_735_488

    @pytest.mark.parametrize("shape", [(1, 3, 7, 8), (1, 3, 8, 7), (1, 1, 16, 16), (3, 16, 16)])
    def test_raises_on_shape(self, random_features: VGG16Features, shape: tuple[int, ...]) -> None:
        """An image too small for pool3, or of other than three channels, is refused."""
        with pytest.raises(ShapeError, match="8 px or more"):
            random_features(torch.rand(shape))

    def test_float64(self, random_features: VGG16Features) -> None:
        """Images of float64 are computed in the weights' precision."""
        image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
        for found, wanted in zip(
            random_features(image), random_features(image.float()), strict=True
        ):
            torch.testing.assert_close(found, wanted)

    def test_raises_on_integers(self, random_features: VGG16Features) -> None:
        """Eight-bit images, which would pass as far too bright, are refused."""
        with pytest.raises(ImageError, match="divide 8-bit values by 255"):
            random_features(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))

    def test_raises_on_arrays(self, random_features: VGG16Features) -> None:
        """What is no tensor is refused."""
        with pytest.raises(ImageError, match="images: a ndarray; wanted a torch tensor"):
            random_features(torch.zeros(1, 3, 16, 16).numpy())

    def test_raises_without_values(self) -> None:
        """A fresh object, which holds no values, computes nothing; the message names the loader."""
        with pytest.raises(WeightsError, match=r"pconv\.features\.vgg16_features\('imagenet' \|"):
            VGG16Features()(torch.rand(1, 3, 16, 16))

    def test_compiles_in_one_piece(self, random_features: VGG16Features) -> None:
        """What is checked of weights and images cuts no compiled training step in two."""
        image = torch.rand(1, 3, 16, 16)
        compiled = torch.compile(random_features, backend="eager", fullgraph=True)
        for found, wanted in zip(compiled(image), random_features(image), strict=True):
            torch.testing.assert_close(found, wanted)


class TestRandomWeights:
    """`vgg16_features("random", seed)`."""

    def test_the_same_in_every_process(self) -> None:
        """Another process gets the same bits for the same seed, and waits for no torchvision."""
        code = (
            "import sys; from pconv.features import vgg16_features as make;"
            "print(*(p.double().sum().item().hex() for p in make('random', 5).parameters()));"
            "assert 'torchvision' not in sys.modules"
        )
        root = Path(__file__).parents[2]
        other = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root)
        weights = vgg16_features("random", 5).parameters()
        assert other.split() == [p.double().sum().item().hex() for p in weights]

    def test_seeds_differ(self, random_features: VGG16Features) -> None:
        """Another seed gives other weights."""
        other = vgg16_features("random", 4)
        assert not torch.equal(other.features[0].weight, random_features.features[0].weight)

    def test_leaves_the_global_seed_alone(self) -> None:
        """The caller's random stream is where it was."""
        before = torch.get_rng_state()
        vgg16_features("random", 1)
        assert torch.equal(torch.get_rng_state(), before)

    def test_seed_of_numpy(self, random_features: VGG16Features) -> None:
        """A seed may be an integer of numpy, as one that is drawn is."""
        int_of_numpy: Any = np.int64(4)
        drawn, plain = vgg16_features("random", int_of_numpy), vgg16_features("random", 4)
        assert torch.equal(drawn.features[0].weight, plain.features[0].weight)

    def test_keeps_the_scale(self, state: dict[str, Tensor]) -> None:
        """He's deviation, sqrt(2 / fan-in), and no bias."""
        weight = state["features.14.weight"]
        assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
        assert not state["features.14.bias"].any()


class TestWeightsFromFile:
    """`vgg16_features(path)`."""

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth", "-old.pth"])
    @pytest.mark.parametrize("content", ["whole network", "convolutions", "sequential"])
    def test_loads(
        self, tmp_path: Path, state: dict[str, Tensor], suffix: str, content: str
    ) -> None:
        """Both formats, in torch's new and old form, whole or not, give the same weights."""
        stored = dict(state)
        if content == "whole network":
            stored |= {"features.17.weight": torch.ones(2), "classifier.0.weight": torch.ones(2)}
        if content == "sequential":
            stored = {key.removeprefix("features."): value for key, value in stored.items()}
        path = tmp_path / f"weights{suffix}"
        if suffix == ".safetensors":
            safetensors.torch.save_file(stored, path)
        else:
            torch.save(stored, path, _use_new_zipfile_serialization=suffix == ".pth")
        loaded = vgg16_features(str(path))
        assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
        assert not loaded.training

    @pytest.mark.parametrize("source", ["random", "file"])
    def test_under_other_defaults(
        self, tmp_path: Path, state: dict[str, Tensor], source: str
    ) -> None:
        """Weights are float32 on the CPU, and the same, where torch's defaults are others."""
        torch.save(state, tmp_path / "vgg.pth")
        name = source if source == "random" else str(tmp_path / "vgg.pth")
        image, plain = torch.rand(1, 3, 16, 16), vgg16_features(name)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        try:
            features = vgg16_features(name)
            activations = features(image)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
        for one, other in zip(activations, plain(image), strict=True):
            assert torch.equal(one, other)

    def test_float16_becomes_float32(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        """A file in half precision is loaded as float32."""
        path = tmp_path / "half.safetensors"
        safetensors.torch.save_file({key: value.half() for key, value in state.items()}, path)
        assert {p.dtype for p in vgg16_features(str(path)).parameters()} == {torch.float32}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"features.7.bias": None}, r"no features\.7\.bias"),
            ({"features.7.bias": torch.ones(3)}, r"features\.7\.bias has shape \(3,\), wanted"),
            ({"features.7.bias": torch.full((128,), torch.nan)}, "not finite"),
            ({"features.16.weight": torch.ones(3)}, "belong to another network"),
            ({"features.1.running_mean": torch.ones(3)}, "belong to another network"),
        ],
    )
    def test_raises_on_another_network(
        self,
        tmp_path: Path,
        state: dict[str, Tensor],
        changes: dict[str, Tensor | None],
        message: str,
    ) -> None:
        """Missing, misshapen, not finite or foreign tensors (VGG-19's, batch norm's) are named."""
        changed = {**state, **changes}
        stored = {key: value for key, value in changed.items() if value is not None}
        path = tmp_path / "other.safetensors"
        safetensors.torch.save_file(stored, path)
        with pytest.raises(WeightsError, match=message) as caught:
            vgg16_features(str(path))
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    @pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x02}q\x00.", b"PK"])
    def test_raises_on_damage(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        """A file that is no weights file is refused by name."""
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            vgg16_features(str(path))

    def test_raises_on_a_cut_file(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        """Half a download is refused, in either format."""
        for name in ("cut.pth", "cut.safetensors"):
            path = tmp_path / name
            if path.suffix == ".pth":
                torch.save(state, path)
            else:
                safetensors.torch.save_file(state, path)
            path.write_bytes(path.read_bytes()[:100_000])
            with pytest.raises(WeightsError, match="can't be read as weights"):
                vgg16_features(str(path))

    def test_runs_no_code_of_the_file(self, tmp_path: Path) -> None:
        """A pickle that would run a function is refused and not run."""
        trace = tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (trace,)

        path = tmp_path / "hostile.pth"
        torch.save({"features.0.weight": Hostile()}, path)
        with pytest.raises(WeightsError, match="can't be read as weights"):
            vgg16_features(str(path))
        assert not trace.exists()

    def test_raises_on_a_whole_object(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        """A checkpoint with a state dict inside, or other tensors, is no state dict."""
        path = tmp_path / "checkpoint.pth"
        for content in ({"state_dict": state, "epoch": 3}, {0: torch.ones(2)}, torch.ones(2)):
            torch.save(content, path)
            with pytest.raises(WeightsError, match="holds something else than a state dict"):
                vgg16_features(str(path))

    def test_raises_on_no_file(self, tmp_path: Path) -> None:
        """A misspelt source is answered with the three that exist."""
        with pytest.raises(WeightsError, match=r"imagenette: no such file.*'imagenet', 'random'"):
            vgg16_features(str(tmp_path / "imagenette"))


class TestImagenetWeights:
    """`vgg16_features("imagenet")`."""

    def test_loads_from_the_hub_folder(
        self, tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file put by hand where the error says is used, without network."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        place = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
        place.parent.mkdir(parents=True)
        torch.save({**state, "classifier.0.weight": torch.ones(2)}, place)
        assert torch.equal(
            vgg16_features("imagenet").features[0].weight, state["features.0.weight"]
        )

    def test_raises_on_another_file(
        self, tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Weights that are downloaded but are not the known ones are refused and not kept."""
        torch.save(state, tmp_path / "other.pth")
        content = (tmp_path / "other.pth").read_bytes()

        def answer(*_: object, **__: object) -> addinfourl:
            return addinfourl(io.BytesIO(content), Message(), "")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("torch.hub.urlopen", answer)
        with pytest.raises(WeightsError, match="invalid hash value"):
            vgg16_features("imagenet")
        assert not list(tmp_path.glob("hub/checkpoints/*"))

    @pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("slow")])
    def test_raises_without_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
    ) -> None:
        """When the download fails, the message names the place where the file may be put."""

        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("urllib.request.urlopen", fail)
        monkeypatch.setattr("torch.hub.urlopen", fail)
        with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth, or name its path") as caught:
            vgg16_features("imagenet")
        assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
