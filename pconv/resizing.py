"""Other sizes: photographs by area averaging, masks by nearest neighbour, on one geometry.

A mask pixel and the photo pixel beneath it stay together: both resamplers place pixel centres at
half-integers, and both crop the same square. A mask never becomes grey.
"""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pconv.errors import ImageError, ShapeError
from pconv.images import Mask, Pixels

Scalar = TypeVar("Scalar", bound=np.generic)


def resize_image(image: Pixels, height: int, width: int) -> Pixels:
    """Resize a photograph: area averaging where it shrinks, bilinear where it grows.

    Args:
        image: uint8, shape ``(H, W, 3)`` or ``(H, W)``.
        height: Wanted height in pixels, from 1 on.
        width: Wanted width in pixels, from 1 on.

    Returns:
        uint8, shape ``(height, width, 3)`` or ``(height, width)``.

    Raises:
        ImageError: If the image is not uint8.
        ShapeError: If the image has no pixels or the wanted size is not positive.
    """
    refuse_other_than_8_bits(image)
    _check_sizes(image.shape, height, width)
    if image.shape[:2] == (height, width):
        return image.copy()
    # OpenCV's INTER_AREA turns into blocks where it enlarges.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask by nearest neighbour, so that it stays binary.

    Args:
        mask: True where known, bool, shape ``(H, W)``.
        height: Wanted height in pixels, from 1 on.
        width: Wanted width in pixels, from 1 on.

    Returns:
        The mask, bool, shape ``(height, width)``.

    Raises:
        ShapeError: If the mask has no pixels or the wanted size is not positive.
    """
    _check_sizes(mask.shape, height, width)
    rows = _nearest(mask.shape[0], height)
    columns = _nearest(mask.shape[1], width)
    return mask[rows[:, None], columns]


def fit_image(image: Pixels, size_px: int, place: float = 0.5) -> Pixels:
    """Scale a photograph until its shorter side is ``size_px``, then crop a square.

    Args:
        image: uint8, shape ``(H, W, 3)`` or ``(H, W)``.
        size_px: Side of the square in pixels, from 1 on.
        place: Where along the longer side the square lies: 0 its start, 0.5 its middle, 1 its end.

    Returns:
        uint8, shape ``(size_px, size_px, 3)`` or ``(size_px, size_px)``.

    Raises:
        ImageError: If the image is not uint8.
        ShapeError: If the image has no pixels or ``size_px`` is not positive.
    """
    height, width = fitted_size(image.shape[0], image.shape[1], size_px)
    return _square(resize_image(image, height, width), size_px, place).copy()


def fit_mask(mask: Mask, size_px: int, place: float = 0.5) -> Mask:
    """Give a mask the geometry that :func:`fit_image` gives its photograph.

    Args:
        mask: True where known, bool, shape ``(H, W)``.
        size_px: Side of the square in pixels, from 1 on.
        place: Where along the longer side the square lies, as for its photograph.

    Returns:
        The mask, bool, shape ``(size_px, size_px)``.

    Raises:
        ShapeError: If the mask has no pixels or ``size_px`` is not positive.
    """
    height, width = fitted_size(mask.shape[0], mask.shape[1], size_px)
    return _square(resize_mask(mask, height, width), size_px, place).copy()


def fitted_size(height: int, width: int, shorter_px: int) -> tuple[int, int]:
    """Return (height, width) scaled alike until the shorter side is ``shorter_px``.

    Raises:
        ShapeError: If a size is not positive.
    """
    _check_sizes((height, width), shorter_px, shorter_px)
    scale = shorter_px / min(height, width)
    return max(shorter_px, round(height * scale)), max(shorter_px, round(width * scale))


def refuse_other_than_8_bits(image: Pixels) -> None:
    """Refuse values in 0..1, which would all become 0, and 16 bits, of which 8 would be lost.

    Raises:
        ImageError: If the image is not uint8.
    """
    if image.dtype != np.uint8:
        raise ImageError(
            f"image is {image.dtype}, wanted uint8 with values 0..255; convert it first"
        )


def _nearest(old: int, new: int) -> NDArray[np.intp]:
    """Return, for each of ``new`` pixels, the old one its centre lies in."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _square(array: NDArray[Scalar], size_px: int, place: float) -> NDArray[Scalar]:
    top = int((array.shape[0] - size_px) * place)
    left = int((array.shape[1] - size_px) * place)
    return array[top : top + size_px, left : left + size_px]


def _check_sizes(shape: tuple[int, ...], height: int, width: int) -> None:
    if len(shape) < 2 or min(shape[:2]) < 1 or min(height, width) < 1:
        raise ShapeError(
            f"can't resize {shape} to {height}x{width} pixels; wanted at least one pixel a side"
        )
