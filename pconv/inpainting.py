"""Fill the holes of anybody's picture.

>>> from pconv import inpaint
>>> filled = inpaint(photo, mask)                     # the network that ships
>>> filled = inpaint(photo, mask, method="telea")     # no network

In masks True, or 255, is a known pixel and False, or 0, a hole. The result has the type, dtype
and size of the picture, and known pixels come back as they were, bit for bit.
"""

from collections.abc import Sequence
from functools import partial
from typing import Unpack, cast, overload

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from pconv.baselines import INPAINT_RADIUS_PX, wanted_one_of
from pconv.baselines import fill as fill_without_network
from pconv.errors import ParameterError, PConvError, ShapeError
from pconv.images import Mask
from pconv.method_names import METHODS, NETWORK
from pconv.network_fill import SMALLEST_WINDOW_PX, NetworkOptions, Weights, network_fill
from pconv.pictures import Array, Picture, as_array, as_mask, as_rgb, check_range, with_fill
from pconv.windows import (
    Floats,
    Layout,
    WindowFill,
    as_01,
    fill_holes,
    fill_reduced,
    from_01,
    paste_enlarged,
)

AnyMask = Image.Image | ArrayLike  # ArrayLike is what numpy reads: a torch tensor on the CPU, too
Masks = Sequence[AnyMask] | Array | torch.Tensor
Checked = tuple[Array, Mask]  # RGB, and True where known

# Filled at once: 16 windows of 256 px, 4 of 512. A good part of a call's time does not depend on
# how many windows it fills, so larger batches are quicker; memory is what bounds them.
_BATCH_PIXELS = 2**20
# Quick at any size: no windows.
_ANY_SIZE = Layout(size_px=2**31, margin_px=1)
_MEAN = "mean"
_QUICK_METHODS = (_MEAN, "telea", "ns")
# These look no further from a hole than their radius and a pixel more, for slopes. So they are
# given the rectangle around all holes: memory and time follow that, not the picture.
_NEAR_METHODS = ("telea", "ns")
_NEAR_PX = 2 * INPAINT_RADIUS_PX
# Whole up to a megapixel; beyond it their time and memory grow faster than the picture.
_SEARCHING = Layout(size_px=1024, margin_px=128)


class Options(NetworkOptions, total=False):
    """What `inpaint`, `inpaint_batch` and `Inpainter` take besides weights, method and device.

    Attributes:
        window_px: Side of the windows, from 8 on; none for the size of the training images.
            Larger ones show more of the picture, but at a size the network was not trained at.
        max_side: Work out the fill on a copy of the picture reduced to this longer side, and
            enlarge it into the holes; none for full detail.
        allow_large_holes: Accept masks with more hole than known, which else look inverted.
    """

    window_px: int | None
    max_side: int | None
    allow_large_holes: bool


_NETWORK_OPTIONS = tuple(NetworkOptions.__annotations__)
_OPTIONS = tuple(Options.__annotations__)


def inpaint(
    image: Picture,
    mask: AnyMask,
    *,
    weights: Weights | None = None,
    method: str = NETWORK,
    device: str | torch.device | None = None,
    **options: Unpack[Options],
) -> Picture:
    """Fill the holes of a picture of any size.

    Several threads may call it at once, and several processes that are started by ``spawn``. In one
    that is forked after a call torch waits for threads that are not there.

    Args:
        image: A Pillow image (L, LA, RGB, RGBA, I;16), or an array of uint8, uint16, or floating
            point in 0..1, shape ``(H, W)`` or ``(H, W, C)`` with 1 to 4 channels: grey, grey and
            alpha, RGB, RGBA. What lies under holes is ignored, but has to be in range too (0, not
            NaN). Transparent pixels that are known count with the colour that they hide.
        mask: True, 1 or 255 where known, False or 0 in holes; shape ``(H, W)``, or a Pillow image.
            A torch tensor on the CPU serves as well.
        weights: For the network: a file, an MLflow URI (``models:/…``, ``runs:/…``), ``last`` for
            the last training in the current folder, a network (run in evaluation mode; of one
            that is wrapped, as by ``DataParallel`` or `torch.compile`, the network inside), or
            none for what ``PCONV_WEIGHTS`` names, or else the weights that ship.
        method: ``pconv`` for the network, or one of `pconv.baselines.METHODS`, which work in
            8 bits.
        device: ``cpu``, ``cuda``, ``cuda:1``…; none for where the given network is, or else the
            GPU if there is one. A given network is not moved: another device than its is refused.
        options: See `Options`.

    Returns:
        The filled picture: same type, dtype, shape. Known pixels are bit-identical. Alpha stays,
        except that wholly transparent hole pixels become opaque.

    Raises:
        ImageError: If the picture is of another kind or out of range.
        MaskError: If the mask isn't binary, has no known pixel, or looks inverted.
        ShapeError: If mask and picture differ in size.
        WeightsError: If there are no weights, or the file is not one of ours.
        ParameterError: If method, device, an option or a size does not exist, or the weights are
            something else.
    """
    return Inpainter(weights=weights, method=method, device=device, **options)(image, mask)


