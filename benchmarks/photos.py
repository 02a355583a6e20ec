"""How close fills come on photographs of full size, and on flat colours.

The pipeline's table is of photographs made small. Somebody's own photograph is larger than a
network's window, so that a window shows little of it, and that smooth. Here the photographs inside
scikit-image and scikit-learn, as they are, lose a square of each quarter, or a strip along a
border; and pictures of one colour lose the same, where whatever comes back but that colour is a
tint.

    python -m benchmarks.photos
    python -m benchmarks.photos --holes strips --methods mean telea
    python -m benchmarks.photos --weights weights/pconv.safetensors models/pconv/last.safetensors
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines import hole_psnr
from benchmarks.record import Table, add_json_option, finish
from pconv.baselines import METHODS
from pconv.images import Mask, Pixels, read_image
from pconv.inpainting import Inpainter
from workflow.sources.sample import embedded_photographs

SHIPPED = Path("weights/pconv.safetensors")
SIDES_PX = (16, 32, 64, 96)
FLAT_PX = 384

Fill = Callable[[Pixels, Mask], Pixels]
Measure = Callable[[Pixels, Pixels, Mask], float]  # of a fill, the truth and the mask
Pairs = dict[str, list[tuple[Pixels, Mask]]]  # pictures and masks, by the kind of hole


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


def strip(height: int, width: int, border: str, share: float) -> Mask:
    """Return a mask whose hole is a strip along one border, so wide a share of the picture."""
    known = np.ones((height, width), bool)
    rows, columns = round(share * height), round(share * width)
    hole = {
        "left": np.s_[:, :columns],
        "right": np.s_[:, width - columns :],
        "top": np.s_[:rows],
        "bottom": np.s_[height - rows :],
    }[border]
    known[hole] = False
    return known


def with_squares(pictures: list[Pixels]) -> Pairs:
    """Return pictures and their masks for each size of squares, the same in every run."""
    pairs = {}
    for side in SIDES_PX:
        rng = np.random.default_rng(side)
        masks = [four_squares(rng, *picture.shape[:2], side) for picture in pictures]
        pairs[f"holes of {side} px"] = list(zip(pictures, masks, strict=True))
    return pairs


def with_strips(pictures: list[Pixels]) -> Pairs:
    """Return pictures and their masks for strips of a quarter and of half, at each border."""
    return {
        f"{border} {name}": [(one, strip(*one.shape[:2], border, share)) for one in pictures]
        for name, share in (("quarter", 0.25), ("half", 0.5))
        for border in ("left", "right", "top", "bottom")
    }


HOLES = {"squares": with_squares, "strips": with_strips}


def offset(filled: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the mean distance from the truth in the hole, in levels of 255."""
    return float(np.abs(filled[~mask].astype(float) - truth[~mask]).mean())


def table(title: str, pairs: Pairs, ways: dict[str, Fill], measure: Measure, digits: int) -> Table:
    """Return the mean of a measure for each way to fill, a row, and each kind of hole, a column."""
    rows = []
    for name, fill in ways.items():
        means = (
            statistics.fmean(measure(fill(picture, mask), picture, mask) for picture, mask in some)
            for some in pairs.values()
        )
        rows.append((name, *(f"{mean:.{digits}f}" for mean in means)))
    count = len(next(iter(pairs.values())))
    return Table(("method", *pairs), rows, title=f"{title} ({count} pictures)")


def main(argv: list[str] | None = None) -> None:
    """Fill everything with every method and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="*", default=[SHIPPED])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--holes", choices=HOLES, default="squares")
    add_json_option(parser)
    options = parser.parse_args(argv)
    fills = partial(Inpainter, allow_large_holes=True)  # half a picture
    ways: dict[str, Fill] = {name: fills(method=name) for name in options.methods}
    for path in options.weights:
        ways[str(path)] = fills(weights=path, device="cpu")
        ways[f"{path}, mean of four flips"] = fills(weights=path, device="cpu", mirror=True)
    damaged = HOLES[options.holes]
    photos, flat = damaged(photographs()), damaged(flat_pictures())
    tables = [
        table("PSNR in the hole, dB, of photographs", photos, ways, hole_psnr, 2),
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
