"""Masks drawn at random: the paper's three kinds, transmission errors and object outlines.

In a mask 1 (True) is a known pixel and 0 (False) a hole. Every generator takes its randomness
from ``rng`` alone. None returns an empty or a full mask, nor one whose hole share lies outside
``hole_share``: such a draw is thrown away and drawn again.
"""

import math
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pconv.errors import MaskError
from pconv.images import Mask

Shares = tuple[float, float]

# The paper names no limits. Masks with hardly a hole, or hardly anything known, teach little.
HOLE_SHARES: Shares = (0.05, 0.56)
RECTANGLE_HOLE_SHARES: Shares = (0.05, 0.44)
# From the 5th to the 95th percentile of 5600 and 4900 masks in the challenge's layout.
BLOCK_HOLE_SHARES: Shares = (0.013, 0.115)
SILHOUETTE_HOLE_SHARES: Shares = (0.023, 0.175)
MAX_DRAWS = 1000

# The four moves along an axis come first: a prefix of 4 or 8 moves is a step set.
_MOVES_Y = np.array([-1, 1, 0, 0, -1, -1, 1, 1], dtype=np.int32)
_MOVES_X = np.array([0, 0, -1, 1, -1, 1, -1, 1], dtype=np.int32)


def random_walk(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    directions: Literal[4, 8] = 8,
    steps_per_pixel: float = 1.05,
    brush_px: int = 1,
    hole_share: Shares = HOLE_SHARES,
) -> Mask:
    """Draw the pixels visited by a random walk that is clipped at the border.

    A clipped walk visits the same pixels, in distribution, as a free walk folded at the
    half-integers outside the border, so the whole walk is one cumulative sum. With
    ``directions=4, steps_per_pixel=1`` it is Shinagawa's walk (mean hole share 0.20 at 256 px);
    the defaults have the paper's thicker look (0.28).

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        directions: 4 for moves along the axes, 8 for diagonal ones too.
        steps_per_pixel: Length of the walk over the number of pixels of the mask.
        brush_px: Diameter of the disc that each visited pixel damages.
        hole_share: Least and most share of holes.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """
    steps = max(1, round(steps_per_pixel * height * width))

    def draw() -> Mask:
        moves = rng.integers(0, directions, steps, dtype=np.uint8)
        rows = fold(_walked(rng.integers(height), _MOVES_Y.take(moves)), height)
        columns = fold(_walked(rng.integers(width), _MOVES_X.take(moves)), width)
        known = np.ones(height * width, dtype=np.bool_)
        known[rows * width + columns] = False
        return _thickened(known.reshape(height, width), brush_px)

    return redraw(draw, height, width, hole_share, "random walk")


