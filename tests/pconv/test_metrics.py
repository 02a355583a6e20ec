"""PSNR, SSIM and L1 against scikit-image, whole, in regions, and the paper's way."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from pconv import metrics
from pconv.errors import ImageError, ShapeError
from pconv.metrics import (
    around,
    hole,
    image_metrics,
    l1,
    psnr,
    psnr_paper,
    ssim,
    ssim_paper,
)

Image = NDArray[np.uint8]
TOLERANCE = 1e-6  # a hundredth of what is promised

SIZES = st.tuples(st.integers(11, 40), st.integers(11, 40))
SEEDS = st.integers(0, 10_000)


def photo(seed: int, height: int = 32, width: int = 40) -> Image:
    """Return a smooth picture of full contrast, as uint8 (H, W, 3)."""
    noise = np.random.default_rng([seed, 1]).random((height, width, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (2, 2, 0.5))
    return np.uint8(np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)))


def damaged(image: Image, seed: int, deviation: float = 20) -> Image:
    """Return the picture with noise on it."""
    noise = np.random.default_rng([seed, 2]).normal(0, deviation, image.shape)
    return np.uint8(np.clip(np.round(image + noise), 0, 255))


def mask_of(seed: int, height: int = 32, width: int = 40) -> NDArray[np.bool_]:
    """Return a mask, True where known, with one hole that may touch the border."""
    rng = np.random.default_rng([seed, 3])
    mask = np.ones((height, width), bool)
    top, left = rng.integers(0, height - 4), rng.integers(0, width - 4)
    mask[top : top + rng.integers(2, 12), left : left + rng.integers(2, 12)] = False
    return mask


def tensor(*images: NDArray[np.generic]) -> Tensor:
    """Return images as (B, 3, H, W), masks as (B, 1, H, W)."""
    stacked = np.stack([np.atleast_3d(image) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def skimage_ssim(prediction: Image, truth: Image, **kwargs: object) -> NDArray[np.float64]:
    """Return scikit-image's SSIM with Wang's window: the mean and the map."""
    wang = {"gaussian_weights": True, "use_sample_covariance": False}
    return structural_similarity(
        prediction, truth, channel_axis=-1, data_range=255, **wang, **kwargs
    )


EXTREMES = {
    "white and nearly white": (np.full((16, 16, 3), 255, np.uint8), 254),
    "black and white": (np.zeros((16, 16, 3), np.uint8), 255),
    "black and nearly black": (np.zeros((16, 16, 3), np.uint8), 1),
    "checkers": (np.uint8(255 * (np.indices((16, 16)).sum(0) % 2))[..., None].repeat(3, 2), 128),
}


class TestPsnr:
    """`psnr`."""

    @given(seed=SEEDS, size=SIZES)
    @settings(deadline=None, max_examples=25)
    def test_values(self, seed: int, size: tuple[int, int]) -> None:
        """It equals scikit-image's."""
        truth = photo(seed, *size)
        prediction = damaged(truth, seed)
        expected = peak_signal_noise_ratio(truth, prediction, data_range=255)
        assert psnr(tensor(prediction), tensor(truth)).item() == pytest.approx(expected, abs=1e-9)

    @given(seed=SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_region(self, seed: int) -> None:
        """In a region it equals scikit-image's of the pixels picked out."""
        truth, missing = photo(seed), ~mask_of(seed)
        prediction = damaged(truth, seed)
        expected = peak_signal_noise_ratio(truth[missing], prediction[missing], data_range=255)
        found = psnr(tensor(prediction), tensor(truth), where=tensor(missing))
        assert found.item() == pytest.approx(expected, abs=1e-9)

    def test_identical(self) -> None:
        """Images without a difference have inf."""
        image = tensor(photo(0))
        assert psnr(image, image).item() == math.inf


class TestL1:
    """`l1`."""

    @given(seed=SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_values(self, seed: int) -> None:
        """It is numpy's mean absolute difference over 255, whole and in a region."""
        truth, missing = photo(seed), ~mask_of(seed)
        prediction = damaged(truth, seed)
        difference = np.abs(prediction.astype(float) - truth) / 255
        whole = l1(tensor(prediction), tensor(truth)).item()
        inside = l1(tensor(prediction), tensor(truth), where=tensor(missing)).item()
        assert whole == pytest.approx(difference.mean(), abs=1e-12)
        assert inside == pytest.approx(difference[missing].mean(), abs=1e-12)

    def test_range(self) -> None:
        """Black and white are 1 apart, an image and itself 0."""
        black, white = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 255.0)
        assert (l1(black, white).item(), l1(black, black).item()) == (1, 0)


class TestSsim:
    """`ssim`."""

    @given(seed=SEEDS, size=SIZES, deviation=st.sampled_from([1, 20, 200]))
    @settings(deadline=None, max_examples=25)
    def test_values(self, seed: int, size: tuple[int, int], deviation: float) -> None:
        """It equals scikit-image's, at all sizes from the window's on."""
        truth = photo(seed, *size)
        prediction = damaged(truth, seed, deviation)
        expected = skimage_ssim(prediction, truth)
        found = ssim(tensor(prediction), tensor(truth)).item()
        assert found == pytest.approx(expected, abs=TOLERANCE)

    @pytest.mark.parametrize("name", EXTREMES)
    def test_extremes(self, name: str) -> None:
        """It equals scikit-image's where variances are lost beside means, or greatest."""
        image, value = EXTREMES[name]
        flat = np.full_like(image, value)
        found = ssim(tensor(image), tensor(flat)).item()
        assert found == pytest.approx(skimage_ssim(image, flat), abs=TOLERANCE)

    @given(seed=SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_region(self, seed: int) -> None:
        """In a region it is the mean of scikit-image's map there, at the border too."""
        truth, missing = photo(seed), ~mask_of(seed)
        prediction = damaged(truth, seed)
        expected = skimage_ssim(prediction, truth, full=True)[1][missing].mean()
        found = ssim(tensor(prediction), tensor(truth), where=tensor(missing))
        assert found.item() == pytest.approx(expected, abs=TOLERANCE)

    def test_identical(self) -> None:
        """An image and itself have exactly 1."""
        image = tensor(photo(0))
        assert ssim(image, image).item() == 1

    def test_raises_on_size(self) -> None:
        """An image smaller than the window is refused, as by scikit-image."""
        image = torch.zeros(1, 3, 10, 40)
        with pytest.raises(ShapeError, match="window is 11 px"):
            ssim(image, image)


class TestRegions:
    """`hole` and `around`."""

    def test_hole(self) -> None:
        """It is where the mask is 0, be the mask bool or float."""
        mask = tensor(mask_of(0))
        assert torch.equal(hole(mask), ~mask)
        assert torch.equal(hole(mask.float()), ~mask)

    @given(
        seed=SEEDS, size=st.tuples(st.integers(5, 60), st.integers(5, 60)), width=st.integers(0, 20)
    )
    @settings(deadline=None, max_examples=50)
    def test_around(self, seed: int, size: tuple[int, int], width: int) -> None:
        """It is the hole dilated by a square, as scipy does it."""
        mask = mask_of(seed, *size)
        expected = scipy.ndimage.binary_dilation(~mask, np.ones((2 * width + 1, 2 * width + 1)))
        assert np.array_equal(around(tensor(mask), width)[0, 0].numpy(), expected)

    def test_around_by_default(self) -> None:
        """A hole of one pixel has 33 × 33 around it."""
        mask = torch.ones(1, 1, 64, 64)
        mask[..., 30, 30] = 0
        assert around(mask).sum() == 33 * 33


class TestAll:
    """What holds for every metric alike."""

    @pytest.mark.parametrize("metric", [psnr, ssim, l1])
    def test_empty_region(self, metric: Callable[..., Tensor]) -> None:
        """Over no pixel the mean is nan, for that image only."""
        truth, missing = photo(0), ~mask_of(0)
        where = tensor(missing, np.zeros_like(missing))
        found = metric(tensor(damaged(truth, 0), damaged(truth, 1)), tensor(truth, truth), where)
        assert found.isnan().tolist() == [False, True]

    @pytest.mark.parametrize("metric", [psnr, ssim, l1, psnr_paper, ssim_paper])
    def test_shapes(self, metric: Callable[..., Tensor]) -> None:
        """A batch gives (B,), also for B = 1; a single image a scalar, and the same number."""
        truth = tensor(photo(0), photo(1))
        prediction = tensor(damaged(photo(0), 0), damaged(photo(1), 1))
        batch = metric(prediction, truth)
        assert (batch.shape, batch.dtype) == ((2,), torch.float64)
        assert torch.equal(metric(prediction[:1], truth[:1]), batch[:1])
        assert torch.equal(metric(prediction[1], truth[1]), batch[1])

    @pytest.mark.parametrize("metric", [psnr, ssim, l1, psnr_paper, ssim_paper])
    def test_raises_on_shapes(self, metric: Callable[..., Tensor]) -> None:
        """Images that would only fit by broadcasting, grey ones, and an empty batch are refused."""
        image = torch.zeros(2, 3, 16, 16)
        for other in (image[:1], image[:, :1], image[..., :12], image[0]):
            with pytest.raises(ShapeError, match="wanted"):
                metric(image, other)
        for none in (image[:, :1], image[:0], image[0, 0], torch.zeros(1, 1, 3, 16, 16)):
            with pytest.raises(ShapeError, match="wanted"):
                metric(none, none)

    @pytest.mark.parametrize("metric", [psnr, ssim, l1])
    def test_raises_on_region(self, metric: Callable[..., Tensor]) -> None:
        """A region of another batch, size or number of channels is refused."""
        image = torch.zeros(2, 3, 16, 16)
        for shape in ((1, 1, 16, 16), (2, 3, 16, 16), (2, 1, 16, 15), (2, 16, 16)):
            with pytest.raises(ShapeError, match="with one channel"):
                metric(image, image, torch.ones(shape, dtype=torch.bool))

    @pytest.mark.parametrize("metric", [psnr, ssim, l1])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_precision(self, metric: Callable[..., Tensor], dtype: torch.dtype) -> None:
        """Images and masks of another precision that holds their values give the same."""
        one, other = tensor(photo(0), photo(1)), tensor(photo(2), photo(3))
        where = hole(tensor(mask_of(0), mask_of(1)).to(dtype))
        wanted = metric(one, other, where=where)
        assert torch.equal(metric(one.to(dtype), other.to(dtype), where=where), wanted)

    @pytest.mark.parametrize("metric", [psnr, ssim, l1, psnr_paper, ssim_paper])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_raises_on_values_in_01(
        self, metric: Callable[..., Tensor], dtype: torch.dtype
    ) -> None:
        """Images in 0..1, which would seem to differ by nothing, are refused."""
        one, other = ((tensor(photo(i)) / 255).to(dtype) for i in range(2))
        with pytest.raises(ImageError, match=r"in 0\.\.1; wanted 0\.\.255, so multiply by 255"):
            metric(one, other.requires_grad_())
        with pytest.raises(ImageError, match="multiply by 255"):
            image_metrics(one, other, tensor(mask_of(0)))

    @pytest.mark.parametrize("metric", [psnr, ssim, l1, psnr_paper, ssim_paper])
    def test_raises_on_one_in_01(self, metric: Callable[..., Tensor]) -> None:
        """So is one in 0..1 beside 8-bit values, by its name."""
        inside, bytes_ = tensor(photo(0)) / 255, tensor(photo(1)).byte()
        pairs = {"prediction": (inside, bytes_), "truth": (bytes_, inside)}
        for name, pair in pairs.items():
            with pytest.raises(
                ImageError, match=rf"^{name}: .*in 0\.\.1, beside torch\.uint8 up to"
            ):
                metric(*pair)

    @pytest.mark.parametrize("metric", [psnr, l1])
    def test_dark_images(self, metric: Callable[..., Tensor]) -> None:
        """Images that are black or nearly so in 0..255 are measured, in whatever type they are."""
        black, dark, bright = (torch.full((1, 3, 16, 16), value) for value in (0.0, 0.4, 200.4))
        pairs = [(black, black), (black, black + 1), (dark, black), (black, dark), (dark, bright)]
        for one, other in [*pairs, (dark, black.byte()), (dark - 1, dark)]:
            assert not metric(one, other).isnan()

    @pytest.mark.parametrize("metric", [psnr, ssim, l1, psnr_paper, ssim_paper])
    def test_raises_on_arrays(self, metric: Callable[..., Any]) -> None:
        """What is no tensor is refused by its name and type."""
        image = torch.zeros(2, 3, 16, 16)
        pairs = {
            "prediction: a ndarray": (image.numpy(), image),
            "truth: a ndarray": (image, image.numpy()),
            "prediction: a NoneType": (None, image),
        }
        for words, pair in pairs.items():
            with pytest.raises(ImageError, match=f"^{words}; wanted a torch tensor"):
                metric(*pair)

    def test_raises_on_an_array_as_mask(self) -> None:
        """So is a mask or a region."""
        image = torch.zeros(2, 3, 16, 16)
        mask = np.ones((2, 1, 16, 16), bool)
        for call in (image_metrics, psnr, ssim, l1):
            name = "mask" if call is image_metrics else "region"
            with pytest.raises(ImageError, match=f"^{name}: a ndarray; wanted a torch tensor"):
                call(image, image, mask)  # type: ignore[operator]
        for region in (hole, around):
            with pytest.raises(ImageError, match=r"^mask: a ndarray; wanted a torch tensor"):
                region(mask)  # type: ignore[operator]

    def test_a_gradient_is_no_obstacle(self) -> None:
        """A network's output can be measured as it is."""
        image = torch.zeros(1, 3, 16, 16, requires_grad=True)
        assert not ssim(image, torch.ones(1, 3, 16, 16)).requires_grad


def exactly_wrapped(image: Image) -> Image:
    """Return trunc((v - 255 mean) / std) modulo 256 by fractions."""
    table = np.empty((256, 3), np.uint8)
    for channel, (mean, std) in enumerate(
        (("0.485", "0.229"), ("0.456", "0.224"), ("0.406", "0.225"))
    ):
        for value in range(256):
            table[value, channel] = int((value - 255 * Fraction(mean)) / Fraction(std)) % 256
    return table[image, np.arange(3)]


class TestThePapersWay:
    """`psnr_paper` and `ssim_paper`."""

    def test_every_value(self) -> None:
        """All 256 values of each channel are wrapped as exact arithmetic does it."""
        every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
        for value in (0, 124, 255):
            flat = np.full_like(every, value)
            expected = peak_signal_noise_ratio(exactly_wrapped(flat), exactly_wrapped(every))
            found = psnr_paper(tensor(every), tensor(flat)).item()
            assert found == pytest.approx(expected, abs=1e-9)

    def test_numpy_wraps_alike(self) -> None:
        """It is the notebook's conversion, but where floats just miss a whole number."""
        every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
        normalised = (every / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        theirs = (normalised * 255).astype(np.int64).astype(np.uint8)
        nearest = np.abs(normalised * 255 - np.round(normalised * 255))
        differs = theirs != exactly_wrapped(every)
        assert (nearest[differs] < 1e-9).all()
        assert differs.mean() < 0.01

    @given(seed=SEEDS, size=SIZES)
    @settings(deadline=None, max_examples=25)
    def test_values(self, seed: int, size: tuple[int, int]) -> None:
        """They equal scikit-image's with its defaults, of wrapped images."""
        truth = photo(seed, *size)
        fill = damaged(truth, seed, 5)
        x, y = exactly_wrapped(fill), exactly_wrapped(truth)
        similarity = structural_similarity(x, y, channel_axis=-1, data_range=255)
        assert psnr_paper(tensor(fill), tensor(truth)).item() == pytest.approx(
            peak_signal_noise_ratio(y, x), abs=1e-9
        )
        assert ssim_paper(tensor(fill), tensor(truth)).item() == pytest.approx(
            similarity, abs=TOLERANCE
        )


class TestImageMetrics:
    """`image_metrics`, and with it `region_metrics`."""

    @pytest.fixture
    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Four fills, truths and masks, the last without a hole."""
        truths, masks = [photo(i) for i in range(4)], [mask_of(i) for i in range(4)]
        masks[3][:] = True
        fills = [
            np.where(m[..., None], t, damaged(t, 0)) for t, m in zip(truths, masks, strict=True)
        ]
        return tensor(*fills), tensor(*truths), tensor(*masks)

    def test_values(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Every number is that of its own function."""
        fill, truth, mask = batch
        expected = {"psnr_paper": psnr_paper(fill, truth), "ssim_paper": ssim_paper(fill, truth)}
        for suffix, where in (("", None), ("_hole", hole(mask)), ("_around", around(mask, 16))):
            for metric in (psnr, ssim, l1):
                expected[f"{metric.__name__}{suffix}"] = metric(fill, truth, where)
        found = image_metrics(fill, truth, mask)
        assert found.keys() == expected.keys()
        for name, values in found.items():
            torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-12, equal_nan=True)

    def test_device(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """They are where the images are, also where torch makes its tensors elsewhere."""
        expected = image_metrics(*batch)
        torch.set_default_device("meta")
        try:
            found = image_metrics(*batch)
        finally:
            torch.set_default_device(None)
        for name, values in found.items():
            assert values.device.type == "cpu"
            torch.testing.assert_close(values, expected[name], rtol=0, atol=0, equal_nan=True)

    def test_the_known_pixels_are_right(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Errors lie in the hole: the absolute error there, by its share, is that of the whole."""
        fill, truth, mask = batch
        found = image_metrics(fill, truth, mask)
        share = hole(mask).double().mean(dim=(1, 2, 3))
        torch.testing.assert_close(found["l1"][:3], (share * found["l1_hole"])[:3])
        assert (found["psnr_hole"] < found["psnr_around"])[:3].all()
        assert (found["psnr_around"] < found["psnr"])[:3].all()
        assert found["psnr"][3] == math.inf
        assert found["psnr_hole"][3].isnan()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_batches_and_threads_change_no_digit(
        self, batch: tuple[Tensor, Tensor, Tensor], threads: int
    ) -> None:
        """One by one or together, on one thread or two, the numbers have the same bits."""
        together = image_metrics(*batch)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        alone = [image_metrics(*(x[i : i + 1] for x in batch)) for i in range(4)]
        torch.set_num_threads(before)
        for name, values in together.items():
            assert values.numpy().tobytes() == torch.cat([a[name] for a in alone]).numpy().tobytes()

    def test_layout_and_type_change_no_digit(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Uint8 or float, channels first or last in memory: the same bits."""
        fill, truth, mask = batch
        expected = image_metrics(fill, truth, mask)
        found = image_metrics(fill.contiguous().float(), truth.float(), mask.float())
        for name, values in expected.items():
            assert values.numpy().tobytes() == found[name].numpy().tobytes()

    def test_of_one_image(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Without a batch dimension each number is a scalar."""
        together = image_metrics(*batch)
        single = image_metrics(*(x[1] for x in batch))
        assert all(torch.equal(values, together[name][1]) for name, values in single.items())


class TestTensors:
    """What runs on a device instead of numpy and OpenCV."""

    def test_the_same_maps(self) -> None:
        """Torch's convolutions give the similarities that OpenCV's filter gives."""
        x, y = (tensor(i, i[::-1])[:, :, :13].float() for i in (photo(0), damaged(photo(0), 0)))
        for window in (metrics.WANG, metrics.SKIMAGE_DEFAULT):
            by_torch = metrics._similarities(x, y, window)
            for i in range(2):
                by_opencv = metrics._similarities(x[i].numpy(), y[i].numpy(), window)
                np.testing.assert_allclose(by_torch[i].numpy(), by_opencv, atol=1e-5)

    def test_the_same_wrapping(self) -> None:
        """Torch wraps values as numpy does."""
        every = torch.arange(256.0).expand(2, 3, 1, 256)
        by_torch = metrics._wrapped(every)
        assert np.array_equal(by_torch[0].numpy(), metrics._wrapped(every[0].numpy()))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_cuda(self) -> None:
        """A CUDA device gives the CPU's numbers."""
        truth, mask = tensor(photo(0), photo(1)), tensor(mask_of(0), mask_of(1))
        fill = tensor(damaged(photo(0), 0), damaged(photo(1), 1))
        found = image_metrics(fill.cuda(), truth.cuda(), mask.cuda())
        assert torch.equal(around(mask.cuda()).cpu(), around(mask))
        for name, values in image_metrics(fill, truth, mask).items():
            torch.testing.assert_close(found[name].cpu(), values, atol=TOLERANCE, rtol=0)
