"""PatchMatch inpainting: the hole is filled with patches found in the rest of the picture.

Barnes et al. 2009, "PatchMatch: A Randomized Correspondence Algorithm for Structural Image
Editing", finds for every patch that touches the hole a similar patch that lies wholly in known
pixels: by handing good matches on to neighbours (propagation) and by guessing around the best
match so far (random search). Wexler et al. 2007, "Space-Time Completion of Video", turns such a
field of matches into a picture: every patch votes for the pixels it covers, and search and vote
alternate from a coarse picture to the fine one.

Why this is own code: PyPatchMatch 2.2 (MIT, with wheels) is the one library that is kept. Tried
at this patch size, it blends its votes (6 to 71 % of the filled colours occurred among the known
pixels of photographs), restored 0 to 39 % of a repeating texture, and has one random seed for the
whole process. Here known pixels are copied, such a texture comes back, and the seed is an argument.

In masks 1 (True) is a known pixel and 0 (False) a hole. Patches are compared in integers, and sums
run in a fixed order, so that the same seed gives the same bytes on every processor.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pconv.errors import MaskError
from pconv.images import Mask, Pixels

RADIUS: Final = 3
"""Patches are 7 by 7, as in Barnes et al., wherever the known pixels allow it."""

MIN_SOURCES: Final = 64
"""With fewer patches to copy from than this, smaller patches are used."""

MIN_SIDE_PX: Final = 16
"""No level of the pyramid but the picture itself has a shorter side than this."""

MAX_PEEL_SOURCES: Final = 1000
"""The exhaustive search that first fills the coarsest level looks at no more patches."""

SEARCH_PASSES: Final = 3
"""Passes of propagation and random search between two votes."""

KNOWN_TRUST: Final = 128
"""Weight of a known pixel in patch distances; next to the known pixels a hole weighs an eighth."""

TOLERANCE_QUANTILE: Final = 0.9
"""The patch distance at which a vote counts a quarter is this quantile of all distances."""

NO_MATCH: Final = -1
FAR: Final = 1 << 62

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
State = NDArray[np.uint64]
Place = tuple[int, int]  # row and column


def _compiled(loop: Callable[..., Any]) -> Any:
    """Compile a loop, and keep it on the disk if there is a place for it.

    Every new clone and machine compiles anew, so loops take numbers one by one: what numba makes
    of a slice that is assigned takes longer to compile than all else in a loop.
    """
    try:
        return njit(cache=True, no_cfunc_wrapper=True)(loop)  # no C code calls them
    except RuntimeError:  # neither this folder nor the user's can be written, as in a container
        return njit(no_cfunc_wrapper=True)(loop)


class _Level(NamedTuple):
    """A level of the pyramid; a tuple, because the compiled loops take no other record."""

    image: Pixels  # (H, W, 3), the hole filled as far as it has got
    known: Mask  # (H, W)
    trust: Integers  # (H, W)
    sources: Mask  # (H, W): centres of patches to copy from
    centres: Integers  # (N, 2): row and column of each patch that touches the hole
    radius: int


class _Solution(NamedTuple):
    """A filled level and the field of matches that filled it."""

    image: Pixels  # (H, W, 3)
    field: Integers  # (H, W, 2): row and column of the match, or NO_MATCH
    radius: int


def patchmatch(image: Pixels, mask: Mask, *, seed: int = 0) -> Pixels:
    """Fill the hole with pixels copied from the known part of the picture.

    Only wholly known patches are copied. Where the mask leaves fewer than `MIN_SOURCES` of 7×7
    pixels (dense scratches), patches of 5×5, 3×3 or one pixel are used.

    Args:
        image: Values 0..255, shape ``(H, W, 3)``; what lies under the hole is ignored.
        mask: True where known, shape ``(H, W)``.
        seed: Start of the random search; equal seeds give equal pictures.

    Returns:
        The picture, shape ``(H, W, 3)``: known pixels unchanged, and in the hole only colours
        that occur among the known pixels.

    Raises:
        MaskError: If no pixel is known.
    """
    if not mask.any():
        raise MaskError("mask: no pixel is known (1), so there is nothing to copy; mark some as 1")
    state = _random_state(seed)
    pyramid = _pyramid(np.ascontiguousarray(image), np.ascontiguousarray(mask))
    coarsest = len(pyramid) - 1
    solution = _solve(*pyramid[coarsest], None, state, _rounds(coarsest))
    for steps in reversed(range(coarsest)):
        solution = _solve(*pyramid[steps], solution, state, _rounds(steps))
    return solution.image


def _rounds(steps: int) -> int:
    """Return how often a level is gone over: coarse ones lay out the fill and cost little."""
    return min(3 + 2 * steps, 8)


def _random_state(seed: int) -> State:
    """Spread the seed over 64 bits; xorshift must not start from zero."""
    # int(): integers of numpy have no room for the product.
    return np.array([(int(seed) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 or 1], np.uint64)


def _pyramid(image: Pixels, known: Mask) -> list[tuple[Pixels, Mask]]:
    """Halve until the hole is closed, the picture is small, or too little is left to copy from."""
    levels = [(image * known[..., None], known)]
    while not levels[-1][1].all() and min(levels[-1][1].shape) >= 2 * MIN_SIDE_PX:
        coarse = _halve(*levels[-1])
        count = _sources(coarse[1], RADIUS).sum()
        # A scratched picture may have fewer whole patches than that, and more after halving.
        if count < MIN_SOURCES and count <= _sources(levels[-1][1], RADIUS).sum():
            break
        levels.append(coarse)
    return levels


def _halve(image: Pixels, known: Mask) -> tuple[Pixels, Mask]:
    """Average the known pixels of each 2×2 block; a block is known if any of its pixels is."""
    height, width = (-(-side // 2) for side in known.shape)
    margin = [(0, side % 2) for side in known.shape]
    weight = np.pad(known.astype(np.int64), margin)
    values = np.pad(image.astype(np.int64), (*margin, (0, 0))) * weight[..., None]
    count = weight.reshape(height, 2, width, 2).sum((1, 3))[..., None]
    total = values.reshape(height, 2, width, 2, 3).sum((1, 3))
    rounded = (2 * total + count) // np.maximum(2 * count, 1)
    return rounded.astype(np.uint8), count[..., 0] > 0


def _square(radius: int) -> Pixels:
    """Return the window of a patch, for erosion and dilation."""
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _sources(known: Mask, radius: int) -> Mask:
    """Mark the centres of the patches that lie inside the picture and are wholly known."""
    inside = np.pad(known.astype(np.uint8), radius)  # what lies outside is not known
    whole = cv2.erode(inside, _square(radius))
    return whole[radius : radius + known.shape[0], radius : radius + known.shape[1]].astype(bool)


def _centres(known: Mask, radius: int) -> Integers:
    """List the centres of the patches that lie inside the picture and touch the hole."""
    touching = cv2.dilate((~known).astype(np.uint8), _square(radius)) > 0
    return _places(touching & _sources(np.ones_like(known), radius))


def _places(marked: Mask) -> Integers:
    """List marked pixels; in C order, or a single one would need a compilation of its own."""
    return np.ascontiguousarray(np.argwhere(marked))


def _best_radius(known: Mask) -> int:
    """Return the largest patch radius with enough sources, or else the largest with any."""
    counts = [int(_sources(known, radius).sum()) for radius in range(RADIUS + 1)]
    enough = [radius for radius, count in enumerate(counts) if count >= MIN_SOURCES]
    return max(enough or [radius for radius, count in enumerate(counts) if count])


def _trust(known: Mask) -> Integers:
    """Weigh known pixels most, and hole pixels half as much with each step into the hole.

    After Wexler et al. 2007: what lies deep in a hole is known last, so it must not outvote the
    border. Powers of two instead of their 1.3, so that distances stay integers.
    """
    depth = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_C, 3).astype(np.int64)
    return np.where(known, KNOWN_TRUST, (KNOWN_TRUST // 4) >> np.minimum(depth, 5))


def _solve(
    image: Pixels, known: Mask, coarser: _Solution | None, state: State, rounds: int
) -> _Solution:
    """Fill one level of the pyramid: search for patches and vote in turn, then copy."""
    if known.all():
        return _Solution(image, np.full((*known.shape, 2), NO_MATCH), RADIUS)
    radius = _best_radius(known)
    sources, centres = _sources(known, radius), _centres(known, radius)
    level = _Level(image, known, _trust(known), sources, centres, radius)
    level = level._replace(image=_first_image(level, coarser, state))
    field = _first_field(level, coarser, state)
    votes = np.zeros(image.shape)
    for _ in range(rounds):
        cost = _search(level, field, state)
        tolerance = max(float(np.quantile(cost, TOLERANCE_QUANTILE)), 1.0)
        votes = _vote(level, field, cost, tolerance)
        filled = np.where(known[..., None], image, np.rint(votes).astype(np.uint8))
        level = level._replace(image=filled)
    return _Solution(_copy_nearest(level, field, votes), field, radius)


def _first_image(level: _Level, coarser: _Solution | None, state: State) -> Pixels:
    """Fill the hole from the coarser level, or on the coarsest from its border inwards."""
    if coarser is None:
        places = _places(level.sources)
        few = len(places) <= MAX_PEEL_SOURCES
        return _peel(level, places if few else _draw(places, MAX_PEEL_SOURCES, state))
    height, width = level.known.shape
    enlarged = coarser.image.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(level.known[..., None], level.image, enlarged)


def _first_field(level: _Level, coarser: _Solution | None, state: State) -> Integers:
    """Match at random, or twice as far as the coarser level where a source is there."""
    field = np.full((*level.known.shape, 2), NO_MATCH)
    matches = _draw(_places(level.sources), len(level.centres), state)
    if coarser is not None:
        last = np.array(coarser.field.shape[:2]) - 1 - coarser.radius
        below = np.clip(level.centres // 2, coarser.radius, last)
        found = coarser.field[below[:, 0], below[:, 1]]
        moved = np.clip(level.centres + 2 * (found - below), 0, np.array(field.shape[:2]) - 1)
        usable = (found[:, 0] != NO_MATCH) & level.sources[moved[:, 0], moved[:, 1]]
        matches[usable] = moved[usable]
    field[level.centres[:, 0], level.centres[:, 1]] = matches
    return field


@_compiled
def _random_below(state: State, limit: int) -> int:
    """Draw 0..limit-1 with Marsaglia's xorshift64; the state advances in place."""
    bits = state[0]
    bits ^= bits << np.uint64(13)
    bits ^= bits >> np.uint64(7)
    bits ^= bits << np.uint64(17)
    state[0] = bits
    return int((bits >> np.uint64(33)) % np.uint64(limit))


