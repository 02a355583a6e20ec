r"""Stage ``masks``: the generated masks for training and, independent of them, for validation.

python -m workflow.stages.masks --train data/masks/train/ --valid data/masks/valid/ \
    --held-out data/masks/held_out/ --shards 8
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pconv.atomic import atomic_folder
from pconv.errors import DataError, MaskError
from pconv.images import Mask, read_mask, write_mask
from pconv.mask_shapes import borders, brush, to_bucket, vary
from pconv.masks import blocks, random_walk, rectangles, strokes
from workflow.command import run_command
from workflow.kinds_table import KINDS_FILE, write_kinds
from workflow.sections import MasksParams
from workflow.shards import Shard, add_shard_options, chosen_shards, for_each_shard
from workflow.sources.layout import existing_folder, find_images, unusable_files
from workflow.stage_params import nothing, start_stage

TRAIN_STAGE_NUMBER = 3
VALID_STAGE_NUMBER = 30  # no other stage's: validation masks are independent of training's
_MASKS_LOOKED_AT = 50


@dataclass(frozen=True)
class MaskFolders:
    """Where the masks go, each file as ``SHARD/ITEM.png``, such as ``0003/000123.png``.

    In each shard ``kinds.csv`` (file, kind, hole_share) tells of them.

    Attributes:
        train: Those of training.
        valid: Those of validation.
        held_out: Those of the pairs of the training's log: the first of validation once more, in a
            folder of their own, so that more masks to evaluate on leave the training as it is.
    """

    train: Path
    valid: Path
    held_out: Path


def make_masks(
    params: MasksParams,
    folders: MaskFolders,
    shards: list[Shard],
    *,
    before_writing: Callable[[], None] = nothing,
) -> None:
    """Make all masks of the given shards.

    Mask i is of kind i modulo the number of kinds, so the kinds are equally likely to within one,
    and draws from (seed, stage, i) alone.

    Args:
        params: The stage's parameters.
        folders: Where they go.
        shards: The shards to make.
        before_writing: Called when a shard is made; what it raises keeps the one before. Picklable.

    Raises:
        DataError: If the folder of masks is empty.
        MaskError: If the parameters allow no mask of some kind, or the given ones look inverted.
    """
    given = given_masks(params.folder)
    make = partial(make_shard, params, given, folders, before_writing)
    for_each_shard(make, shards, what="masks", folders=list(vars(folders).values()))


def given_masks(folder: str | None) -> list[Path]:
    """Return the files of the masks for the kind ``folder`` in sorted order.

    Raises:
        DataError: If the folder is named but is not there, holds no image, or a link that leads
            nowhere or an image of a format that is not read.
        MaskError: If one of those looked at can't be read, or most of them look inverted.
    """
    if folder is None:
        return []
    place = existing_folder(Path(folder), "one of masks: mend masks.folder")
    if unusable := unusable_files(place):
        # Left out unsaid, every mask would be drawn from another set.
        file, reason = unusable[0]
        raise DataError(f"{file}: {reason}; wanted a mask: mend or delete it")
    files = find_images(place, with_links=True)
    _refuse_inverted(folder, files)
    return files


def _refuse_inverted(folder: str, files: list[Path]) -> None:
    """Look at some of the masks, evenly spread: mostly holes means white was meant as hole."""
    some = files[:: max(1, len(files) // _MASKS_LOOKED_AT)]
    shares = [1 - read_mask(path, grey=True).mean() for path in some]
    if np.median(shares) > 0.5:
        raise MaskError(
            f"{folder}: the median mask is {np.median(shares):.0%} hole; here white is known and "
            "black is hole: invert the files if they mean the opposite"
        )


def make_shard(
    params: MasksParams,
    given: list[Path],
    folders: MaskFolders,
    before_writing: Callable[[], None],
    shard: Shard,
) -> None:
    """Make one shard of each folder."""
    cv2.setNumThreads(1)  # the pool already fills the cores
    for out, total, stage in (
        (folders.train, params.train, TRAIN_STAGE_NUMBER),
        (folders.valid, params.valid, VALID_STAGE_NUMBER),
        (folders.held_out, params.held_out, VALID_STAGE_NUMBER),
    ):
        with atomic_folder(out / shard.name) as folder:
            rows = [write_item(params, given, stage, item, folder) for item in shard.items(total)]
            write_kinds(folder / KINDS_FILE, rows)
            made = sum(1 for _ in folder.glob("*.png"))
            if made != len(shard.items(total)):
                raise DataError(
                    f"{out / shard.name}: {made} masks made; wanted {len(shard.items(total))}; "
                    "run again"
                )
            before_writing()


def write_item(
    params: MasksParams, given: list[Path], stage: int, item: int, folder: Path
) -> tuple[str, str, float]:
    """Draw and write one mask; return its row of ``kinds.csv``."""
    kind = params.kinds[item % len(params.kinds)]
    known = draw_mask(np.random.default_rng([params.seed, stage, item]), kind, params, given)
    path = folder / f"{item:06d}.png"
    write_mask(path, known)
    return path.name, kind, 1 - np.count_nonzero(known) / known.size


def draw_mask(rng: np.random.Generator, kind: str, params: MasksParams, given: list[Path]) -> Mask:
    """Draw one mask of a kind with the settings that the parameters give it."""
    return _vary_given(rng, params, given) if kind == "folder" else _DRAW[kind](rng, params)


def _draw_walk(rng: np.random.Generator, params: MasksParams) -> Mask:
    return random_walk(
        rng,
        params.size_px,
        params.size_px,
        directions=params.walk_directions,
        steps_per_pixel=params.walk_steps_per_pixel,
        brush_px=params.walk_brush_px,
        hole_share=(params.hole_share_min, params.hole_share_max),
    )


def _draw_strokes(rng: np.random.Generator, params: MasksParams) -> Mask:
    return strokes(
        rng,
        params.size_px,
        params.size_px,
        max_each=params.strokes_max_each,
        min_thickness_px=params.strokes_min_thickness_px,
        max_thickness_share=params.strokes_max_thickness_share,
        hole_share=(params.hole_share_min, params.hole_share_max),
    )


def _draw_rectangles(rng: np.random.Generator, params: MasksParams) -> Mask:
    return rectangles(
        rng,
        params.size_px,
        params.size_px,
        max_count=params.rectangles_max,
        min_side_share=params.rectangles_min_side_share,
        max_side_share=params.rectangles_max_side_share,
        hole_share=(params.hole_share_min, params.rectangles_hole_share_max),
    )


def _draw_borders(rng: np.random.Generator, params: MasksParams) -> Mask:
    return borders(
        rng,
        params.size_px,
        params.size_px,
        hole_share=(params.hole_share_min, params.hole_share_max),
    )


def _draw_bucket(rng: np.random.Generator, params: MasksParams) -> Mask:
    return to_bucket(
        rng,
        params.size_px,
        params.size_px,
        low=params.bucket_min,
        high=params.bucket_max,
        margin_px=round(params.bucket_margin_share * params.size_px),
    )


def _vary_given(rng: np.random.Generator, params: MasksParams, given: list[Path]) -> Mask:
    path = given[int(rng.integers(len(given)))]
    try:
        known = read_mask(path, grey=True)
        return vary(rng, known, params.size_px, params.size_px)
    except MaskError as error:
        raise MaskError(f"{path}: {error}") from error


_DRAW: dict[str, Callable[[np.random.Generator, MasksParams], Mask]] = {
    "walk": _draw_walk,
    "strokes": _draw_strokes,
    "rectangles": _draw_rectangles,
    "blocks": lambda rng, params: blocks(rng, params.size_px, params.size_px),
    "brush": lambda rng, params: brush(rng, params.size_px, params.size_px),
    "borders": _draw_borders,
    "bucket": _draw_bucket,
}


def main() -> None:
    """Parse the command line and run the stage."""
    parser = argparse.ArgumentParser(description="Draw the training and validation masks.")
    parser.add_argument("--train", type=Path, required=True, help="folder of the training shards")
    parser.add_argument("--valid", type=Path, required=True, help="folder of the validation shards")
    parser.add_argument(
        "--held-out", type=Path, required=True, help="folder of the shards for the training's log"
    )
    add_shard_options(parser)
    options = parser.parse_args()
    shards = chosen_shards(options)
    folders = MaskFolders(options.train, options.valid, options.held_out)
    params, refuse_edits = start_stage(MasksParams)
    make_masks(params, folders, shards, before_writing=refuse_edits)
    refuse_edits()


if __name__ == "__main__":
    run_command(main)
