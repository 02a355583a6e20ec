"""Time PSNR, SSIM and L1, whole and in the hole, against a loop over scikit-image.

Both take the same pictures in turn, in one process; the table holds medians over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from pconv.metrics import hole, image_metrics, region_metrics

Array = NDArray[np.generic]
Results = dict[str, Array]


def scene(count: int, side: int) -> tuple[Array, Array, Array]:
    """Return fills, truths (uint8, (B, H, W, 3)) and masks (bool, (B, H, W)), a fifth missing."""
    rng = np.random.default_rng(0)
    noise = rng.random((count, side, side, 3), np.float32)
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 3) for picture in noise])
    truths = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    masks = np.ones((count, side, side), bool)
    masks[:, side // 4 : side * 3 // 4, side // 4 : side * 13 // 20] = False
    wrong = np.uint8(np.clip(truths + rng.normal(0, 20, truths.shape), 0, 255))
    return np.where(masks[..., None], truths, wrong), truths, masks


def by_skimage(fills: Array, truths: Array, masks: Array) -> Results:
    """Take the six numbers picture by picture."""
    rows = []
    for fill, truth, mask in zip(fills, truths, masks, strict=True):
        inside = ~mask
        similarity, similarities = structural_similarity(
            fill,
            truth,
            gaussian_weights=True,
            use_sample_covariance=False,
            channel_axis=-1,
            data_range=255,
            full=True,
        )
        difference = np.abs(fill.astype(np.float32) - truth) / 255
        rows.append(
            {
                "psnr": peak_signal_noise_ratio(truth, fill, data_range=255),
                "ssim": similarity,
                "l1": difference.mean(dtype=np.float64),
                "psnr_hole": peak_signal_noise_ratio(truth[inside], fill[inside], data_range=255),
                "ssim_hole": similarities[inside].mean(),
                "l1_hole": difference[inside].mean(dtype=np.float64),
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def timed(
    rounds: int, candidates: dict[str, Callable[[], object]]
) -> dict[str, tuple[float, float]]:
    """Run all candidates in turn, `rounds` times; return median wall and CPU seconds of each."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, candidate in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            candidate()
            if turn:  # the first round warms caches and thread pools up
                taken = (time.perf_counter() - wall, time.process_time() - cpu)
                seconds[name].append(taken)
    return {
        name: (statistics.median(w for w, _ in pairs), statistics.median(c for _, c in pairs))
        for name, pairs in seconds.items()
    }


def main() -> None:
    """Read the command line, time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=whole, default=16, help="pictures in a batch")
    parser.add_argument(
        "--side", type=partial(whole, least=11), default=256, help="their side in px"
    )
    parser.add_argument("--rounds", type=whole, default=15, help="rounds that are timed")
    parser.add_argument("--threads", type=whole, default=2, help="torch's and OpenCV's threads")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    arrays = scene(options.images, options.side)
    fill, truth = (torch.from_numpy(images).permute(0, 3, 1, 2) for images in arrays[:2])
    mask = torch.from_numpy(arrays[2])[:, None]
    regions = {"": None, "_hole": hole(mask)}
    candidates = {
        "scikit-image, picture by picture: 6 numbers": lambda: by_skimage(*arrays),
        "`region_metrics`: the same 6": lambda: region_metrics(fill, truth, regions),
        "`image_metrics`: all 11": lambda: image_metrics(fill, truth, mask),
    }
    medians = timed(options.rounds, candidates)

    ours = region_metrics(fill, truth, regions)
    theirs = by_skimage(*arrays)
    largest = max(float(np.abs(ours[name].numpy() - theirs[name]).max()) for name in theirs)
    first = next(iter(medians.values()))
    rows = []
    for name, taken in medians.items():
        wall, cpu = (1000 * seconds / options.images for seconds in taken)
        ratios = [a / b for a, b in zip(first, taken, strict=True)]
        rows.append((name, f"{wall:.2f}", f"{ratios[0]:.1f}", f"{cpu:.2f}", f"{ratios[1]:.1f}"))
    note = (
        f"{options.images} pictures of {options.side} px, {options.threads} threads. Largest "
        f"difference between the two ways: {largest:.1e}."
    )
    finish(
        "benchmarks.metrics",
        [Table(("", "ms a picture", "ratio", "CPU ms a picture", "ratio"), rows)],
        packages=["torch", "opencv-python-headless", "scikit-image"],
        notes=[note],
        out=options.json,
    )


if __name__ == "__main__":
    main()