def fold(positions: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """Fold free positions into ``0 .. length - 1`` at the half-integers -1/2 and length - 1/2."""
    period = 2 * length
    # numpy divides by a constant five times as fast as it takes a remainder.
    wrapped = positions - positions // period * period
    return np.minimum(wrapped, period - 1 - wrapped)


def strokes(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    max_each: int = 20,
    min_thickness_px: int = 3,
    max_thickness_share: float = 0.03,
    hole_share: Shares = HOLE_SHARES,
) -> Mask:
    """Draw lines, filled circles and ellipse arcs, each at least once (Gruber's kind).

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        max_each: Most lines, most circles, most arcs; the three numbers are drawn apart.
        min_thickness_px: Least thickness of lines and arcs and least radius of circles; the most
            thickness holds where it is less (masks below about 50 px).
        max_thickness_share: Most thickness or radius over ``height + width``.
        hole_share: Least and most share of holes.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """
    thickest = max(1, int((height + width) * max_thickness_share))
    thinnest = min(min_thickness_px, thickest)

    def draw() -> Mask:
        lines, circles, arcs = (int(count) for count in rng.integers(1, max_each, 3, endpoint=True))
        canvas = np.zeros((height, width), dtype=np.uint8)
        thickness = rng.integers(thinnest, thickest, lines + circles + arcs, endpoint=True).tolist()
        for (x1, y1, x2, y2), thick in zip(
            _points(rng, lines, height, width), thickness, strict=False
        ):
            cv2.line(canvas, (x1, y1), (x2, y2), 1, thick)
        for (x, y, _, _), radius in zip(
            _points(rng, circles, height, width), thickness[lines:], strict=False
        ):
            cv2.circle(canvas, (x, y), radius, 1, cv2.FILLED)
        angles = rng.integers(3, 180, (arcs, 3), endpoint=True).tolist()
        for (x, y, a, b), (turn, start, end), thick in zip(
            _points(rng, arcs, height, width), angles, thickness[lines + circles :], strict=True
        ):
            cv2.ellipse(canvas, (x, y), (a, b), turn, start, end, 1, thick)
        return canvas == 0

    return redraw(draw, height, width, hole_share, "strokes")


def rectangles(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    max_count: int = 8,
    min_side_share: float = 0.1,
    max_side_share: float = 0.39,
    hole_share: Shares = RECTANGLE_HOLE_SHARES,
) -> Mask:
    """Draw one or more rectangles that may overlap.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        max_count: Most rectangles.
        min_side_share: Least side over the side of the mask.
        max_side_share: Most side over the side of the mask.
        hole_share: Least and most share of holes.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """
    size = np.array([height, width])

    def draw() -> Mask:
        count = rng.integers(1, max_count, endpoint=True)
        shares = rng.uniform(min_side_share, max_side_share, (count, 2))
        sides = np.maximum(1, np.rint(shares * size)).astype(int)
        corners = (rng.random((count, 2)) * (size - sides + 1)).astype(int)
        known = np.ones((height, width), dtype=np.bool_)
        for (top, left), (tall, wide) in zip(corners.tolist(), sides.tolist(), strict=True):
            known[top : top + tall, left : left + wide] = False
        return known

    return redraw(draw, height, width, hole_share, "rectangles")


def blocks(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    side_share: Shares = (0.07, 0.12),
    hole_share: Shares = BLOCK_HOLE_SHARES,
) -> Mask:
    """Draw lost blocks: equal squares on a regular grid, as a transmission error leaves.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        side_share: Least and most side of a block over the shorter side of the mask.
        hole_share: Least and most share of holes; the number of lost blocks is drawn from it.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """

    def draw() -> Mask:
        side = max(1, round(rng.uniform(*side_share) * min(height, width)))
        rows, columns = height // side, width // side
        lost = max(1, round(rng.uniform(*hole_share) * height * width / side**2))
        grid = np.ones(rows * columns, dtype=np.bool_)
        grid[rng.permutation(rows * columns)[:lost]] = False
        known = np.ones((height, width), dtype=np.bool_)
        enlarged = grid.reshape(rows, columns).repeat(side, axis=0).repeat(side, axis=1)
        known[: rows * side, : columns * side] = enlarged
        return known

    return redraw(draw, height, width, hole_share, "blocks")


def silhouettes(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    hole_share: Shares = SILHOUETTE_HOLE_SHARES,
) -> Mask:
    """Draw the outline of one object or two: a rounded body with a head and limbs.

    Args:
        rng: Source of all randomness.
        height: Pixels, from 1 on.
        width: Pixels, from 1 on.
        hole_share: Least and most share of holes; the objects' sizes are drawn from it.

    Returns:
        True where known, bool, shape ``(height, width)``.

    Raises:
        MaskError: If no draw has an allowed share of holes.
    """

    def draw() -> Mask:
        canvas = np.zeros((height, width), dtype=np.uint8)
        objects = 1 + int(rng.random() < 0.25)
        for share in rng.uniform(*hole_share, objects) / objects:
            _draw_object(rng, canvas, math.sqrt(share * height * width / math.pi))
        return canvas == 0

    return redraw(draw, height, width, hole_share, "silhouettes")


def redraw(
    draw: Callable[[], Mask], height: int, width: int, hole_share: Shares, what: str
) -> Mask:
    """Call ``draw`` until its mask has an allowed share of holes and both holes and known pixels.

    Raises:
        MaskError: If :data:`MAX_DRAWS` draws in a row are refused.
    """
    low, high = hole_share
    if height < 1 or width < 1 or height * width < 2:
        raise MaskError(
            f"{what}: a mask of {height}x{width} pixels can't be neither empty nor full; "
            "wanted at least two pixels"
        )
    for _ in range(MAX_DRAWS):
        known = draw()
        holes = known.size - int(np.count_nonzero(known))
        if 0 < holes < known.size and low <= holes / known.size <= high:
            return known
    raise MaskError(
        f"{what}: {MAX_DRAWS} draws of {height}x{width} pixels and none with a hole share from "
        f"{low} to {high}; widen the range or change the generator's other settings"
    )


def _walked(start: np.int64, moves: NDArray[np.int32]) -> NDArray[np.int32]:
    # 32 bits: with 64 the arrays are large enough that fresh pages cost more than the arithmetic.
    return moves.cumsum(dtype=np.int32) + np.int32(start)


def _points(rng: np.random.Generator, count: int, height: int, width: int) -> list[list[int]]:
    """Draw ``count`` pairs (x, y, x, y) of points in the mask."""
    scale = np.array([width, height, width, height])
    return (rng.random((count, 4)) * scale).astype(int).tolist()


def _thickened(known: Mask, brush_px: int) -> Mask:
    if brush_px == 1:
        return known
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (brush_px, brush_px))
    return np.asarray(cv2.erode(known.astype(np.uint8), disc)) > 0


