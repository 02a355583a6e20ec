"""How fast masks are drawn, beside the reference scripts' loop, and how the stage scales.

Two tables: masks of 256 x 256 pixels per CPU second on one core, all candidates
in turn; and whole runs of the stage, files written, in a process pool.

    python -m benchmarks.masks
    python -m benchmarks.masks --items 1000 50000
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from benchmarks.stage_runs import SHARDS, cpu_rates, stage_table
from pconv.images import Mask
from pconv.mask_shapes import borders, brush, to_bucket
from pconv.masks import blocks, random_walk, rectangles, silhouettes, strokes
from workflow.params import read_params
from workflow.shards import Shard
from workflow.stages.masks import MaskFolders, make_masks

SIZE = 256
PRESET = Path("presets/paper.yaml")
LOOP = "random walk, one step at a time as in the reference scripts"
WALK = "`random_walk` of the same length (4 directions)"


def reference_walk(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Walk one step at a time and clip each, as the reference scripts do."""
    known = np.ones((height, width), dtype=np.bool_)
    steps = ((0, 1), (0, -1), (1, 0), (-1, 0))
    y, x = int(rng.integers(height)), int(rng.integers(width))
    for move in rng.integers(0, 4, height * width).tolist():
        y = min(max(y + steps[move][0], 0), height - 1)
        x = min(max(x + steps[move][1], 0), width - 1)
        known[y, x] = False
    return known


def short_walk(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Return the library's walk with the reference scripts' settings."""
    return random_walk(rng, height, width, directions=4, steps_per_pixel=1.0)


def bucket(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Return a mask of one of the middle buckets."""
    return to_bucket(rng, height, width, low=0.2, high=0.3)


def drawn(generator: Callable[[np.random.Generator, int, int], Mask]) -> Callable[[int], Mask]:
    """Return a function that draws item i."""
    return lambda item: generator(np.random.default_rng([1, item]), SIZE, SIZE)


def generators_table(rounds: int) -> Table:
    """Time all generators."""
    candidates = {
        LOOP: (drawn(reference_walk), 3),
        WALK: (drawn(short_walk), 60),
        "`random_walk`, defaults": (drawn(random_walk), 60),
        "`strokes`": (drawn(strokes), 200),
        "`rectangles`": (drawn(rectangles), 200),
        "`blocks`": (drawn(blocks), 200),
        "`silhouettes`": (drawn(silhouettes), 100),
        "`brush`": (drawn(brush), 100),
        "`borders`": (drawn(borders), 200),
        "`to_bucket` 0.2 to 0.3": (drawn(bucket), 100),
    }
    rates = cpu_rates(candidates, rounds)
    rows = [(name, f"{rate:.0f}", f"{rate / rates[LOOP]:.0f}") for name, rate in rates.items()]
    return Table(("generator", "masks per CPU second", "times the loop"), rows, title="One core")


def run_stage(items: int, folder: Path) -> None:
    """Make so many training masks, and one for validation, with the paper's settings."""
    params = read_params(PRESET).masks.model_copy(update={"train": items, "valid": 1})
    shards = [Shard(index, SHARDS) for index in range(SHARDS)]
    folders = MaskFolders(folder / "train", folder / "valid", folder / "held_out")
    make_masks(params, folders, shards)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description="Time the mask generators and the stage masks.")
    parser.add_argument("--rounds", type=whole, default=15, help="timed rounds of the generators")
    parser.add_argument(
        "--items", type=whole, nargs="*", default=[7700], help="masks of stage runs"
    )
    add_json_option(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    tables = [generators_table(options.rounds), stage_table(run_stage, options.items)]
    packages = ["numpy", "opencv-python-headless"]
    finish("benchmarks.masks", tables, packages=packages, out=options.json)


if __name__ == "__main__":
    main()
