"""How long it takes to fill a hole in a large photo, and how much memory.

Each row is a process of its own, so that its peak memory is its own: it
makes a photo, fills the hole with a randomly initialised full-width network (time does not depend
on what the weights are), and reports. Reading and writing files is not timed.

    python -m benchmarks.fill --megapixels 24 --threads 2
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.arguments import positive, whole
from benchmarks.record import Table, add_json_option, finish
from pconv.images import Mask
from pconv.inpainting import Inpainter
from pconv.mask_shapes import to_bucket
from pconv.unet import PConvUNet
from pconv.weights import save_weights


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """Make a photo-like picture: noise of all sizes."""
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3), np.uint8)
    for side in (8, 64, 512):
        noise = rng.integers(0, 85, (side, side, 3), dtype=np.uint8)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return total


def square(height: int, width: int) -> Mask:
    """One square hole over 2 % of the picture."""
    known = np.ones((height, width), bool)
    side = round((0.02 * height * width) ** 0.5)
    known[height // 2 : height // 2 + side, width // 3 : width // 3 + side] = False
    return known


def brush(height: int, width: int) -> Mask:
    """Free-form strokes over about 2 %, drawn at 1/16 of the size."""
    rng = np.random.default_rng(0)
    known = to_bucket(rng, height // 16, width // 16, low=0.015, high=0.025, margin_px=0)
    enlarged = cv2.resize(known.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return enlarged.astype(bool)


def spots(height: int, width: int) -> Mask:
    """Forty discs over 2 %, all over the picture."""
    rng, holes = np.random.default_rng(0), np.zeros((height, width), np.uint8)
    radius = round((0.02 * height * width / 40 / np.pi) ** 0.5)
    for y, x in rng.random((40, 2)) * [height, width]:
        cv2.circle(holes, (int(x), int(y)), radius, 1, cv2.FILLED)
    return holes == 0


def scratches(height: int, width: int) -> Mask:
    """Lines from edge to edge over about 2 %: the most windows for the area."""
    rng, holes = np.random.default_rng(0), np.zeros((height, width), np.uint8)
    for ends in rng.random((20, 2)):
        line = (int(ends[0] * width), 0), (int(ends[1] * width), height)
        cv2.line(holes, *line, 1, max(1, round(0.001 * width)))
    return holes == 0


HOLES: dict[str, Callable[[int, int], Mask]] = {
    "square": square,
    "brush": brush,
    "spots": spots,
    "scratches": scratches,
}


HEADING = (
    "hole",
    "photo",
    "known pixels kept",
    "share",
    "wall s",
    "CPU s / threads",
    "peak GiB",
)


def measure(options: argparse.Namespace) -> dict[str, float | str]:
    """Fill one hole in this process."""
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    width = round((options.megapixels * 1e6 * 3 / 2) ** 0.5)
    height = round(options.megapixels * 1e6 / width)
    image, known = photo(height, width), HOLES[options.hole](height, width)
    inpainter = Inpainter(weights=options.weights, device=options.device, half=options.half)
    wall, cpu = time.perf_counter(), time.process_time()
    filled = inpainter(image, known)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "hole": options.hole,
        "size": f"{width}x{height}",
        "share": 1 - float(known.mean()),
        "wall": wall,
        "cpu": cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "kept": str(bool((filled[known] == image[known]).all())),
    }


def measure_apart(hole: str, weights: Path) -> dict[str, float | str]:
    """Fill one hole in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fill", *sys.argv[1:]]
    command += ["--hole", hole, "--weights", str(weights)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float | str] = json.loads(done.stdout)
    return result


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=positive, default=24)
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="bfloat16")
    parser.add_argument("--hole", choices=HOLES, help="only this one, and report it as JSON")
    parser.add_argument("--weights", type=Path, help="default: a random full-width network")
    add_json_option(parser)
    options = parser.parse_args()
    if options.hole:
        print(json.dumps(measure(options)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or Path(folder) / "full.safetensors"
        if not options.weights:
            save_weights(weights, PConvUNet(), {"size_px": "256"})
        for hole in HOLES:
            row = measure_apart(hole, weights)
            rows.append(
                (
                    f"{row['hole']}",
                    f"{row['size']}",
                    f"{row['kept']}",
                    f"{row['share']:.1%}",
                    f"{row['wall']:.1f}",
                    f"{float(row['cpu']) / options.threads:.1f}",
                    f"{row['peak']:.2f}",
                )
            )
    finish(
        "benchmarks.fill",
        [Table(HEADING, rows, words=3)],
        packages=["torch", "opencv-python-headless"],
        notes=[f"{options.threads} threads."],
        out=options.json,
    )


if __name__ == "__main__":
    main()