def _draw_object(rng: np.random.Generator, canvas: NDArray[np.uint8], radius: float) -> None:
    """Fill a body of about ``pi * radius**2`` pixels, a head at one end, limbs at the other."""
    center = rng.uniform(0.15, 0.85, 2) * canvas.shape[::-1]
    upright = math.pi / 2 + rng.normal(0, 0.3)
    axis = np.array([math.cos(upright), -math.sin(upright)])  # image rows grow downwards
    stretch = rng.uniform(1.0, 1.7)
    _fill(canvas, _outline(rng, center, radius * 0.8, stretch, upright))
    if rng.random() < 0.7:
        head = center + axis * radius * 0.95 * stretch
        _fill(canvas, _outline(rng, head, radius * rng.uniform(0.3, 0.45), 1.2, upright))
    for _ in range(rng.integers(0, 4, endpoint=True)):
        _draw_limb(rng, canvas, center, -axis * radius * stretch, radius)


def _outline(
    rng: np.random.Generator,
    center: NDArray[np.float64],
    radius: float,
    stretch: float,
    turn: float,
) -> NDArray[np.float64]:
    """Return a wavy ellipse as points (x, y), shape ``(64, 2)``: a few harmonics of the angle."""
    angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    order = np.arange(2, 7)
    waves = rng.normal(0, 0.18, 5) / order**0.7
    ripple = np.cos(angle[:, None] * order + rng.uniform(0, 2 * math.pi, 5)) @ waves
    distance = radius * np.maximum(0.3, 1 + ripple)
    along, across = distance * np.cos(angle) * stretch, distance * np.sin(angle) / stretch
    cos, sin = math.cos(turn), math.sin(turn)
    return center + np.stack([along * cos - across * sin, -along * sin - across * cos], axis=1)


def _draw_limb(
    rng: np.random.Generator,
    canvas: NDArray[np.uint8],
    center: NDArray[np.float64],
    down: NDArray[np.float64],
    radius: float,
) -> None:
    """Draw a bent limb from inside the body towards ``down``, thinner at its end."""
    sideways = np.array([-down[1], down[0]]) * rng.uniform(-0.5, 0.5)
    hip = center + down * rng.uniform(0.2, 0.6) + sideways * 0.6
    knee = hip + down * rng.uniform(0.4, 0.7) + sideways
    foot = knee + down * rng.uniform(0.3, 0.6) + sideways * rng.uniform(-0.5, 0.5)
    thick = radius * rng.uniform(0.2, 0.35)
    for start, end, share in ((hip, knee, 1.0), (knee, foot, 0.75)):
        cv2.line(canvas, _pixel(start), _pixel(end), 1, max(1, round(thick * share)))


def _fill(canvas: NDArray[np.uint8], outline: NDArray[np.float64]) -> None:
    cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 1)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
