"""Training images from photographs: flip, rotation, resized crop and colour jitter.

The four operations are two affine maps. Flip, rotation, crop and resize are one map of positions,
so a picture is resampled once; brightness, contrast, saturation and hue are one map of colours,
so it is rounded and clipped once. OpenCV does both: it is several times as fast as the same
operations one after another in torchvision or Pillow.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pconv.images import Pixels
from pconv.resizing import fitted_size, refuse_other_than_8_bits, resize_image

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# RGB to YIQ, in which a hue shift is a rotation of the last two axes (NTSC, 1953).
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@dataclass(frozen=True)
class Ranges:
    """How far the random operations may go.

    Attributes:
        flip_share: Probability of a left-right flip, 0 to 1.
        upside_down_share: Probability of an up-down flip, 0 to 1.
        quarter_turn_share: Probability of a turn by 90 degrees, 0 to 1. With all three at 0.5 each
            of a square's eight symmetries is as likely: worth it where photographs are few.
        rotation_degrees: Most rotation either way, 0 to 45.
        crop_min_share: Least area of the crop, as a share of the largest crop of its shape that
            fits into the rotated photograph, above 0 to 1.
        crop_max_aspect: Most width over height of the crop, or height over width, from 1 on; it
            is squeezed into a square.
        brightness: Most relative change of brightness, 0 to 1.
        contrast: Most relative change of contrast, 0 to 1.
        saturation: Most relative change of saturation, 0 to 1.
        hue_turns: Most shift of the hue, in turns of the colour circle, 0 to 0.5.
    """

    flip_share: float = 0.5
    upside_down_share: float = 0.0
    quarter_turn_share: float = 0.0
    rotation_degrees: float = 15.0
    crop_min_share: float = 0.5
    crop_max_aspect: float = 1.1
    brightness: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.15
    hue_turns: float = 0.02


@dataclass(frozen=True)
class Variant:
    """One draw of the operations, independent of the photograph it is applied to.

    Attributes:
        flip: Whether left and right are swapped.
        upside_down: Whether top and bottom are swapped.
        quarter_turn: Whether rows become columns; with the two flips any turn by 90 degrees.
        angle: Rotation in radians.
        share: Area of the crop over that of the largest one that fits, above 0 to 1.
        aspect: Width over height of the crop.
        across: Horizontal place of the crop, 0 (leftmost possible) to 1 (rightmost).
        down: Vertical place of the crop, 0 (topmost possible) to 1 (lowest).
        brightness: Factor; 1 changes nothing.
        contrast: Factor; 1 changes nothing.
        saturation: Factor; 1 changes nothing.
        hue: Shift in radians.
    """

    flip: bool = False
    upside_down: bool = False
    quarter_turn: bool = False
    angle: float = 0.0
    share: float = 1.0
    aspect: float = 1.0
    across: float = 0.5
    down: float = 0.5
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def augment(rng: np.random.Generator, photo: Pixels, size_px: int, ranges: Ranges) -> Pixels:
    """Return one random variant of a photograph.

    Args:
        rng: Source of all randomness.
        photo: uint8 RGB, shape ``(H, W, 3)``.
        size_px: Side of the result.
        ranges: How far the operations may go.

    Returns:
        uint8 RGB, shape ``(size_px, size_px, 3)``.

    Raises:
        ImageError: If the photograph is not uint8.
    """
    variant = draw_variant(rng, ranges)
    return jitter(warp(photo, variant, size_px), variant)


def draw_variant(rng: np.random.Generator, ranges: Ranges) -> Variant:
    """Draw the operations, always with the same number of draws from ``rng``."""
    flip, share, across, down = rng.random(4)
    rotation, aspect, brightness, contrast, saturation, hue = rng.uniform(-1, 1, 6)
    upside_down, quarter_turn = rng.random(2)
    return Variant(
        flip=bool(flip < ranges.flip_share),
        upside_down=bool(upside_down < ranges.upside_down_share),
        quarter_turn=bool(quarter_turn < ranges.quarter_turn_share),
        angle=math.radians(rotation * ranges.rotation_degrees),
        share=1 - share * (1 - ranges.crop_min_share),
        aspect=ranges.crop_max_aspect**aspect,
        across=across,
        down=down,
        brightness=1 + brightness * ranges.brightness,
        contrast=1 + contrast * ranges.contrast,
        saturation=1 + saturation * ranges.saturation,
        hue=2 * math.pi * hue * ranges.hue_turns,
    )


def reduced(photo: Pixels, side_px: int) -> Pixels:
    """Shrink a photograph until its shorter side is ``side_px``; leave smaller ones alone."""
    if min(photo.shape[:2]) <= side_px:
        return photo
    return resize_image(photo, *fitted_size(photo.shape[0], photo.shape[1], side_px))


def useful_side_px(size_px: int, ranges: Ranges) -> int:
    """Return the shorter side of a photograph from which on more pixels add no detail.

    With it the smallest square crop at the largest rotation still has ``size_px`` pixels a side.
    """
    most = math.radians(ranges.rotation_degrees)
    widening = math.cos(most) + math.sin(most)
    return math.ceil(size_px * widening / math.sqrt(ranges.crop_min_share))


def warp(photo: Pixels, variant: Variant, size_px: int) -> Pixels:
    """Flip, rotate, crop and resize a photograph in one resampling.

    The crop lies within the rotated photograph, so no corner is ever black.

    Args:
        photo: uint8 RGB, shape ``(H, W, 3)``.
        variant: The operations.
        size_px: Side of the result.

    Returns:
        uint8 RGB, shape ``(size_px, size_px, 3)``.

    Raises:
        ImageError: If the photograph is not uint8.
    """
    refuse_other_than_8_bits(photo)
    height, width = photo.shape[:2]
    matrix = crop_matrix(height, width, variant)
    # Area averaging first: cubic interpolation alone would alias where the crop shrinks.
    shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2]))) / size_px
    if shrink > 1:
        photo = resize_image(photo, max(1, round(height / shrink)), max(1, round(width / shrink)))
    matrix *= np.array([[photo.shape[1] / width], [photo.shape[0] / height]])
    # OpenCV 5.0 never returns from mirroring about the only pixel of a side.
    mirrored = cv2.BORDER_REFLECT_101 if min(photo.shape[:2]) > 1 else cv2.BORDER_REFLECT
    return np.asarray(
        cv2.warpAffine(
            photo,
            _between_pixel_centres(matrix, size_px),
            (size_px, size_px),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=mirrored,
        ),
        dtype=np.uint8,
    )


def crop_matrix(height: int, width: int, variant: Variant) -> NDArray[np.float64]:
    """Return the map from the unit square (x, y) to the crop, in pixels of the photograph.

    Args:
        height: Height of the photograph in pixels.
        width: Width of the photograph in pixels.
        variant: The operations.

    Returns:
        Shape ``(2, 3)``: the images of the unit vectors and of the upper left corner. The whole
        crop lies within ``0 <= x <= width, 0 <= y <= height``.
    """
    cos, sin = math.cos(variant.angle), math.sin(variant.angle)
    wide, tall = math.sqrt(variant.aspect), 1 / math.sqrt(variant.aspect)
    # The upright box around the rotated crop decides whether it fits.
    box = np.array([wide * abs(cos) + tall * abs(sin), wide * abs(sin) + tall * abs(cos)])
    scale = min(width / box[0], height / box[1]) * math.sqrt(variant.share)
    room = np.array([width, height]) - scale * box
    center = scale * box / 2 + room * [variant.across, variant.down]
    right = scale * wide * np.array([cos, sin]) * (-1 if variant.flip else 1)
    downward = scale * tall * np.array([-sin, cos]) * (-1 if variant.upside_down else 1)
    if variant.quarter_turn:
        right, downward = downward, right
    return np.stack([right, downward, center - right / 2 - downward / 2], axis=1)


def jitter(image: Pixels, variant: Variant) -> Pixels:
    """Change brightness, contrast, saturation and hue in one affine map of colours.

    Brightness, contrast and saturation are those of torchvision: a blend with black, with the
    mean grey and with each pixel's own grey. The hue is turned about the grey axis.

    Args:
        image: uint8 RGB, shape ``(H, W, 3)``.
        variant: The operations.

    Returns:
        uint8 RGB, shape ``(H, W, 3)``.

    Raises:
        ImageError: If the image is not uint8.
    """
    refuse_other_than_8_bits(image)
    saturate = variant.saturation * np.eye(3) + (1 - variant.saturation) * _LUMA
    colours = variant.brightness * variant.contrast * _hue_matrix(variant.hue) @ saturate
    mean_grey = variant.brightness * float(_LUMA @ cv2.mean(image)[:3])
    # Saturation and hue leave grey alone, so the offset by contrast stays as it is.
    offset = np.full((3, 1), (1 - variant.contrast) * mean_grey)
    return np.asarray(cv2.transform(image, np.hstack([colours, offset])), dtype=np.uint8)


def _hue_matrix(angle: float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.linalg.inv(_YIQ) @ turn @ _YIQ


def _between_pixel_centres(matrix: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """Turn a map from the unit square to photo coordinates into one between pixel indices.

    Pixel i covers i to i + 1, so its centre is at i + 1/2 on both sides.
    """
    linear = matrix[:, :2] / size_px
    return np.hstack([linear, matrix[:, 2:] + linear.sum(axis=1, keepdims=True) / 2 - 0.5])
