"""Hypothesis strategies for masks and photographs, shared by the tests.

Hypothesis draws a seed and the sizes; numpy draws the pixels. So examples are cheap to make and
shrink to small sizes.
"""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

sides = st.integers(8, 40)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def known_masks(
    draw: st.DrawFn, height: int | None = None, width: int | None = None
) -> NDArray[np.bool_]:
    """Draw masks, bool (H, W), True where known, neither empty nor full; sides 8 to 40 if None."""
    rng, tall, wide = _start(draw, height, width)
    mask = rng.random((tall, wide)) < rng.uniform(0.05, 0.95)
    known, hole = rng.permutation(mask.size)[:2]
    mask.flat[known], mask.flat[hole] = True, False
    return mask


@st.composite
def photos(
    draw: st.DrawFn, height: int | None = None, width: int | None = None
) -> NDArray[np.uint8]:
    """Draw photographs, uint8 RGB (H, W, 3), smooth with some noise; sides 8 to 40 if None."""
    rng, tall, wide = _start(draw, height, width)
    y, x = np.mgrid[0:tall, 0:wide]
    waves = rng.uniform(-0.3, 0.3, (3, 3))
    smooth = np.stack([np.sin(a * y + b * x + 9 * c) for a, b, c in waves], axis=2)
    noisy = 127.5 + 110 * smooth + rng.normal(0, 8, smooth.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _start(
    draw: st.DrawFn, height: int | None, width: int | None
) -> tuple[np.random.Generator, int, int]:
    rng = np.random.default_rng(draw(seeds))
    return rng, height or draw(sides), width or draw(sides)
