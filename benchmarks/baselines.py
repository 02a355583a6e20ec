"""Seconds a picture and hole PSNR of the methods that learn nothing.

Four photographs that ship inside scikit-image and scikit-learn, at 256 x 256 pixels, are damaged
with every kind of mask and filled by every method in turn. The masks of all runs are the same.
PSNR is averaged over photographs, seconds are medians over all fills.

    OMP_NUM_THREADS=1 python -m benchmarks.baselines
    OMP_NUM_THREADS=1 python -m benchmarks.baselines --methods telea patchmatch --rounds 5
"""

import argparse
import statistics
import time
from collections import defaultdict

import cv2
import numpy as np
import skimage
from sklearn.datasets import load_sample_images

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from pconv import masks
from pconv.baselines import METHODS, fill
from pconv.images import Mask, Pixels

SIDE = 256
PEAK = 255


def photographs() -> list[Pixels]:
    """Return the middle squares of four embedded photographs, (256, 256, 3)."""
    whole = [skimage.data.chelsea(), skimage.data.coffee(), *load_sample_images().images]
    return [_middle_square(image) for image in whole]


def _middle_square(image: Pixels) -> Pixels:
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def damages(rounds: int) -> dict[str, list[Mask]]:
    """Return `rounds` masks of each kind; the square in the middle hides a quarter."""
    square = np.ones((SIDE, SIDE), bool)
    square[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = False
    kinds = (
        masks.random_walk,
        masks.strokes,
        masks.rectangles,
        masks.blocks,
        masks.silhouettes,
    )
    drawn = {
        kind.__name__: [kind(np.random.default_rng([0, i]), SIDE, SIDE) for i in range(rounds)]
        for kind in kinds
    }
    return drawn | {"square": [square] * rounds}


def hole_psnr(filled: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the PSNR over hole pixels in decibels."""
    square_error = np.mean((filled[~mask].astype(np.float64) - truth[~mask]) ** 2)
    return 10 * np.log10(PEAK**2 / square_error)


def measure(
    methods: list[str], damaged: dict[str, list[Mask]]
) -> tuple[dict[str, list[float]], dict[tuple[str, str], list[float]]]:
    """Return the CPU seconds of each method, and its PSNR for each kind of mask."""
    seconds: dict[str, list[float]] = defaultdict(list)
    decibels: dict[tuple[str, str], list[float]] = defaultdict(list)
    photos = photographs()
    for name in methods:
        fill(name, photos[0], damaged["square"][0])  # imports and compiles
    for kind, drawn in damaged.items():
        for mask in drawn:
            for photo in photos:
                for name in methods:
                    start = time.process_time()
                    filled = fill(name, photo, mask)
                    seconds[name].append(time.process_time() - start)
                    decibels[name, kind].append(hole_psnr(filled, photo, mask))
    return seconds, decibels


def main() -> None:
    """Read the command line, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rounds", type=whole, default=2, help="masks of each kind")
    add_json_option(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)

    damaged = damages(options.rounds)
    seconds, decibels = measure(options.methods, damaged)
    shares = {kind: np.mean([1 - mask.mean() for mask in drawn]) for kind, drawn in damaged.items()}
    titles = [f"{kind} ({100 * share:.0f} %)" for kind, share in shares.items()]
    rows = []
    for name in options.methods:
        means = [f"{statistics.fmean(decibels[name, kind]):.2f}" for kind in damaged]
        taken = seconds[name]
        rows.append((name, f"{statistics.median(taken):.3f}", f"{max(taken):.3f}", *means))
    finish(
        "benchmarks.baselines",
        [Table(("method", "median s", "longest s", *titles), rows)],
        packages=["numpy", "opencv-python-headless", "scikit-image", "numba"],
        notes=["CPU seconds a picture; hole PSNR in dB for each kind of mask (mean hole share)."],
        out=options.json,
    )


if __name__ == "__main__":
    main()
