"""PSNR (eq. 4), SSIM (eq. 5) and L1 of 8-bit RGB images, whole or within a region.

Images are RGB and hold the values 0..255, as uint8 or as floats, shape ``(B, 3, H, W)``; masks are
1 where a pixel is known and 0 in the hole, shape ``(B, 1, H, W)``. Every function returns one
float64 per image, ``(B,)``; given single images, ``(3, H, W)``, and masks, ``(1, H, W)``, a scalar.
The values equal scikit-image's to 1e-4 and better. Floats in 0..1 are refused, but not on a GPU.

A region (`where`, bool, shaped as a mask) without a pixel gives nan. Images that agree in all
pixels asked for have a PSNR of inf.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pconv.errors import ShapeError
from pconv.features import IMAGENET_MEAN, IMAGENET_STD
from pconv.value_range import refuse_01, refuse_arrays

PEAK = 255.0
AROUND_PX = 16
K1, K2 = 0.01, 0.03  # of Wang et al. 2004, which eq. 5 has as c = (K · PEAK)²
GRID = 2.0**24

Plane = NDArray[Any]
# One image as an array (on a CPU), or a batch as a tensor (elsewhere).
Values = TypeVar("Values", Plane, Tensor)


@dataclass(frozen=True)
class Window:
    """What SSIM takes its local means with, along each axis, and the factor of covariances."""

    taps: tuple[float, ...]
    covariance_factor: float = 1.0

    @property
    def radius(self) -> int:
        """Pixels to either side of the centre."""
        return len(self.taps) // 2

    @classmethod
    def gaussian(cls, sigma: float, truncate: float) -> "Window":
        """A normalised Gaussian, cut at `truncate` times `sigma` as scipy cuts it."""
        radius = int(truncate * sigma + 0.5)
        weights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
        return cls(tuple(weight / sum(weights) for weight in weights))

    @classmethod
    def box(cls, side: int) -> "Window":
        """A box with the covariance of a sample, n / (n - 1), for its n pixels."""
        return cls((1 / side,) * side, side**2 / (side**2 - 1))


Smooth = Callable[[Values, Window], Values]
WANG = Window.gaussian(sigma=1.5, truncate=3.5)
SKIMAGE_DEFAULT = Window.box(side=7)


def hole(mask: Tensor) -> Tensor:
    """Return the region of the unknown pixels, bool; raise ImageError if the mask is no tensor."""
    refuse_arrays(mask=mask)
    on_cpu = mask.device.type == "cpu"  # there by numpy, for the reason in `_each_image`
    return torch.from_numpy(_array(mask) == 0) if on_cpu else mask == 0


def around(mask: Tensor, width_px: int = AROUND_PX) -> Tensor:
    """Return the hole and what lies within `width_px` pixels of it, bool.

    The distance is Chebyshev's: each hole pixel brings the square of side 2·`width_px` + 1
    around it. The hole belongs to the region because a ring without it holds known pixels
    only, and these a composite has from the truth. What is no tensor is refused as by `hole`.
    """
    side, region = 2 * width_px + 1, hole(mask)
    if mask.device.type != "cpu":
        return functional.max_pool2d(region.float(), side, stride=1, padding=width_px).bool()
    regions = region.reshape(-1, *mask.shape[-2:]).numpy().view(np.uint8)
    square = np.ones((side, side), np.uint8)
    dilated = np.stack([cv2.dilate(region, square) for region in regions])
    return torch.from_numpy(dilated.view(np.bool_)).view(mask.shape)


@torch.no_grad()
def psnr(prediction: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Return 10 · log10(255² / mean squared error) in dB (eq. 4).

    Args:
        prediction: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255.
        truth: The same shape.
        where: The pixels asked for; by default all.

    Raises:
        ShapeError: If the shapes do not fit together.
        ImageError: If they are no tensors, or in 0..1.
    """
    return _each_image(_psnr, prediction, truth, where)


