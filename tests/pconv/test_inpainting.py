"""Any picture is filled, and known pixels come back as they were."""

import copy
import operator
import pickle
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

import pconv
from pconv.baselines import fill
from pconv.errors import ImageError, MaskError, ParameterError, ShapeError, WeightsError
from pconv.inpainting import METHODS, Inpainter, _without_network, inpaint, inpaint_batch
from pconv.network_fill import network_fill
from pconv.unet import PConvUNet, UNet, composite
from pconv.weights import load_weights, save_weights
from pconv.windows import Layout, as_01, fill_holes


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep tiny networks on one thread; starting more takes longer than their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> UNet:
    """Return a tiny random network."""
    torch.manual_seed(0)
    return PConvUNet(width=2, levels=3).eval()


@pytest.fixture(scope="module")
def weights(network: UNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write that network as one trained on 32-px images."""
    path = tmp_path_factory.mktemp("weights") / "last.safetensors"
    save_weights(path, network, {"size_px": "32"})
    return path


def write_told(path: Path, network: UNet, size_px: str) -> None:
    """Write weights whose header gives any size, as `save_weights` does not."""
    words = {name: str(value) for name, value in network.hyperparameters().items()}
    save_file(network.state_dict(), path, {"pconv": "1", **words, "about.size_px": size_px})


@pytest.mark.parametrize("size_px", ["0", "1", "7", "8", "many"])
def test_sizes_that_no_window_has(network: UNet, tmp_path: Path, size_px: str) -> None:
    """Whatever a weights file says it was trained at, its network fills."""
    write_told(tmp_path / "odd.safetensors", network, size_px)
    image, known = scene(20, 20)
    filled = inpaint(image, known, weights=tmp_path / "odd.safetensors")
    assert (filled[known] == image[known]).all()


def scene(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return noise, uint8 RGB, and a mask with a block and some lone pixels as holes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    known = rng.random((height, width)) > 0.02
    top, left = int(rng.integers(height)), int(rng.integers(width))
    known[top : top + height // 3, left : left + width // 3] = False
    known[0, 0] = True
    return image, known


def changed(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where any channel differs, ``(H, W)``."""
    different = before != after
    return different.any(axis=-1) if different.ndim == 3 else different


@pytest.mark.parametrize("size_px", [str(10**15), "9" * 5000])
def test_sizes_that_nothing_has(network: UNet, tmp_path: Path, size_px: str) -> None:
    """A size that no picture has is a damaged header, told in one line."""
    path = tmp_path / "odd.safetensors"
    write_told(path, network, size_px)
    with pytest.raises(WeightsError, match=r"odd\.safetensors: damaged: .*size_px") as caught:
        inpaint(*scene(20, 20), weights=path)
    assert len(str(caught.value)) < 300


class TestInpaint:
    """One picture, one mask, one call."""

    @given(
        height=st.integers(16, 90),
        width=st.integers(16, 90),
        seed=st.integers(0, 99),
        dtype=st.sampled_from(["u1", "u2", "f4", "f8"]),
        channels=st.sampled_from([0, 1, 2, 3, 4]),
    )
    @settings(deadline=None, max_examples=12)
    def test_known_pixels_stay(
        self, weights: Path, height: int, width: int, seed: int, dtype: str, channels: int
    ) -> None:
        """Whatever size, dtype and channels: known pixels are bit-identical, holes are filled."""
        rng = np.random.default_rng(seed)
        shape = (height, width, channels) if channels else (height, width)
        image = rng.random(shape).astype(dtype)
        if np.dtype(dtype).kind == "u":
            image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
        known = scene(height, width, seed)[1]
        filled = inpaint(image, known, weights=weights)
        assert (filled.dtype, filled.shape) == (image.dtype, image.shape)
        assert (filled[known] == image[known]).all()
        assert changed(image, filled)[~known].mean() > 0.9

    def test_one_window(self, network: UNet, weights: Path) -> None:
        """A picture of the training size is what the network makes of it, composed."""
        image, known = scene(32, 32)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(known)[None, None]
        with torch.inference_mode():
            output = composite(network(tensor, mask).clamp(0, 1), tensor, mask)
        wanted = (output[0].permute(1, 2, 0) * 255).round().numpy()
        filled = inpaint(image, known, weights=weights)
        assert np.abs(filled - wanted).max() <= 1

    def test_deterministic(self, weights: Path) -> None:
        """The same call gives the same bytes, and what lay in the holes plays no part."""
        image, known = scene(70, 50)
        other = np.where(known[..., None], image, 255 - image)
        assert (
            inpaint(image, known, weights=weights) == inpaint(other, known, weights=weights)
        ).all()

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
    def test_pillow(self, weights: Path, mode: str) -> None:
        """A Pillow image gives one of the same mode, the same as its array gives."""
        image, known = scene(40, 50)
        picture = Image.fromarray(image).convert(mode)
        filled = inpaint(picture, Image.fromarray(known), weights=weights)
        assert filled.mode == mode
        assert (np.asarray(filled) == inpaint(np.asarray(picture), known, weights=weights)).all()

    @pytest.mark.parametrize("method", [method for method in METHODS if method != "pconv"])
    def test_without_network(self, method: str) -> None:
        """Every other method fills without weights, in every dtype, and keeps known pixels."""
        image, known = scene(40, 50)
        for picture in (image, image.astype("u2") * 257, image / 255, image[..., 0]):
            filled = inpaint(picture, known, method=method)
            assert (filled[known] == picture[known]).all()
            assert changed(picture, filled)[~known].mean() > 0.8

    @pytest.mark.parametrize("method", ["telea", "ns"])
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=30)
    def test_near_holes(self, method: str, seed: int) -> None:
        """What OpenCV's methods are given, all around the holes, is all they look at."""
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (90, 80, 3), dtype=np.uint8)
        known = np.ones((90, 80), bool)
        top, left = rng.integers(0, 60, 2)
        hole = known[top : top + rng.integers(1, 40), left : left + rng.integers(1, 40)]
        hole[...] = rng.random(hole.shape) < rng.choice([0, 0.3, 0.9])
        wanted = fill(method, image, known)
        assert (inpaint(image, known, method=method) == wanted).all()
        assert (inpaint_batch([image], [known], method=method)[0] == wanted).all()

    @pytest.mark.parametrize("method", ["telea", "ns"])
    def test_small_hole(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are not given the rest of a large picture, which takes memory and time."""
        shapes = []

        def spy(name: str, image: NDArray[np.uint8], known: NDArray[np.bool_]) -> Any:
            shapes.append(known.shape)
            return fill(name, image, known)

        monkeypatch.setattr("pconv.inpainting.fill_without_network", spy)
        known = np.ones((300, 400), bool)
        known[100:103, 200:205] = False
        inpaint(np.zeros((300, 400), np.uint8), known, method=method)
        inpaint_batch([np.zeros((300, 400), np.uint8)], [known], method=method)
        assert shapes == [(15, 17)] * 2

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=30)
    def test_mean(self, dtype: str, seed: int) -> None:
        """The mean is painted as the method itself does, picture by picture and in a batch."""
        rng = np.random.default_rng(seed)
        image = rng.integers(0, rng.integers(1, np.iinfo(dtype).max), (30, 20, 3)).astype(dtype)
        known = rng.random((30, 20)) < rng.choice([0.6, 0.99, 1])
        window = Layout(size_px=30, margin_px=1)
        wanted = fill_holes(image, known, _without_network("mean"), window)
        assert inpaint(image, known, method="mean").tobytes() == wanted.tobytes()
        batch = inpaint_batch([image], [known], method="mean")
        assert batch[0].tobytes() == wanted.tobytes()

    def test_mean_of_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes no copy of the whole picture in floating point."""
        shapes = []

        def spy(values: NDArray[Any]) -> Any:
            shapes.append(values.shape)
            return as_01(values)

        monkeypatch.setattr("pconv.inpainting.as_01", spy)
        monkeypatch.setattr("pconv.windows.as_01", spy)
        known = np.ones((300, 400), bool)
        known[100:103, 200:205] = False
        inpaint(np.zeros((300, 400), np.uint16), known, method="mean")
        assert all(len(shape) < 2 for shape in shapes)

    def test_no_hole(self, weights: Path) -> None:
        """A picture without a hole comes back as a copy."""
        image, known = scene(40, 50)[0], np.ones((40, 50), bool)
        filled = inpaint(image, known, weights=weights)
        assert (filled == image).all()
        assert not np.shares_memory(filled, image)

    def test_one_colour(self) -> None:
        """A picture of one colour, holes and all sizes of windows, comes back whole."""
        image = np.full((90, 120, 3), [10, 100, 200], np.uint8)
        known = scene(90, 120)[1]
        damaged = np.where(known[..., None], image, 0).astype(np.uint8)
        assert (inpaint(damaged, known, method="mean", window_px=32) == image).all()

    def test_max_side(self, weights: Path) -> None:
        """Filled at reduced size, a picture keeps its size and its known pixels."""
        image, known = scene(90, 120)
        filled = inpaint(image, known, weights=weights, max_side=30)
        assert (filled[known] == image[known]).all()
        assert changed(image, filled)[~known].mean() > 0.9
        assert (filled != inpaint(image, known, weights=weights)).any()

    def test_max_side_of_a_strip(self) -> None:
        """A strip whose reduced copy would be less than a pixel wide, or high, is filled too."""
        image, known = np.full((400, 2, 3), 90, np.uint8), np.ones((400, 2), bool)
        known[100:120] = False
        image[~known] = 0
        for max_side in (30, 1):  # the least that there is
            for strip, mask in ((image, known), (image.swapaxes(0, 1), known.T)):
                assert (inpaint(strip, mask, method="mean", max_side=max_side) == 90).all()

    @pytest.mark.parametrize(("window_px", "wanted"), [(None, 0.5), (64, 0.25)])
    def test_mean_of_all(self, window_px: int | None, wanted: float) -> None:
        """The mean is the whole picture's, however large it is, unless windows are asked for."""
        image, known = np.full((8, 1600, 3), 0.25), np.ones((8, 1600), bool)
        image[:, 800:], known[3:5, 300:310] = 0.75, False
        filled = inpaint(image, known, method="mean", window_px=window_px)
        assert filled[~known] == pytest.approx(wanted, abs=0.01)

    def test_searched_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Methods that search the picture are given all of it up to a megapixel, then windows."""
        shapes = []

        def spy(name: str, image: NDArray[np.uint8], known: NDArray[np.bool_]) -> Any:
            shapes.append(known.shape)
            return image

        monkeypatch.setattr("pconv.inpainting.fill_without_network", spy)
        for width in (1024, 1025):
            known = np.ones((900, width), bool)
            known[100:103, 200:205] = False
            inpaint(np.zeros((900, width), np.uint8), known, method="patchmatch")
        assert shapes == [(900, 1024), (900, 1024)]

    def test_half(self, weights: Path) -> None:
        """In bfloat16 the fill is the same to its precision."""
        image, known = scene(32, 32)
        filled = inpaint(image, known, weights=weights, half=True)
        wanted = inpaint(image, known, weights=weights)
        assert (filled != wanted).any()
        assert np.abs(filled.astype(int) - wanted).mean() < 6

    @pytest.mark.parametrize(("is_emulated", "told"), [(True, 1), (False, 0)])
    def test_slow_half(
        self,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        is_emulated: bool,
        told: int,
    ) -> None:
        """Where the CPU has no bfloat16, one is told that it costs time and saves none."""
        monkeypatch.setattr("pconv.network_fill.is_bf16_emulated", lambda: is_emulated)
        inpainter = Inpainter(weights=PConvUNet(width=2, levels=3), half=True, device="cpu")
        for seed in (1, 2):
            inpainter(*scene(16, 16, seed))
        assert caplog.text.count("bfloat16 is many times slower than float32 here") == told

    def test_mirror(self, weights: Path) -> None:
        """By the mean of four flips, left and right make no difference, which they else do."""
        image, known = scene(32, 32)
        for mirror in (True, False):
            filled = inpaint(image, known, weights=weights, mirror=mirror)
            other = inpaint(
                image[:, ::-1].copy(), known[:, ::-1].copy(), weights=weights, mirror=mirror
            )
            assert np.array_equal(filled, other[:, ::-1]) == mirror
            assert (filled[known] == image[known]).all()

    def test_compile(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The option hands the network to torch.compile, and changes nothing else."""
        handed: list[object] = []

        def compiled(model: Any) -> Any:
            handed.append(model)
            return model

        monkeypatch.setattr(torch, "compile", compiled)
        image, known = scene(32, 32)
        filled = inpaint(image, known, weights=weights, compile=True)
        assert len(handed) == 1
        assert (filled == inpaint(image, known, weights=weights)).all()

    @pytest.mark.parametrize("mirror", [False, True])
    def test_compiled_sizes(
        self, mirror: bool, network: UNet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is compiled for any number of windows, but anew for another size of theirs."""
        unknown: list[set[str]] = []  # of each graph, the sizes that it leaves open

        def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
            unknown.append({str(one) for one in inputs if isinstance(one, torch.SymInt)})
            return graph.forward

        torch._dynamo.reset()  # it remembers what was not constant in other tests
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
        fill = Inpainter(weights=network, compile=True, mirror=mirror)
        for count, size in ((2, (40, 40)), (3, (40, 40)), (4, (40, 40)), (2, (48, 56))):
            images, masks = zip(*(scene(*size, seed) for seed in range(count)), strict=True)
            wanted = Inpainter(weights=network, mirror=mirror).fill_batch(images, masks)
            for one, other in zip(fill.fill_batch(images, masks), wanted, strict=True):
                assert (one == other).all()
        assert [len(sizes) for sizes in unknown] == [0, 1, 1]

    def test_loaded_network(self, network: UNet) -> None:
        """A network that is loaded already serves as weights, in windows of the wanted size."""
        image, known = scene(60, 60)
        filled = inpaint(image, known, weights=network, window_px=32)
        assert (filled[known] == image[known]).all()
        assert changed(image, filled)[~known].mean() > 0.9

    def test_window_size(self, weights: Path) -> None:
        """Windows are as large as the training images, which the file of weights names."""
        image, known = scene(70, 90)
        filled = inpaint(image, known, weights=weights)
        assert (filled == inpaint(image, known, weights=weights, window_px=32)).all()
        assert (filled != inpaint(image, known, weights=weights, window_px=64)).any()

    def test_window_size_that_nobody_told(self, network: UNet) -> None:
        """For a network of which that is not known they are of the usual 256 pixels."""
        image, known = scene(300, 270)
        filled = inpaint(image, known, weights=network)
        assert (filled == inpaint(image, known, weights=network, window_px=256)).all()

    @pytest.mark.parametrize("window_px", [np.int64(32), np.uint8(200), np.int16(256), 1025, 5000])
    def test_any_window_size(self, network: UNet, window_px: int) -> None:
        """Windows may be larger than any batch, and their size an integer of numpy."""
        image, known = scene(40, 50)
        filled = inpaint(image, known, weights=network, window_px=window_px)
        assert changed(image, filled)[~known].mean() > 0.9

    def test_clamped(self, network: UNet) -> None:
        """What a network makes beyond 0..1 is clamped, before overlapping windows are averaged."""
        bright = copy.deepcopy(network)
        torch.nn.init.constant_(bright.decoder[-1].conv.bias, 9.0)
        images, known = scene(32, 32)
        filled = network_fill(bright, None)(as_01(images)[None], known[None])
        assert filled.max() == 1

    def test_size_of_a_loaded_network(self, weights: Path) -> None:
        """So they are for a network that was loaded from the file before."""
        image, known = scene(70, 90)
        filled = inpaint(image, known, weights=load_weights(weights))
        assert (filled == inpaint(image, known, weights=weights)).all()

    def test_network_in_training(self) -> None:
        """A network that is being trained fills as it would after that, and is left as it was."""
        torch.manual_seed(0)
        network = PConvUNet(width=2, levels=3)
        fill = Inpainter(weights=network)
        wanted = fill(*scene(40, 40))
        network.train()
        network.encoder[1].eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        modes = [module.training for module in network.modules()]
        assert (fill(*scene(40, 40)) == wanted).all()
        assert [module.training for module in network.modules()] == modes
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])

    def test_network_in_training_in_threads(self) -> None:
        """So it is if several threads fill with it at once."""
        torch.manual_seed(0)
        network = PConvUNet(width=2, levels=3)
        scenes = [scene(40, 40, seed) for seed in range(24)]
        wanted = [inpaint(*pair, weights=network) for pair in scenes]
        before = copy.deepcopy(network.train().state_dict())
        fill = Inpainter(weights=network)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda pair: fill(*pair), scenes))
        for one, other in zip(found, wanted, strict=True):
            assert (one == other).all()
        assert all(module.training for module in network.modules())
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])

    @pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
    def test_wrapped_network(self, network: UNet, wrap: Callable[[UNet], torch.nn.Module]) -> None:
        """A compiled network, or one spread over devices, serves as the one inside."""
        filled = inpaint(*scene(40, 40), weights=wrap(network))
        assert (filled == inpaint(*scene(40, 40), weights=network)).all()

    @pytest.mark.parametrize("other", [{}, torch.nn.Linear(3, 3), 1])
    def test_other_weights_raise(self, other: Any) -> None:
        """What is neither a file nor a network of ours is refused by its type."""
        with pytest.raises(ParameterError, match=f"weights is a {type(other).__name__}; wanted"):
            inpaint(*scene(32, 32), weights=other)

    @pytest.mark.parametrize("channels", [(3, 1), (3, 4), (1, 1)])
    def test_other_channels_raise(self, channels: tuple[int, int], tmp_path: Path) -> None:
        """A network that is not one of RGB pictures is refused, by its file if it has one."""
        network = PConvUNet(*channels, width=2, levels=2)
        save_weights(tmp_path / "grey.safetensors", network)
        for weights in (network, tmp_path / "grey.safetensors"):
            with pytest.raises(WeightsError, match="wanted one for RGB") as caught:
                inpaint(*scene(32, 32), weights=weights)
        assert "grey.safetensors: " in str(caught.value)

    def test_overwritten_weights(self, tmp_path: Path) -> None:
        """Weights that are trained anew are read anew."""
        image, known = scene(32, 32)
        fills = []
        for seed in range(2):
            torch.manual_seed(seed)
            save_weights(tmp_path / "last.safetensors", PConvUNet(width=2, levels=3))
            fills.append(inpaint(image, known, weights=tmp_path / "last.safetensors"))
        assert (fills[0] != fills[1]).any()

    def test_two_files(self, tmp_path: Path) -> None:
        """Of two files in turn, each is read once."""
        files = [tmp_path / f"{name}.safetensors" for name in "ab"]
        for file in files:
            save_weights(file, PConvUNet(width=2, levels=3))
        first = [network_fill(file, "cpu") for file in files]
        assert [id(network_fill(file, "cpu")) for file in files] == list(map(id, first))

    def test_public_name(self) -> None:
        """It is what the package calls ``inpaint``."""
        assert pconv.inpaint is inpaint

    @pytest.mark.usefixtures("no_weights")
    def test_no_weights(self) -> None:
        """Without weights the message names the way to some, and methods that need none."""
        with pytest.raises(WeightsError, match=r"make repro.*telea"):
            inpaint(*scene(32, 32))

    def test_missing_weights(self, tmp_path: Path) -> None:
        """A file that isn't there is named."""
        with pytest.raises(WeightsError, match="there is no such weights file"):
            inpaint(*scene(32, 32), weights=tmp_path / "none.safetensors")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"method": "talea"}, "did you mean telea"),
            ({"method": "telea", "window_px": 4}, "window_px is 4"),
            ({"method": "telea", "max_side": 0}, "max_side is 0"),
            ({"method": "telea", "max_side": True}, "max_side is True, wanted an integer"),
            ({"method": "telea", "max_side": "64"}, "max_side is '64', wanted an integer"),
            ({"method": "telea", "window_px": 64.5}, "window_px is 64.5, wanted an integer"),
            ({"method": None}, "method is None, wanted one of"),
            ({"method": "telea", "mirrored": True}, "no option 'mirrored'.*mean mirror"),
            ({"method": "telea", "large_holes": True}, "'large_holes'.*mean allow_large_holes"),
        ],
    )
    def test_raises(self, options: Any, words: str) -> None:
        """An impossible option is refused by name."""
        with pytest.raises(ParameterError, match=words):
            inpaint(*scene(32, 32), **options)

    @pytest.mark.parametrize("device", ["abacus", "hpu", "vulkan", "meta", [1]])
    def test_device_raises(self, weights: Path, device: Any) -> None:
        """A device that is not here is refused by name, in a line that can be read."""
        with pytest.raises(ParameterError, match=re.escape(repr(str(device)))) as refusal:
            inpaint(*scene(32, 32), weights=weights, device=device)
        assert len(str(refusal.value)) < 250

    def test_device_of_network(self, network: UNet) -> None:
        """A network fills where it is, also if that is said; none is moved to another device."""
        wanted = inpaint(*scene(32, 32), weights=network)
        for here in ("cpu", "cpu:0", torch.device("cpu")):
            assert (inpaint(*scene(32, 32), weights=network, device=here) == wanted).all()
        elsewhere = PConvUNet(width=2, levels=3).to("meta")
        with pytest.raises(ParameterError, match=r"device is 'cpu', .* on meta .*copy\.deepcopy\("):
            Inpainter(weights=elsewhere, device="cpu")
        assert {value.device.type for value in elsewhere.state_dict().values()} == {"meta"}

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_device_of_network_on_cuda(self, network: UNet) -> None:
        """A network on the CPU is not moved to the GPU, a copy of it there fills."""
        with pytest.raises(ParameterError, match="is on cpu and stays there"):
            inpaint(*scene(32, 32), weights=network, device="cuda")
        assert {value.device.type for value in network.state_dict().values()} == {"cpu"}
        there = copy.deepcopy(network).to("cuda")
        filled = inpaint(*scene(32, 32), weights=there, device="cuda")
        wanted = inpaint(*scene(32, 32), weights=network)
        assert np.abs(filled.astype(int) - wanted).max() <= 3

    @pytest.mark.parametrize("half", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_precision_of_network(self, dtype: torch.dtype, half: bool) -> None:
        """A network of another precision fills too, in its own."""
        network = PConvUNet(width=2, levels=3).eval()
        wanted = inpaint(*scene(32, 32), weights=network)
        filled = inpaint(*scene(32, 32), weights=copy.deepcopy(network).to(dtype), half=half)
        assert np.abs(filled.astype(int) - wanted).max() <= 8

    def test_nan_under_the_hole(self) -> None:
        """A picture that marks its holes by NaN is told what to do, and then filled."""
        image, known = scene(32, 32)
        marked = np.where(known[..., None], image / 255, np.nan)
        with pytest.raises(ImageError, match="all of them under the hole: put 0 there"):
            inpaint(marked, known, method="mean")
        marked[~known] = 0
        assert (inpaint(marked, known, method="mean")[known] == marked[known]).all()

    def test_ragged_mask_raises(self) -> None:
        """A mask whose rows differ in length is refused."""
        with pytest.raises(MaskError, match="no array"):
            inpaint(scene(2, 2)[0], [[1, 0], [1]], method="mean")

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_tensor_as_mask_raises(self, dtype: torch.dtype) -> None:
        """A tensor that numpy can't read is refused like any other mask that is no array."""
        image, known = scene(32, 32)
        mask = torch.from_numpy(known).to(dtype)
        with pytest.raises(MaskError, match=r"no array \(.*\); wanted a numpy array"):
            inpaint(image, mask.requires_grad_(), method="mean")  # type: ignore[arg-type]

    def test_mask_raises(self) -> None:
        """A mask that looks inverted is refused, unless large holes are allowed."""
        image, known = scene(32, 32)
        with pytest.raises(MaskError, match="inverted"):
            inpaint(image, ~known, method="mean")
        filled = inpaint(image, ~known, method="mean", allow_large_holes=True)
        assert (filled[~known] == image[~known]).all()


class TestInpaintBatch:
    """Many pictures, one network."""

    @pytest.mark.parametrize("sizes", [[(32, 32)] * 6, [(32, 32), (70, 50), (16, 90)]])
    def test_values(self, weights: Path, sizes: list[tuple[int, int]]) -> None:
        """Each picture is filled as it is alone, whether all are of one size or not."""
        scenes = [scene(*size, seed) for seed, size in enumerate(sizes)]
        images, masks = zip(*scenes, strict=True)
        filled = inpaint_batch(images, masks, weights=weights)
        for result, (image, known) in zip(filled, scenes, strict=True):
            alone = inpaint(image, known, weights=weights)
            assert (result[known] == image[known]).all()
            assert np.abs(result.astype(int) - alone).max() <= 1

    def test_together(self, network: UNet) -> None:
        """Pictures as large as a window go through the network at once."""
        calls: list[int] = []
        hook = network.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
        images, masks = zip(*[scene(32, 32, seed) for seed in range(5)], strict=True)
        inpaint_batch(images, masks, weights=network, window_px=32)
        hook.remove()
        assert calls == [5]

    def test_several_batches(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """More pictures than go through the network at once keep their own masks."""
        monkeypatch.setattr("pconv.inpainting._BATCH_PIXELS", 2 * 32 * 32)
        images, masks = zip(*[scene(32, 32, seed) for seed in range(5)], strict=True)
        filled = inpaint_batch(images, masks, weights=weights)
        assert len(filled) == 5
        for result, image, known in zip(filled, images, masks, strict=True):
            assert (result[known] == image[known]).all()
            assert changed(image, result)[~known].mean() > 0.9

    def test_max_side(self, weights: Path) -> None:
        """Pictures are reduced in a batch as they are alone."""
        images, masks = zip(*[scene(32, 32, seed) for seed in range(2)], strict=True)
        filled = inpaint_batch(images, masks, weights=weights, max_side=16)
        for result, image, known in zip(filled, images, masks, strict=True):
            assert (result == inpaint(image, known, weights=weights, max_side=16)).all()

    def test_array(self, weights: Path) -> None:
        """An array of pictures is a sequence of pictures, small pictures of mixed kinds too."""
        image, known = scene(32, 32)
        images = np.stack([image, image[::-1]])
        filled = inpaint_batch(images, np.stack([known, known[::-1]]), weights=weights)
        assert (filled[1][known[::-1]] == images[1][known[::-1]]).all()
        mixed = inpaint_batch([image, image[..., 0] / 255], [known, known], weights=weights)
        assert (mixed[0] == filled[0]).all()
        assert mixed[1].dtype == np.float64

    def test_raises(self) -> None:
        """As many masks as pictures are wanted."""
        image, known = scene(32, 32)
        with pytest.raises(ShapeError, match="2 pictures"):
            inpaint_batch([image, image], [known], method="mean")

    @pytest.mark.parametrize(
        ("bad", "error", "words"),
        [
            ((scene(32, 32)[0].astype(int), scene(32, 32)[1]), ImageError, "pixels of int64"),
            ((None, scene(32, 32)[1]), ImageError, "a NoneType"),
            ((scene(32, 32)[0] / 99, scene(32, 32)[1]), ImageError, "wanted 0 to 1"),
            ((scene(32, 32)[0], scene(16, 32)[1]), ShapeError, "the mask has shape"),
            ((scene(32, 32)[0], ~scene(32, 32)[1]), MaskError, "looks inverted"),
        ],
    )
    def test_bad_pair(
        self, bad: Any, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A picture or mask that is refused is named by its index, before anything is filled."""
        filled: list[object] = []
        monkeypatch.setattr("pconv.inpainting.Inpainter._filled", lambda *pair: filled.append(pair))
        pairs = [scene(32, 32, seed) for seed in range(39)]
        images, masks = zip(*pairs, bad, *pairs, strict=True)
        with pytest.raises(error, match=f"^picture 39: .*{words}"):
            inpaint_batch(images, masks, method="mean")
        assert not filled

    def test_reading_sequence(self, weights: Path) -> None:
        """A sequence may read when asked, item by item: no more than two batches are held."""
        most = []

        class Read(Sequence[Any]):
            def __init__(self, which: int) -> None:
                self.which = which
                self.held: list[weakref.ref[NDArray[Any]]] = []

            def __len__(self) -> int:
                return 20

            def __getitem__(self, index: Any) -> Any:
                item = scene(32, 32, range(20)[operator.index(index)])[self.which]
                self.held.append(weakref.ref(item))
                most.append(sum(one() is not None for one in self.held))
                return item

        filled = inpaint_batch(Read(0), Read(1), weights=weights, window_px=512)  # 4 at once
        assert max(most) <= 9
        assert len(most) == 2 * 2 * 20  # to check all, and to fill
        for seed, result in enumerate(filled):
            image, known = scene(32, 32, seed)
            assert (result[known] == image[known]).all()


class TestInpainter:
    """The network is loaded once."""

    @pytest.mark.parametrize("options", [{"method": "telea"}, {"mirror": True}, {}])
    def test_pickle(self, weights: Path, options: Any) -> None:
        """It can be sent to another process."""
        fill = Inpainter(weights=weights, **options)
        image, known = scene(40, 40)
        again = pickle.loads(pickle.dumps(fill))  # noqa: S301
        assert (again(image, known) == fill(image, known)).all()

    def test_reuse(self, weights: Path, tmp_path: Path) -> None:
        """It goes on working when the file is gone."""
        path = tmp_path / "moved.safetensors"
        path.write_bytes(weights.read_bytes())
        fill = Inpainter(weights=path)
        path.unlink()
        image, known = scene(40, 40)
        assert (fill(image, known) == inpaint(image, known, weights=weights)).all()