@overload
def inpaint_batch(
    images: Array,
    masks: Masks,
    *,
    weights: Weights | None = None,
    method: str = NETWORK,
    device: str | torch.device | None = None,
    **options: Unpack[Options],
) -> list[Array]: ...


@overload
def inpaint_batch(
    images: Sequence[Picture],
    masks: Masks,
    *,
    weights: Weights | None = None,
    method: str = NETWORK,
    device: str | torch.device | None = None,
    **options: Unpack[Options],
) -> list[Picture]: ...


@overload  # mypy takes a list of both kinds, written in the call, for one of objects
def inpaint_batch(  # type: ignore[overload-cannot-match]
    images: Sequence[Image.Image | Array],
    masks: Masks,
    *,
    weights: Weights | None = None,
    method: str = NETWORK,
    device: str | torch.device | None = None,
    **options: Unpack[Options],
) -> list[Image.Image | Array]: ...


def inpaint_batch(
    images: Sequence[Picture] | Array,
    masks: Masks,
    *,
    weights: Weights | None = None,
    method: str = NETWORK,
    device: str | torch.device | None = None,
    **options: Unpack[Options],
) -> list[Picture] | list[Array]:
    """Fill several pictures of any sizes; small ones of one size go through the network together.

    Args:
        images: As for `inpaint`; an array ``(B, H, W, C)`` is a sequence too. All are looked at
            before any is filled, so one that is refused costs no work.
        masks: One for each picture; an array ``(B, H, W)`` is a sequence too.
        weights: As for `inpaint`.
        method: As for `inpaint`.
        device: As for `inpaint`.
        options: See `Options`.

    Returns:
        The filled pictures, in order.

    Raises:
        ShapeError: If there are not as many masks as pictures.
        PConvError: As for `inpaint`; of a picture or mask the message begins with its number,
            counted from 0.
    """
    inpainter = Inpainter(weights=weights, method=method, device=device, **options)
    return inpainter.fill_batch(images, masks)


class Inpainter:
    """A method that is ready for many pictures: the network is loaded once.

    Args:
        weights: As for `inpaint`.
        method: As for `inpaint`.
        device: As for `inpaint`.
        options: See `Options`.

    Raises:
        WeightsError: If there are no weights, or the file is not one of ours.
        ParameterError: If method, device, an option or a size does not exist.
    """

    def __init__(
        self,
        *,
        weights: Weights | None = None,
        method: str = NETWORK,
        device: str | torch.device | None = None,
        **options: Unpack[Options],
    ) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise ParameterError(f"there is no option {name!r}{wanted_one_of(_OPTIONS, name)}")
        self.method = method
        self._max_side = _at_least(1, "max_side", options.get("max_side"))
        self._large_holes = options.get("allow_large_holes", False)
        window_px = _at_least(SMALLEST_WINDOW_PX, "window_px", options.get("window_px"))
        self._fill: WindowFill
        if method == NETWORK:
            chosen = {name: value for name, value in options.items() if name in _NETWORK_OPTIONS}
            network = network_fill(weights, device, **cast(NetworkOptions, chosen))
            self._fill = network
            self._layout = _layout(window_px or network.trained_at_px)
        else:
            self._fill = _without_network(method)
            self._layout = _ANY_SIZE if method in _QUICK_METHODS else _SEARCHING
            if window_px:
                self._layout = _layout(window_px)
        self._crops = method in _NEAR_METHODS and not window_px
        self._is_mean = method == _MEAN and not window_px

    def __call__(self, picture: Picture, mask: AnyMask) -> Picture:
        """Fill the holes of one picture; see `inpaint`."""
        rgb, known = self._checked(picture, mask)
        return with_fill(picture, self._filled(rgb, known), known)

    @overload
    def fill_batch(self, pictures: Array, masks: Masks) -> list[Array]: ...

    @overload
    def fill_batch(self, pictures: Sequence[Picture], masks: Masks) -> list[Picture]: ...

    @overload
    def fill_batch(  # type: ignore[overload-cannot-match]  # as for inpaint_batch
        self, pictures: Sequence[Image.Image | Array], masks: Masks
    ) -> list[Image.Image | Array]: ...

    def fill_batch(
        self, pictures: Sequence[Picture] | Array, masks: Masks
    ) -> list[Picture] | list[Array]:
        """Fill the holes of several pictures; see `inpaint_batch`."""
        if len(pictures) != len(masks):
            raise ShapeError(f"{len(pictures)} pictures need as many masks, not {len(masks)}")
        self._check_all(pictures, masks)
        filled: list[Picture] = []
        size = self._layout.batch
        for start in range(0, len(pictures), size):
            # One by one: not every sequence can be sliced, and one may read a slice as a whole.
            numbers = range(start, min(start + size, len(pictures)))
            some = [pictures[number] for number in numbers]
            of_each = zip(some, (masks[number] for number in numbers), strict=True)
            checked = [self._checked(*pair) for pair in of_each]
            results = self._filled_together(checked)
            for picture, result, (_, known) in zip(some, results, checked, strict=True):
                filled.append(with_fill(picture, result, known))
        return filled

    def _check_all(self, pictures: Sequence[Image.Image | Array] | Array, masks: Masks) -> None:
        """Refuse what `_checked` would refuse later, when some are filled, and say which it is.

        What is made in checking is not kept: it would take as much memory as the pictures.
        """
        for number, pair in enumerate(zip(pictures, masks, strict=True)):
            try:
                self._checked(*pair)
            except PConvError as error:
                raise type(error)(f"picture {number}: {error}") from error

    def _checked(self, picture: Image.Image | Array, mask: AnyMask) -> Checked:
        array = as_array(picture)
        known = as_mask(mask, *array.shape[:2], large_holes=self._large_holes)
        check_range(array, known)
        return as_rgb(array), known

    def _filled_together(self, checked: list[Checked]) -> list[Array]:
        """Fill RGB arrays in one go if each is one window and all are of one size."""
        shapes = {known.shape for _, known in checked}
        longest = max(max(shape) for shape in shapes)
        largest = min(self._layout.size_px, self._max_side or longest)
        alone = self._crops or any(self._paints_mean(rgb) for rgb, _ in checked)
        if alone or len(shapes) > 1 or longest > largest:
            return [self._filled(*pair) for pair in checked]
        images, known = zip(*checked, strict=True)
        new = self._fill(np.stack([as_01(image) for image in images]), np.stack(known))
        return [from_01(*pair) for pair in zip(new, (image.dtype for image in images), strict=True)]

    def _paints_mean(self, rgb: Array) -> bool:
        return self._is_mean and rgb.dtype.kind == "u"

    def _filled(self, rgb: Array, known: Mask) -> Array:
        """Fill an RGB array, at reduced size if one is set."""
        height, width = known.shape
        scale = (self._max_side or max(height, width)) / max(height, width)
        if scale >= 1 or known.all():
            if self._paints_mean(rgb):
                return _with_mean(rgb, known)
            if not self._crops:
                return fill_holes(rgb, known, self._fill, self._layout)
            part, filled = _around_holes(known), rgb.copy()
            filled[part] = fill_holes(rgb[part], known[part], self._fill, self._layout)
            return filled
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        filled = rgb.copy()
        coarse = fill_reduced(rgb, known, size, self._fill, self._layout)
        paste_enlarged(filled, coarse, ~known)
        return filled


