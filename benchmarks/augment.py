"""How fast training images are made, beside Pillow and torchvision, and how the stage scales.

Two tables: whole runs of the stage in a process pool; and images of 256 x 256
pixels per CPU second on one core, from file to PNG file, both ways in turn. The photographs are
the files in ``RAW/train/``.

    python -m benchmarks.augment --raw data/raw/
    python -m benchmarks.augment --raw data/raw/ --items 1000 50000
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
from PIL import Image

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from benchmarks.stage_runs import SHARDS, cpu_rates, stage_table
from workflow.params import read_params
from workflow.sections import AugmentParams
from workflow.shards import Shard
from workflow.stages.augment import augment_photos, make_variants, training_photos

PRESET = Path("presets/paper.yaml")
VARIANTS = 5  # of a photograph: 7700 images of 1541


def paper_params(images: int) -> AugmentParams:
    """Return the paper's settings for another number of images."""
    return read_params(PRESET).augment.model_copy(update={"images": images})


def usual_way(params: AugmentParams) -> Callable[[Image.Image], Image.Image]:
    """Return the same four operations as torchvision does them, one after another, on Pillow."""
    # Here, not above: the worker processes import this module, and shall stay small.
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    steps: Callable[[Image.Image], Image.Image] = v2.Compose(
        [
            v2.RandomHorizontalFlip(params.flip_share),
            v2.ColorJitter(params.brightness, params.contrast, params.saturation, params.hue_turns),
            v2.RandomRotation(params.rotation_degrees, v2.InterpolationMode.BICUBIC),
            v2.RandomResizedCrop(
                params.size_px,
                (params.crop_min_share, 1.0),
                (1 / params.crop_max_aspect, params.crop_max_aspect),
                v2.InterpolationMode.BICUBIC,
            ),
        ]
    )
    return steps


def rates_table(photos: list[Path], rounds: int) -> Table:
    """Time both ways on the same photographs."""
    params = paper_params(images=len(photos) * VARIANTS)
    transform = usual_way(params)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)

        def theirs(item: int) -> None:
            with Image.open(photos[item // VARIANTS % len(photos)]) as image:
                transform(image.convert("RGB")).save(out / f"{item:06d}.png")

        def ours(number: int) -> None:
            items = range(number * VARIANTS, (number + 1) * VARIANTS)
            make_variants(params, photos[number % len(photos)], items, out)

        rates = cpu_rates({"theirs": (theirs, 3 * VARIANTS), "ours": (ours, 6)}, rounds)
    mine, theirs = rates["ours"] * VARIANTS, rates["theirs"]
    return Table(
        ("from file to PNG file", "images per CPU second", "ratio"),
        [
            ("Pillow and torchvision, one image at a time", f"{theirs:.0f}", "1.0"),
            (
                f"this stage, {VARIANTS} variants a photograph",
                f"{mine:.0f}",
                f"{mine / theirs:.1f}",
            ),
        ],
        title="One core",
    )


def run_stage(raw: Path, items: int, folder: Path) -> None:
    """Make so many images with the paper's settings."""
    shards = [Shard(index, SHARDS) for index in range(SHARDS)]
    augment_photos(paper_params(items), raw=raw, out=folder, shards=shards)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description="Time augmentation and the stage augment.")
    parser.add_argument("--raw", type=Path, required=True, help="folder with train/")
    parser.add_argument("--rounds", type=whole, default=15, help="timed rounds on one core")
    parser.add_argument(
        "--items", type=whole, nargs="*", default=[7700], help="images of stage runs"
    )
    add_json_option(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    tables = [
        # First: a process started later would count torch's memory in this one as its own peak.
        stage_table(partial(run_stage, options.raw), options.items),
        rates_table(training_photos(options.raw), options.rounds),
    ]
    packages = ["numpy", "opencv-python-headless", "torchvision", "pillow"]
    finish("benchmarks.augment", tables, packages=packages, out=options.json)


if __name__ == "__main__":
    main()
