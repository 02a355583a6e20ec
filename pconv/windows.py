"""Holes of any size in pictures of any size, filled a window at a time.

A network sees windows of one size. Around each hole lies a window with enough known pixels
around the part it fills; neighbouring windows overlap, and where they do, one is faded into the
other. A hole too thick for a window is filled coarse to fine: what lies deeper in it than the
margin of a window comes from the picture at half the size (and there, if need be, from a
quarter), and counts as known when the rest is filled around it. So the border of a large hole is
filled at full detail, and detail falls with depth, about as fast as evidence does.

Work and memory follow the holes, not the picture, and work is at most that of tiling the picture
and its reduced copies. In masks True is known, False a hole.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pconv.images import Mask

Picture = NDArray[Any]
"""uint8, uint16, or floating point in 0..1."""
Floats = NDArray[np.float32]
WindowFill = Callable[[Floats, Mask], Floats]
"""From windows, 0..1, ``(B, h, w, 3)``, and masks ``(B, h, w)`` to filled windows ``(B, h, w, 3)``.

What lies under holes in the windows is arbitrary, and known pixels of the result are ignored.
"""
Places = NDArray[np.intp]
Window = tuple[slice, slice]  # rows and columns


class Layout(NamedTuple):
    """How windows lie on a picture.

    Attributes:
        size_px: Side of a window; smaller pictures are one window.
        margin_px: Least width of the surroundings a window shows of what it fills, except at the
            border of the picture, and how deep a hole may be without a coarser picture;
            from 1 to less than half of ``size_px``.
        batch: Most windows filled at once.
    """

    size_px: int
    margin_px: int
    batch: int = 1


def fill_holes(image: Picture, known: Mask, fill: WindowFill, layout: Layout) -> Picture:
    """Fill the holes of a picture.

    Args:
        image: uint8, uint16 or floating point in 0..1, shape ``(H, W, 3)``; what lies under holes
            is ignored.
        known: True where known, shape ``(H, W)``, somewhere True.
        fill: Fills windows.
        layout: Size and margin of the windows.

    Returns:
        The picture in the same dtype and shape; known pixels unchanged.
    """
    filled = image.copy()
    deep = _deep(known, layout)
    if deep.any():
        around = _surroundings(deep, layout)
        height, width = (-(-side // 2) for side in deep[around].shape)
        coarse = fill_reduced(image[around], known[around], (height, width), fill, layout)
        paste_enlarged(filled[around], coarse, deep[around])
        known = known | deep
    _fill_near(filled, ~known, fill, layout)
    return filled


def fill_reduced(
    image: Picture, known: Mask, size: tuple[int, int], fill: WindowFill, layout: Layout
) -> Floats:
    """Fill the holes of a reduced picture.

    Args:
        image: As for `fill_holes`.
        known: As for `fill_holes`.
        size: Height and width to reduce to.
        fill: Fills windows.
        layout: Size and margin of the windows.

    Returns:
        The reduced picture without holes, 0..1, shape ``(*size, 3)``.
    """
    return np.asarray(fill_holes(*reduce(image, known, *size), fill, layout))


def reduce(image: Picture, known: Mask, height: int, width: int) -> tuple[Floats, Mask]:
    """Make a picture with holes smaller: each new pixel is the mean of the known ones under it.

    Args:
        image: uint8, uint16 or floating point in 0..1, shape ``(H, W, 3)``.
        known: True where known, shape ``(H, W)``.
        height: New height, at most the old one.
        width: New width, at most the old one.

    Returns:
        The picture, 0..1, shape ``(height, width, 3)``, and its mask: a pixel is known if any
        pixel under it is, so thin holes close.
    """
    weight = known.astype(np.float32)
    share = _resize(weight, height, width, cv2.INTER_AREA)
    # A channel at a time: a 60-megapixel picture in float32 takes 720 MB.
    channels = [
        _resize(as_01(image[..., channel]) * weight, height, width, cv2.INTER_AREA)
        for channel in range(3)
    ]
    smaller_known = share > 0
    smaller = np.stack(channels, axis=-1) / np.where(smaller_known, share, 1)[..., None]
    return smaller.clip(0, 1), smaller_known


def paste_enlarged(image: Picture, coarse: Floats, where: Mask) -> None:
    """Enlarge a picture, 0..1, and put it in place into ``image`` where a mask says so."""
    height, width = where.shape
    for channel in range(3):
        enlarged = _resize(coarse[..., channel], height, width, cv2.INTER_CUBIC)
        image[..., channel][where] = from_01(enlarged[where], image.dtype)


def as_01(values: Picture) -> Floats:
    """Return uint8, uint16 or floating-point values as float32 in 0..1."""
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def from_01(values: Floats, dtype: np.dtype[Any]) -> Picture:
    """Return values as uint8 or uint16, rounded, or in a floating-point dtype; clip to 0..1."""
    clipped = values.clip(0, 1)
    if np.issubdtype(dtype, np.floating):
        return clipped.astype(dtype)
    return np.rint(clipped * np.float32(np.iinfo(dtype).max)).astype(dtype)


def place_windows(holes: Mask, layout: Layout) -> list[Window]:
    """Cover the holes with windows, in bands from the top, each from the left.

    Each pixel of a hole lies at least ``margin_px`` from the edges of one of the windows, except
    from edges that are the picture's. A window is centred on what it was placed for. Holes that
    fit into one are not cut, unless that took more windows than tiling the whole picture.

    Args:
        holes: True in holes, shape ``(H, W)``.
        layout: Size and margin of the windows.

    Returns:
        Rows and columns of each window, all of one size: ``size_px`` a side, or the picture's
        side where that is smaller.
    """
    reach = tuple(_reach(length, layout) for length in holes.shape)
    tiles = math.prod(-(-length // step) for length, step in zip(holes.shape, reach, strict=True))
    parts, bottoms, rights = _components(holes, *reach)
    windows = list(_placed(holes, layout, parts, bottoms, rights))
    if len(windows) <= tiles:
        return windows
    # With nothing to wait for, each band and each window in it begin where the last one ended.
    return list(_placed(holes, layout, parts, np.zeros_like(bottoms), np.zeros_like(rights)))


def _placed(
    holes: Mask, layout: Layout, parts: NDArray[Any], bottoms: Places, rights: Places
) -> Iterator[Window]:
    """Yield windows that cut no part which ends, by its number, at a row and a column to come."""
    tall, wide = (_reach(length, layout) for length in holes.shape)
    left = holes.copy()
    while (rows := _rows(left)).size:
        top = int(rows[0])
        band = slice(top, top + tall)
        # What this band would cut, and a later one need not, waits for it.
        whole = left[band] & (bottoms[parts[band]] <= band.stop)
        while (columns := _columns(whole)).size:
            first = int(columns[0])
            cell = slice(first, first + wide)
            part = whole[:, cell] & (rights[parts[band, cell]] <= cell.stop)
            window = (
                _centred(top + _rows(part), holes.shape[0], layout.size_px),
                _centred(first + _columns(part), holes.shape[1], layout.size_px),
            )
            left[_inside(window, holes.shape, layout.margin_px)] = False
            whole &= left[band]
            yield window


def _components(holes: Mask, tall: int, wide: int) -> tuple[NDArray[Any], Places, Places]:
    """Number the connected parts of the holes, and say where each ends.

    Returns:
        The number of each pixel's part, shape ``(H, W)``, and by number the row and the column
        after each part's last; 0 for parts that are too large to wait for.
    """
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(holes.view(np.uint8), connectivity=8)
    height, width = boxes[:, cv2.CC_STAT_HEIGHT], boxes[:, cv2.CC_STAT_WIDTH]
    bottoms = np.where(height <= tall, boxes[:, cv2.CC_STAT_TOP] + height, 0)
    rights = np.where(width <= wide, boxes[:, cv2.CC_STAT_LEFT] + width, 0)
    return parts, bottoms, rights


def _rows(mask: Mask) -> Places:
    return np.flatnonzero(mask.any(axis=1))


def _columns(mask: Mask) -> Places:
    return np.flatnonzero(mask.any(axis=0))


def _reach(length: int, layout: Layout) -> int:
    """Return how much of a side of the picture one window fills."""
    return length if length <= layout.size_px else layout.size_px - 2 * layout.margin_px


def _centred(places: Places, length: int, size_px: int) -> slice:
    """Return an interval within ``length`` around the middle of sorted places."""
    middle = (int(places[0]) + int(places[-1]) + 1) // 2
    start = max(0, min(middle - size_px // 2, length - size_px))
    return slice(start, min(start + size_px, length))


def _inside(window: Window, shape: tuple[int, ...], margin_px: int) -> Window:
    """Return a window without its margins; at the border of the picture there are none."""
    rows, columns = (
        slice(
            0 if interval.start == 0 else interval.start + margin_px,
            length if interval.stop == length else interval.stop - margin_px,
        )
        for interval, length in zip(window, shape, strict=True)
    )
    return rows, columns


def _deep(known: Mask, layout: Layout) -> Mask:
    """Mark what lies deeper in a hole than a window can show surroundings of."""
    if max(known.shape) <= layout.size_px:
        return np.zeros_like(known)
    # Windows are square, so depth is counted in steps to any of the eight neighbours.
    depth = cv2.distanceTransform((~known).view(np.uint8), cv2.DIST_C, 3)
    return np.asarray(depth > layout.margin_px)


def _surroundings(deep: Mask, layout: Layout) -> Window:
    """Return the part of a picture that coarser windows around deep places can see."""
    rows, columns = _rows(deep), _columns(deep)
    longest = int(max(np.ptp(rows), np.ptp(columns)))
    reach = max(2 * layout.size_px, longest)
    return (
        slice(max(0, int(rows[0]) - reach), int(rows[-1]) + 1 + reach),
        slice(max(0, int(columns[0]) - reach), int(columns[-1]) + 1 + reach),
    )


def _fill_near(image: Picture, holes: Mask, fill: WindowFill, layout: Layout) -> None:
    """Fill holes in place, none of them deep, in overlapping windows.

    Overlaps are weighted means, kept as running means: all that has to be remembered of the
    windows so far is the sum of their weights.
    """
    total = np.zeros(holes.shape, np.float32)
    for windows in _batches(place_windows(holes, layout), layout.batch):
        shown = as_01(np.stack([image[window] for window in windows]))
        new = fill(shown, np.stack([~holes[window] for window in windows]))
        for window, values in zip(windows, new, strict=True):
            weight = _weight(window, holes.shape, layout.margin_px)
            _fade_in(image[window], values, holes[window], total[window], weight)


def _batches(windows: list[Window], size: int) -> Iterator[list[Window]]:
    for start in range(0, len(windows), size):
        yield windows[start : start + size]


def _fade_in(image: Picture, new: Floats, holes: Mask, total: Floats, weight: Floats) -> None:
    """Move the running mean of the holes towards new values, and add their weight to the total."""
    total += weight
    share = (weight / total)[holes][:, None]
    # Where nothing was filled before, the share is 1, and of what lay there no rounding is left.
    mean = (1 - share) * as_01(image[holes]) + share * new[holes]
    image[holes] = from_01(mean, image.dtype)


def _weight(window: Window, shape: tuple[int, ...], margin_px: int) -> Floats:
    """Return a window's weights: 1 inside, falling to its edges where the picture goes on."""
    rows, columns = (_ramp(*pair, margin_px) for pair in zip(window, shape, strict=True))
    return np.outer(rows, columns)


def _ramp(interval: slice, length: int, margin_px: int) -> Floats:
    count = interval.stop - interval.start
    inwards = (np.arange(count, dtype=np.float32) + 0.5) / margin_px
    ones = np.ones(count, np.float32)
    before = ones if interval.start == 0 else inwards
    after = ones if interval.stop == length else inwards[::-1]
    return np.minimum(np.minimum(before, after), 1)


def _resize(plane: Floats, height: int, width: int, method: int) -> Floats:
    return np.asarray(cv2.resize(plane, (width, height), interpolation=method), dtype=np.float32)