@_compiled
def _draw(places: Integers, count: int, state: State) -> Integers:
    """Draw `count` of the places, with replacement."""
    drawn = np.empty((count, 2), np.int64)
    for i in range(count):
        place = _random_below(state, len(places))
        drawn[i, 0], drawn[i, 1] = places[place, 0], places[place, 1]
    return drawn


@_compiled
def _distance(
    image: Pixels, trust: Integers, target: Place, source: Place, radius: int, bound: int
) -> np.int64:
    """Sum the squared differences of two patches, weighted by trust; stop beyond `bound`."""
    total = np.int64(0)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            y, x = target[0] + dy, target[1] + dx
            square = np.int64(0)
            for channel in range(3):
                other = image[source[0] + dy, source[1] + dx, channel]
                difference = np.int64(image[y, x, channel]) - np.int64(other)
                square += difference * difference
            total += trust[y, x] * square
        if total >= bound:
            return total
    return total


def _peel(level: _Level, places: Integers) -> Pixels:
    """Fill the hole layer by layer from its border, each pixel from the best of the places.

    A layer is the unfilled pixels next to filled ones; only filled pixels are compared.
    """
    image, filled = level.image, level.known
    while not filled.all():
        layer = (cv2.dilate(filled.astype(np.uint8), _square(1)) > 0) & ~filled
        image = _fill_layer(image, filled.astype(np.int64), _places(layer), places, level.radius)
        filled = filled | layer
    return image


