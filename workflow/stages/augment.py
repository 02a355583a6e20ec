"""Stage ``augment``: training images from the training photographs.

python -m workflow.stages.augment --raw data/raw/ --out data/augmented/ --shards 8 [--shard i/8]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pconv.atomic import atomic_folder
from pconv.augment import Ranges, augment, reduced, useful_side_px
from pconv.errors import DataError
from pconv.images import read_image, write_image
from workflow.command import run_command
from workflow.sections import AugmentParams
from workflow.shards import Shard, add_shard_options, chosen_shards, for_each_shard
from workflow.stage_params import nothing, start_stage

STAGE_NUMBER = 2


def augment_photos(
    params: AugmentParams,
    *,
    raw: Path,
    out: Path,
    shards: list[Shard],
    before_writing: Callable[[], None] = nothing,
) -> None:
    """Make the training images of the given shards.

    Image i is a variant of photograph i modulo n, in sorted order, and draws from
    (seed, stage, i) alone. A shard owns whole photographs, so that each is decoded once.

    Args:
        params: The stage's parameters.
        raw: Folder whose ``train/`` holds the photographs.
        out: Receives ``SHARD/ITEM.png``, such as ``0003/000123.png``.
        shards: The shards to make.
        before_writing: Called when a shard is made; what it raises keeps the one before. Picklable.

    Raises:
        DataError: If there are no photographs.
        ImageError: If one of them can't be read.
    """
    photos = training_photos(raw)
    make = partial(make_shard, params, photos, out, before_writing)
    for_each_shard(make, shards, what="augment", folders=[out])


def training_photos(raw: Path) -> list[Path]:
    """Return the training photographs in sorted order.

    Raises:
        DataError: If there are none.
    """
    folder = raw / "train"
    photos = sorted(folder.iterdir()) if folder.is_dir() else []
    if not photos:
        raise DataError(
            f"{folder}: no photographs; wanted at least one: run the stage download first"
        )
    return photos


def make_shard(
    params: AugmentParams,
    photos: list[Path],
    out: Path,
    before_writing: Callable[[], None],
    shard: Shard,
) -> None:
    """Make the images of one shard's photographs."""
    cv2.setNumThreads(1)  # the pool already fills the cores
    with atomic_folder(out / shard.name) as folder:
        wanted = 0
        for number in shard.items(min(len(photos), params.images)):
            items = range(number, params.images, len(photos))
            make_variants(params, photos[number], items, folder)
            wanted += len(items)
        made = sum(1 for _ in folder.glob("*.png"))
        if made != wanted:
            raise DataError(f"{out / shard.name}: {made} images made; wanted {wanted}; run again")
        before_writing()


def make_variants(params: AugmentParams, photo: Path, items: range, folder: Path) -> None:
    """Write the images that are variants of one photograph, which is read once."""
    ranges = ranges_of(params)
    side_px = useful_side_px(params.size_px, ranges)
    pixels = reduced(read_image(photo, min_side=side_px), side_px)
    for item in items:
        rng = np.random.default_rng([params.seed, STAGE_NUMBER, item])
        write_image(folder / f"{item:06d}.png", augment(rng, pixels, params.size_px, ranges))


def ranges_of(params: AugmentParams) -> Ranges:
    """Return the ranges of the operations that the parameters name."""
    return Ranges(
        flip_share=params.flip_share,
        upside_down_share=params.upside_down_share,
        quarter_turn_share=params.quarter_turn_share,
        rotation_degrees=params.rotation_degrees,
        crop_min_share=params.crop_min_share,
        crop_max_aspect=params.crop_max_aspect,
        brightness=params.brightness,
        contrast=params.contrast,
        saturation=params.saturation,
        hue_turns=params.hue_turns,
    )


def main() -> None:
    """Parse the command line and run the stage."""
    parser = argparse.ArgumentParser(description="Make training images from photographs.")
    parser.add_argument("--raw", type=Path, required=True, help="folder with train/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shard folders")
    add_shard_options(parser)
    options = parser.parse_args()
    shards = chosen_shards(options)
    params, refuse_edits = start_stage(AugmentParams)
    augment_photos(
        params, raw=options.raw, out=options.out, shards=shards, before_writing=refuse_edits
    )
    refuse_edits()


if __name__ == "__main__":
    run_command(main)
