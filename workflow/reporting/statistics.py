"""Means over pairs, with bootstrap intervals over photographs.

The pairs of one photograph are not independent, so photographs are drawn, each with all of its
pairs. A mean is always a sum over pairs divided by their number, never a mean of means: a
photograph with more pairs weighs more.

Of few photographs the percentile interval is too narrow: it knows neither that a variance was
estimated nor that it was divided by one too many. Hesterberg's expanded percentiles (2015, "What
teachers should know about the bootstrap") reach further out by what Student's t would. Of very few
that does not help: the draws of three are the range of their means. So there is none below
`MIN_PHOTOS`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit  # scipy.stats takes a second to import

STAGE_NUMBER = 7
LEVEL = 0.95
MIN_PHOTOS = 10

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Estimates:
    """Means of several columns, each with its interval; every field has shape ``(C,)``.

    Attributes:
        mean: Sum over pairs / number of pairs; NaN where there is none.
        low: Lower end of the 95 % interval; NaN where there are fewer than `MIN_PHOTOS`.
        high: Upper end, likewise.
        pairs: Pairs behind the mean.
        photos: Photographs these pairs are of.
    """

    mean: Floats
    low: Floats
    high: Floats
    pairs: Ints
    photos: Ints


def bootstrap_means(
    values: Floats, photos: NDArray[np.str_], *, draws: int, seed: int
) -> Estimates:
    """Return the mean of every column, with its interval over photographs.

    Columns measured on the same photographs see the same draws, so differences between them
    are not blurred by the drawing.

    Args:
        values: One row a pair, NaN where not taken, shape ``(R, C)``.
        photos: The photograph of each row, shape ``(R,)``.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.
    """
    names, index = np.unique(photos, return_inverse=True)
    taken = ~np.isnan(values)
    sums = _sum_by(index, np.where(taken, values, 0.0), len(names))  # (P, C)
    counts = _sum_by(index, taken.astype(np.float64), len(names))
    pairs = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = sums.sum(axis=0) / pairs
    low, high = _intervals(sums, counts, draws, seed)
    present = (counts > 0).sum(axis=0)
    return Estimates(mean, low, high, pairs.astype(np.int64), present.astype(np.int64))


def draw_weights(photos: int, draws: int, seed: int) -> Floats:
    """Return how often each photograph is drawn, shape ``(draws, photos)``; rows sum to photos."""
    rng = np.random.default_rng([seed, STAGE_NUMBER, photos])
    return rng.multinomial(photos, np.full(photos, 1 / photos), size=draws).astype(np.float64)


def _sum_by(index: NDArray[np.intp], values: Floats, groups: int) -> Floats:
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def _intervals(sums: Floats, counts: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Bootstrap columns together that were measured on the same photographs."""
    low, high = np.full((2, sums.shape[1]), np.nan)
    patterns, which = np.unique(counts > 0, axis=1, return_inverse=True)
    for number, present in enumerate(patterns.T):
        if present.sum() < MIN_PHOTOS:
            continue
        columns = np.flatnonzero(which.ravel() == number)
        block = np.ix_(present, columns)
        weights = draw_weights(int(present.sum()), draws, seed)
        # einsum, not BLAS: the same digits with any number of threads.
        drawn = np.einsum("dp,pc->dc", weights, sums[block])
        drawn /= np.einsum("dp,pc->dc", weights, counts[block])
        low[columns], high[columns] = np.quantile(drawn, _ends(int(present.sum())), axis=0)
    return low, high


def _ends(photos: int) -> tuple[float, float]:
    """Return the expanded percentiles between which the interval lies."""
    tail = (1 - LEVEL) / 2
    reach = stdtrit(photos - 1, tail) * math.sqrt(photos / (photos - 1))  # Student's t
    end = float(ndtr(reach))
    return end, 1 - end