@_compiled
def _fill_layer(
    image: Pixels, weights: Integers, layer: Integers, places: Integers, radius: int
) -> Pixels:
    """Fill the pixels of a layer, with weights 1 for filled pixels and 0 for others."""
    height, width = weights.shape
    result = image.copy()
    for k in range(len(layer)):
        y, x = layer[k, 0], layer[k, 1]
        # At the border of the picture the pixel is not the centre of its patch.
        down = min(max(y, radius), height - 1 - radius)
        centre = (down, min(max(x, radius), width - 1 - radius))
        best, match = np.int64(FAR), (0, 0)
        for i in range(len(places)):
            place = (places[i, 0], places[i, 1])
            cost = _distance(image, weights, centre, place, radius, best)
            if cost < best:
                best, match = cost, place
        for channel in range(3):
            value = image[match[0] + y - centre[0], match[1] + x - centre[1], channel]
            result[y, x, channel] = value
    return result


@_compiled
def _search(level: _Level, field: Integers, state: State) -> Integers:
    """Improve the field in place; return each match's distance, in the order of the centres.

    Passes run forwards and backwards in turn. One loop, without functions that take the level:
    passing its arrays on for every candidate doubled the time.
    """
    image, trust, sources, radius = level.image, level.trust, level.sources, level.radius
    height, width = sources.shape
    cost = np.empty(len(level.centres), np.int64)
    for i in range(len(cost)):
        y, x = level.centres[i]
        cost[i] = _distance(image, trust, (y, x), (field[y, x, 0], field[y, x, 1]), radius, FAR)
    for turn in range(SEARCH_PASSES):
        step = 1 - 2 * (turn % 2)
        for k in range(len(cost)):
            i = k if step == 1 else len(cost) - 1 - k
            y, x = level.centres[i]
            match, best = (field[y, x, 0], field[y, x, 1]), cost[i]
            trial, reach = 0, max(height, width)
            while reach > 0 and best > 0:
                if trial < 2:
                    there = _handed_on(field, (y, x), step, trial)
                else:
                    there = _around(match, reach, state)
                    reach //= 2
                trial += 1
                inside = 0 <= there[0] < height and 0 <= there[1] < width
                if there != match and inside and sources[there]:
                    distance = _distance(image, trust, (y, x), there, radius, best)
                    if distance < best:
                        match, best = there, distance
            field[y, x, 0], field[y, x, 1], cost[i] = match[0], match[1], best
    return cost