@torch.no_grad()
def l1(prediction: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the mean absolute error as a share of the range, 0..1.

    Args:
        prediction: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255.
        truth: The same shape.
        where: The pixels asked for; by default all.

    Raises:
        ShapeError: If the shapes do not fit together.
        ImageError: If they are no tensors, or in 0..1.
    """

    def measure(x: Values, y: Values, region: Values | None) -> Tensor:
        return _mean(abs(x - y).sum(-3), region) / (3 * PEAK)

    return _each_image(measure, prediction, truth, where)


@torch.no_grad()
def ssim(prediction: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the mean structural similarity (eq. 5), as Wang et al. 2004 take it.

    The window is a Gaussian of σ = 1.5 px (11×11), covariances are of a population, channels
    are taken one by one and averaged: scikit-image's ``gaussian_weights=True,
    use_sample_covariance=False``.

    Args:
        prediction: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255, sides of 11 px or more.
        truth: The same shape.
        where: The pixels over which the map of similarities is averaged. By default those
            whose window lies inside the image. At the others, which a region may hold, the
            image goes on mirrored.

    Raises:
        ShapeError: If the shapes do not fit together, or the window is larger than the image.
        ImageError: If they are no tensors, or in 0..1.
    """

    def measure(x: Values, y: Values, region: Values | None) -> Tensor:
        return _mean_similarity(_similarities(x, y, WANG), region, WANG)

    return _each_image(measure, prediction, truth, where)


@torch.no_grad()
def psnr_paper(composite: Tensor, truth: Tensor) -> Tensor:
    """Return PSNR as the paper's authors took it, of images that went wrong on the way.

    They left ImageNet's normalisation on, multiplied by 255 and converted to 8 bits, which
    numpy does by cutting the fraction off and keeping the last 8 bits of what is left: value v
    becomes trunc((v - 255 · mean) / std) modulo 256.

    Args:
        composite: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255.
        truth: The same shape.

    Raises:
        ShapeError: If the shapes do not fit together.
        ImageError: If they are no tensors, or in 0..1.
    """
    return _each_image(lambda x, y: _psnr(_wrapped(x), _wrapped(y), None), composite, truth)


@torch.no_grad()
def ssim_paper(composite: Tensor, truth: Tensor) -> Tensor:
    """Return SSIM as the paper's authors took it: as in `psnr_paper`, and in a 7×7 box.

    The box, with the covariance of a sample, is scikit-image's default.

    Args:
        composite: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255, sides of 7 px or more.
        truth: The same shape.

    Raises:
        ShapeError: If the shapes do not fit together, or the box is larger than the image.
        ImageError: If they are no tensors, or in 0..1.
    """

    def measure(x: Values, y: Values) -> Tensor:
        similarities = _similarities(_wrapped(x), _wrapped(y), SKIMAGE_DEFAULT)
        return _mean_similarity(similarities, None, SKIMAGE_DEFAULT)

    return _each_image(measure, composite, truth)


@torch.no_grad()
def region_metrics(
    prediction: Tensor, truth: Tensor, regions: Mapping[str, Tensor | None]
) -> dict[str, Tensor]:
    """Return `psnr`, `ssim` and `l1` in several regions, differences and similarities made once.

    Args:
        prediction: Shape ``(B, 3, H, W)`` or ``(3, H, W)``, values 0..255, sides of 11 px or more.
        truth: The same shape.
        regions: The pixels asked for, None for all, by what is appended to the names.

    Returns:
        One value per image under ``psnr…``, ``ssim…`` and ``l1…`` for each region.

    Raises:
        ShapeError: If the shapes do not fit together, or SSIM's window is larger than the image.
        ImageError: If they are no tensors, or in 0..1.
    """

    def measure(x: Values, y: Values, *wheres: Values | None) -> Tensor:
        difference = x - y
        # Added up over channels first, so that each region costs a third.
        squares, absolutes = (difference * difference).sum(-3), abs(difference).sum(-3)
        similarities = _similarities(x, y, WANG)
        results = []
        for where in wheres:
            results.append(_decibels(_mean(squares, where) / 3))
            results.append(_mean_similarity(similarities, where, WANG))
            results.append(_mean(absolutes, where) / (3 * PEAK))
        return torch.stack(results, dim=-1)

    results = _each_image(measure, prediction, truth, *regions.values())
    names = [f"{metric}{suffix}" for suffix in regions for metric in ("psnr", "ssim", "l1")]
    return dict(zip(names, results.unbind(dim=-1), strict=True))


def image_metrics(composite_u8: Tensor, truth_u8: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return all that is reported of a filled image.

    Args:
        composite_u8: The filled image, ``(B, 3, H, W)``, values 0..255, sides of 11 px or more.
        truth_u8: The undamaged image, the same shape.
        mask: 1 where known, 0 in the hole, ``(B, 1, H, W)``.

    Returns:
        ``psnr``, ``ssim``, ``l1`` of the whole image; the same with ``_hole`` for the hole
        alone and with ``_around`` for the hole and 16 px `around` it; ``psnr_paper`` and
        ``ssim_paper``. Shapes ``(B,)``, float64.

    Raises:
        ShapeError: If the shapes do not fit together, or SSIM's window is larger than the image.
        ImageError: If they are no tensors, or in 0..1.
    """
    regions = {"": None, "_hole": hole(mask), "_around": around(mask)}
    return {
        **region_metrics(composite_u8, truth_u8, regions),
        "psnr_paper": psnr_paper(composite_u8, truth_u8),
        "ssim_paper": ssim_paper(composite_u8, truth_u8),
    }


def _each_image(
    measure: Callable[..., Tensor], prediction: Tensor, truth: Tensor, *regions: Tensor | None
) -> Tensor:
    """Call `measure` with images as floats ``(..., 3, H, W)`` and regions ``(..., H, W)``.

    On a device once, with the whole batch as tensors. On a CPU with one image after the other
    as numpy arrays, which takes a third of the time: an image stays in the cache from the
    first step to the last, and no step waits for threads that other processes hold up.
    """
    _check(prediction, truth, *regions)
    refuse_01(prediction, truth)
    wheres = [None if region is None else region.squeeze(-3) for region in regions]
    if prediction.device.type != "cpu":
        return measure(prediction.float(), truth.float(), *wheres)

    def of_image(i: slice | int) -> Tensor:
        arrays = (None if where is None else where[i].numpy() for where in wheres)
        return measure(_floats(prediction[i]), _floats(truth[i]), *arrays)

    if prediction.ndim == 3:
        return of_image(slice(None))
    return torch.stack([of_image(i) for i in range(len(prediction))])


def _floats(image: Tensor) -> Plane:
    # Channel by channel in memory, whatever they were in: sums over channels are then fast.
    return _array(image).astype(np.float32, order="C")


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor on the CPU as an array; NumPy knows no bfloat16."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _check(prediction: Tensor, truth: Tensor, *regions: Tensor | None) -> None:
    """Raise an error unless these are tensors that fit together."""
    refuse_arrays(prediction=prediction, truth=truth)
    shape, of_regions = tuple(prediction.shape), []
    for region in regions:
        if region is not None:
            refuse_arrays(region=region)
            of_regions.append(tuple(region.shape))
    fits = len(shape) in (3, 4) and shape[-3] == 3 and shape == truth.shape and 0 not in shape
    if not fits or set(of_regions) - {(*shape[:-3], 1, *shape[-2:])}:
        raise ShapeError(
            f"prediction {shape}, truth {tuple(truth.shape)}, regions {of_regions}; wanted "
            "(B, 3, H, W) or (3, H, W) twice, and regions like them with one channel"
        )


def _wrapped(image: Values) -> Values:
    """Return what `psnr_paper` describes, exactly.

    Computed from thousandths, which are whole numbers: for some v the quotient is whole, and a
    rounding error below it would be cut to the number before.
    """
    mean, std = (np.array([IMAGENET_MEAN, IMAGENET_STD]) * 1000).round().astype(np.float32)
    offset, scale = 255 * mean[:, None, None], std[:, None, None]
    if isinstance(image, Tensor):
        shifted = image * 1000 - torch.from_numpy(offset).to(image.device)
        return (shifted / torch.from_numpy(scale).to(image.device)).int().bitwise_and(255).float()
    return (((image * 1000 - offset) / scale).astype(np.int32) & 255).astype(np.float32)


def _total(values: Values) -> Tensor:
    if isinstance(values, Tensor):
        return values.sum((-2, -1), dtype=torch.float64)
    return torch.as_tensor(values.sum((-2, -1), dtype=np.float64), device="cpu")


def _mean(values: Values, where: Values | None) -> Tensor:
    """Average ``(..., H, W)`` over all pixels or those in `where`; over none it is nan."""
    if where is None:
        return _total(values) / (values.shape[-2] * values.shape[-1])
    return _total(values * where) / _total(where)


def _decibels(mean_square: Tensor) -> Tensor:
    return 10 * torch.log10(PEAK**2 / mean_square)


def _psnr(x: Values, y: Values, where: Values | None) -> Tensor:
    difference = x - y
    return _decibels(_mean((difference * difference).sum(-3), where) / 3)


def _mean_similarity(similarities: Values, where: Values | None, window: Window) -> Tensor:
    inside = slice(window.radius, -window.radius)
    return _mean(similarities[..., inside, inside] if where is None else similarities, where)


def _similarities(x: Values, y: Values, window: Window) -> Values:
    """Return the map of eq. 5, averaged over channels: ``(..., 3, H, W)`` to ``(..., H, W)``."""
    if min(x.shape[-2:]) < len(window.taps):
        raise ShapeError(
            f"images of {tuple(x.shape[-2:])} px; SSIM's window is {len(window.taps)} px wide and "
            "must fit into them"
        )
    smooth = _smooth_on_device if isinstance(x, Tensor) else _smooth_on_cpu
    red, green, blue = (
        _similarity(x[..., i, :, :], y[..., i, :, :], smooth, window) for i in range(3)
    )
    mean = (red + green + blue) / 3
    # On a grid fine enough for float32, and coarse enough that sums in float64 are exact: no
    # batch size, number of threads or order of adding changes a digit of the averages.
    return (mean * GRID).round() / GRID


def _smooth_on_cpu(plane: Plane, window: Window) -> Plane:
    taps = np.array(window.taps, np.float32)
    return cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_REFLECT)


def _smooth_on_device(planes: Tensor, window: Window) -> Tensor:
    # Double precision on CUDA: convolutions there may be cut to 10 bits (TF32).
    dtype = torch.float64 if planes.is_cuda else planes.dtype
    taps = torch.tensor(window.taps, dtype=dtype, device=planes.device).view(1, 1, -1, 1)
    rows, columns = (_mirrored(side, window.radius, planes.device) for side in planes.shape[-2:])
    mirrored = planes.to(dtype).unsqueeze(-3)[..., rows, :][..., columns]
    return functional.conv2d(functional.conv2d(mirrored, taps), taps.mT).squeeze(-3)


def _similarity(x: Values, y: Values, smooth: Smooth[Values], window: Window) -> Values:
    """Return the map of eq. 5 for one channel, by way of the sum and difference of the images.

    With s = x + y, d = x - y and variances V, four means suffice instead of five, as
    2 μx μy = (μs² - μd²) / 2, μx² + μy² = (μs² + μd²) / 2, 2 σxy = (Vs - Vd) / 2 and
    σx² + σy² = (Vs + Vd) / 2; and equal images get exactly 1. The middle of the range is taken
    off s, which leaves Vs as it is, and float32 one digit more for it.
    """
    c1, c2 = 2 * (K1 * PEAK) ** 2, 2 * (K2 * PEAK) ** 2
    s, d = x + y - PEAK, x - y
    mean_s, mean_d = smooth(s, window), smooth(d, window)
    square_d = mean_d * mean_d
    variance_s = (smooth(s * s, window) - mean_s * mean_s) * window.covariance_factor
    variance_d = (smooth(d * d, window) - square_d) * window.covariance_factor
    square_s = (mean_s + PEAK) ** 2 + c1
    variance_s += c2
    numerator = (square_s - square_d) * (variance_s - variance_d)
    return numerator / ((square_s + square_d) * (variance_s + variance_d))


def _mirrored(length: int, radius: int, device: torch.device) -> Tensor:
    """Return the indices -radius .. length + radius - 1, folded: 1, 0, 0, 1 and so on."""
    index = torch.arange(-radius, length + radius, device=device)
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= length, 2 * length - 1 - index, index)