def _around_holes(known: Mask) -> tuple[slice, slice]:
    """Return the part of a picture that has all holes, and what `_NEAR_METHODS` look at."""
    left, top, width, height = cv2.boundingRect((~known).view(np.uint8))
    return (
        slice(max(0, top - _NEAR_PX), top + height + _NEAR_PX),
        slice(max(0, left - _NEAR_PX), left + width + _NEAR_PX),
    )


def _with_mean(rgb: Array, known: Mask) -> Array:
    """Paint holes as `pconv.baselines.mean` does, without a copy of the picture in float32.

    Args:
        rgb: uint8 or uint16, shape ``(H, W, 3)``.
        known: True where known, somewhere True, shape ``(H, W)``.
    """
    byte = np.dtype(np.uint8)
    # All values there are, in 8 bits, in which the method works.
    in_8_bits = from_01(as_01(np.arange(np.iinfo(rgb.dtype).max + 1, dtype=rgb.dtype)), byte)
    filled = rgb.copy()
    for channel in range(3):
        mean = np.rint(in_8_bits[rgb[..., channel][known]].mean(dtype=np.float64))
        filled[..., channel][~known] = from_01(as_01(mean.astype(byte)), rgb.dtype)
    return filled


def _layout(size_px: int) -> Layout:
    # With 3/16 of a window on either side, 5/8 of it are filled: 160 of 256 pixels.
    return Layout(size_px, max(1, 3 * size_px // 16), max(1, _BATCH_PIXELS // size_px**2))


def check_method(name: str) -> None:
    """Refuse a method that does not exist.

    Raises:
        ParameterError: If there is none of that name.
    """
    if name not in METHODS:
        raise ParameterError(f"method is {name!r}{wanted_one_of(METHODS, name)}")


def _without_network(method: str) -> WindowFill:
    """Return a non-learning method as a fill of windows; it works in 8 bits."""
    check_method(method)
    return partial(_fill_in_8_bits, method)


def _fill_in_8_bits(method: str, images: Floats, known: Mask) -> Floats:
    filled = [
        fill_without_network(method, from_01(image, np.dtype(np.uint8)), mask)
        for image, mask in zip(images, known, strict=True)
    ]
    return as_01(np.stack(filled))


def _at_least(least: int, name: str, value: int | None) -> int | None:
    if value is None:
        return None
    # True is an integer to Python, but no size.
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ParameterError(f"{name} is {value!r}, wanted an integer from {least} on")
    return int(value)  # the square of a numpy.int16 may have no room in one