@_compiled
def _handed_on(field: Integers, target: Place, step: int, axis: int) -> Place:
    """Return the match of the neighbour just visited, moved by one (Barnes et al., 3.2)."""
    up, left = (step, 0) if axis == 0 else (0, step)
    y, x = target[0] - up, target[1] - left
    if 0 <= y < field.shape[0] and 0 <= x < field.shape[1] and field[y, x, 0] != NO_MATCH:
        return field[y, x, 0] + up, field[y, x, 1] + left
    return NO_MATCH, NO_MATCH


@_compiled
def _around(match: Place, reach: int, state: State) -> Place:
    """Draw a place at most `reach` rows and columns from the match (Barnes et al., 3.2)."""
    y = match[0] + _random_below(state, 2 * reach + 1) - reach
    x = match[1] + _random_below(state, 2 * reach + 1) - reach
    return y, x


@_compiled
def _vote(level: _Level, field: Integers, cost: Integers, tolerance: float) -> Floats:
    """Average, for each hole pixel, what the matches of all patches around it say it is.

    The nearer a patch is to known pixels and the better its match, the more it counts. Returns
    shape ``(H, W, 3)``, values 0..255; zero outside the hole.
    """
    height, width = level.known.shape
    reach = range(-level.radius, level.radius + 1)
    votes, weights = np.zeros(level.image.shape), np.zeros(level.known.shape)
    for i in range(len(level.centres)):
        y, x = level.centres[i]
        # No exponential: math libraries differ in its last bit. The root of trust is near
        # Wexler's 1.3 a step, and in thin holes 0.5 dB better than trust itself.
        share = tolerance / (tolerance + cost[i])
        weight = np.sqrt(level.trust[y, x]) * share * share
        for dy in reach:
            for dx in reach:
                if not level.known[y + dy, x + dx]:
                    weights[y + dy, x + dx] += weight
                    for channel in range(3):
                        value = level.image[field[y, x, 0] + dy, field[y, x, 1] + dx, channel]
                        votes[y + dy, x + dx, channel] += weight * value
    for y in range(height):
        for x in range(width):
            if not level.known[y, x]:
                for channel in range(3):
                    votes[y, x, channel] /= weights[y, x]
    return votes


@_compiled
def _copy_nearest(level: _Level, field: Integers, votes: Floats) -> Pixels:
    """Give each hole pixel the one voted value that is nearest to the average of the votes.

    So each value is a known pixel's. The usual choice, the match of the patch centred on the
    pixel, shows seams: on four photographs with five masks it was 0.5 to 1.1 dB worse.
    """
    reach = range(-level.radius, level.radius + 1)
    filled, best = level.image.copy(), np.full(level.known.shape, np.inf)
    for i in range(len(level.centres)):
        y, x = level.centres[i]
        for dy in reach:
            for dx in reach:
                if not level.known[y + dy, x + dx]:
                    distance = 0.0
                    for channel in range(3):
                        value = level.image[field[y, x, 0] + dy, field[y, x, 1] + dx, channel]
                        distance += (votes[y + dy, x + dx, channel] - value) ** 2
                    if distance < best[y + dy, x + dx]:
                        best[y + dy, x + dx] = distance
                        for channel in range(3):
                            value = level.image[field[y, x, 0] + dy, field[y, x, 1] + dx, channel]
                            filled[y + dy, x + dx, channel] = value
    return filled
