"""Masks beyond the paper: brush strokes, missing borders, hole-share buckets, given ones varied.

True is a known pixel and False a hole, as in :mod:`pconv.masks`.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pconv.errors import MaskError
from pconv.images import Mask
from pconv.masks import HOLE_SHARES, Shares, redraw
from pconv.resizing import resize_mask

BRUSH_HOLE_SHARES: Shares = (0.02, 0.6)
_MAX_TRIES = 5000
_SHRINK = 0.7  # after a stroke that overshot its bucket

# One stroke; lengths are shares of the mean side.
_MAX_SEGMENTS = 10
_THICKNESS_SHARES: Shares = (0.03, 0.12)
_LENGTH_SHARES: Shares = (0.05, 0.25)
_TURNS: Shares = (0.25 * math.pi, 0.55 * math.pi)


def brush(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    max_strokes: int = 8,
    hole_share: Shares = BRUSH_HOLE_SHARES,
) -> Mask:
    """Draw free-form strokes: bent bands with round joints, as of a broad brush.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        max_strokes: Most strokes.
        hole_share: Least and most share of holes.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """

    def draw() -> Mask:
        canvas = np.zeros((height, width), dtype=np.uint8)
        for _ in range(rng.integers(1, max_strokes, endpoint=True)):
            _draw_stroke(rng, canvas, 1.0)
        return canvas == 0

    return redraw(draw, height, width, hole_share, "brush")


def to_bucket(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    low: float,
    high: float,
    margin_px: int = 0,
) -> Mask:
    """Draw brush strokes until the hole share lies in a bucket, as Liu et al. evaluate.

    The share aimed at is uniform in the bucket. A stroke that overshoots it by more than 1/50 of
    the mask, or leaves the bucket, is taken back and the next ones are smaller, so the search
    ends even in narrow buckets.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        low: The hole share lies above this, 0 to 1.
        high: The hole share is at most this, 0 to 1.
        margin_px: Width of the border that stays known (Liu et al.: 50 at 512 px); 0 for none.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If the bucket is empty, holds no whole number of pixels, does not fit inside
            the margin, or no mask is found.
    """
    pixels = height * width
    least, most = _pixels_within(low, pixels) + 1, min(_pixels_within(high, pixels), pixels - 1)
    inside = max(0, height - 2 * margin_px) * max(0, width - 2 * margin_px)
    if not (0 <= low < high <= 1 and least <= min(most, inside)):
        raise MaskError(
            f"no mask of {height}x{width} pixels with a margin of {margin_px} px has a hole share "
            f"above {low} and up to {high}; wanted 0 <= low < high <= 1 and room inside the margin"
        )
    target = int(rng.integers(least, min(most, inside), endpoint=True))
    most = min(most, target + pixels // 50)
    canvas = np.zeros((height, width), dtype=np.uint8)
    size = 1.0
    for _ in range(_MAX_TRIES):
        tried = canvas.copy()
        # A view: OpenCV clips at its border, so nothing is drawn in the margin.
        _draw_stroke(
            rng, tried[margin_px : height - margin_px, margin_px : width - margin_px], size
        )
        holes = int(np.count_nonzero(tried))
        if target <= holes <= most:
            return tried == 0
        if holes < target:
            canvas = tried
        else:
            size *= _SHRINK
    raise MaskError(
        f"{_MAX_TRIES} strokes and no mask of {height}x{width} pixels with a hole share of "
        f"{target / pixels:.3f} to {high}; wanted a wider bucket or a smaller margin"
    )


def borders(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    hole_share: Shares = HOLE_SHARES,
) -> Mask:
    """Draw strips along one to four borders, as in outpainting, which extends a picture there.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        hole_share: Least and most share of holes.

    Returns:
        True where known, a rectangle of them: bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """
    sides = np.array([height, height, width, width])

    def draw() -> Mask:
        chosen = rng.permutation(4)[: rng.integers(1, 4, endpoint=True)]
        depths = np.zeros(4, dtype=int)
        # Depths add up to the largest share at most, so that few draws are refused.
        shares = rng.uniform(0, hole_share[1] / len(chosen), len(chosen))
        depths[chosen] = np.rint(shares * sides[chosen])
        top, bottom, left, right = depths.tolist()
        known = np.zeros((height, width), dtype=np.bool_)
        known[top : height - bottom, left : width - right] = True
        return known

    return redraw(draw, height, width, hole_share, "borders")


def vary(rng: np.random.Generator, known: Mask, height: int, width: int) -> Mask:
    """Flip, turn by a right angle and crop a given mask at random.

    The mask is scaled by nearest neighbour until it just covers the wanted size.

    Args:
        rng: Source of all randomness.
        known: True where known, bool, shape ``(H, W)``.
        height: Wanted height in pixels, from 1 on.
        width: Wanted width in pixels, from 1 on.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no crop has both holes and known pixels.
    """
    if known.all() or not known.any():
        found = "no hole" if known.all() else "no known pixel"
        raise MaskError(f"the given mask has {found}, and neither has any part of it")

    def draw() -> Mask:
        turned = np.rot90(known, int(rng.integers(4)))
        flipped = turned[:, ::-1] if rng.random() < 0.5 else turned
        scale = max(height / flipped.shape[0], width / flipped.shape[1])
        tall = max(height, round(flipped.shape[0] * scale))
        wide = max(width, round(flipped.shape[1] * scale))
        top = int(rng.integers(tall - height, endpoint=True))
        left = int(rng.integers(wide - width, endpoint=True))
        return resize_mask(flipped, tall, wide)[top : top + height, left : left + width].copy()

    return redraw(draw, height, width, (0.0, 1.0), "variant of a given mask")


def _draw_stroke(rng: np.random.Generator, canvas: NDArray[np.uint8], size: float) -> None:
    """Draw one bent band on the canvas; its turns go right and left in turn."""
    height, width = canvas.shape
    scale = size * (height + width) / 2
    segments = int(rng.integers(1, _MAX_SEGMENTS, endpoint=True))
    turns = rng.uniform(*_TURNS, segments) * np.where(np.arange(segments) % 2, 1, -1)
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(turns)
    moves = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    moves *= scale * rng.uniform(*_LENGTH_SHARES, (segments, 1))
    start = rng.random((1, 2)) * [width, height]
    points = np.concatenate([start, start + np.cumsum(moves, axis=0)])
    thickness = max(1, round(scale * rng.uniform(*_THICKNESS_SHARES)))
    cv2.polylines(canvas, [points.astype(np.int32)], isClosed=False, color=1, thickness=thickness)


def _pixels_within(share: float, pixels: int) -> int:
    """Return the largest number of pixels whose share of all, as it is computed, is no larger."""
    near = math.floor(share * pixels)  # one off where the product is rounded: 0.29 of 100 is 28.99…
    return next(count for count in (near + 1, near, near - 1) if count / pixels <= share)
