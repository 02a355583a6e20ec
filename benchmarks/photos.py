"""How close fills come on photographs of full size, and on flat colours.

The pipeline's table is of photographs made small. Somebody's own photograph is larger than a
network's window, so that a window shows little of it, and that smooth. Here the photographs inside
scikit-image and scikit-learn, as they are, lose a square of each quarter; and pictures of one
colour lose the same squares, where whatever comes back but that colour is a tint.

    python -m benchmarks.photos
    python -m benchmarks.photos --weights weights/pconv.safetensors models/pconv/last.safetensors
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import hole_psnr
from benchmarks.record import Table, add_json_option, finish
from pconv.baselines import METHODS
from pconv.images import read_image
from pconv.inpainting import Inpainter
from workflow.sources.sample import embedded_photographs

SHIPPED = Path("weights/pconv.safetensors")
SIDES_PX = (16, 32, 64, 96)
FLAT_PX = 384

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Fill = Callable[[Pixels, Mask], Pixels]
Measure = Callable[[Pixels, Pixels, Mask], float]  # of a fill, the truth and the mask


def photographs() -> list[Pixels]:
    """Return the embedded photographs, uint8 ``(H, W, 3)``; the weights that ship saw none."""
    found = embedded_photographs()
    return [read_image(photo.file) for photo in (*found.train, *found.valid)]


def flat_pictures() -> list[Pixels]:
    """Return pictures of one colour each, 27 colours from dark to light."""
    levels = (32, 128, 224)
    return [
        np.full((FLAT_PX, FLAT_PX, 3), colour, np.uint8)
        for colour in itertools.product(levels, repeat=3)
    ]


def four_squares(rng: np.random.Generator, height: int, width: int, side: int) -> Mask:
    """Return a mask with a square hole somewhere in each quarter of a picture."""
    known = np.ones((height, width), bool)
    for top, left in itertools.product((0, height // 2), (0, width // 2)):
        y = top + rng.integers(height // 2 - side + 1)
        x = left + rng.integers(width // 2 - side + 1)
        known[y : y + side, x : x + side] = False
    return known


def damaged(pictures: Iterable[Pixels], side: int) -> list[tuple[Pixels, Mask]]:
    """Return pictures and their masks, the same in every run."""
    rng = np.random.default_rng(side)
    return [(picture, four_squares(rng, *picture.shape[:2], side)) for picture in pictures]


def offset(filled: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the mean distance from the truth in the hole, in levels of 255."""
    return float(np.abs(filled[~mask].astype(float) - truth[~mask]).mean())


def table(
    title: str, pictures: list[Pixels], ways: dict[str, Fill], measure: Measure, digits: int
) -> Table:
    """Return the mean of a measure for each way to fill, a row, and each size of hole, a column."""
    pairs = {side: damaged(pictures, side) for side in SIDES_PX}
    rows = []
    for name, fill in ways.items():
        means = (
            statistics.fmean(measure(fill(picture, mask), picture, mask) for picture, mask in some)
            for some in pairs.values()
        )
        rows.append((name, *(f"{mean:.{digits}f}" for mean in means)))
    heading = ("method", *(f"holes of {side} px" for side in pairs))
    return Table(heading, rows, title=f"{title} ({len(pictures)} pictures)")


def main(argv: list[str] | None = None) -> None:
    """Fill everything with every method and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="*", default=[SHIPPED])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    add_json_option(parser)
    options = parser.parse_args(argv)
    ways: dict[str, Fill] = {name: Inpainter(method=name) for name in options.methods}
    for path in options.weights:
        ways[str(path)] = Inpainter(weights=path, device="cpu")
        ways[f"{path}, mean of four flips"] = Inpainter(weights=path, device="cpu", mirror=True)
    flat = flat_pictures()
    tables = [
        table("PSNR in the hole, dB, of photographs", photographs(), ways, hole_psnr, 2),
        table("Distance from a flat picture's colour, levels of 255", flat, ways, offset, 1),
    ]
    finish(
        "benchmarks.photos",
        tables,
        packages=["torch", "opencv-python-headless", "scikit-image"],
        out=options.json,
        argv=argv,
    )


if __name__ == "__main__":
    main()
