"""Draw the (photo, mask) pairs that are evaluated.

    python -m workflow.stages.sample --raw data/raw/ --masks data/masks/valid/ --out data/sample.csv

A draw depends on the seed and on the pair's own name, so that a new photo or mask moves no other.
"""

import argparse
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pconv.errors import DataError
from pconv.images import read_image, read_mask
from pconv.resizing import fit_mask
from workflow.command import run_command
from workflow.kinds_table import KINDS_FILE, read_kinds
from workflow.mask_kinds import GENERATED_KINDS, RAW_KINDS
from workflow.pairs import Pair, check_mask_of, largest_remainder, mask_file, write_pairs
from workflow.parallel import map_items
from workflow.sections import SampleParams
from workflow.shard_files import shard_files
from workflow.stage_params import nothing, start_stage

log = logging.getLogger(__name__)

_PHOTOS = "valid/gt"
_UNKNOWN = -1.0  # the hole share of a pair whose mask has not been read
# The square in the middle of the photo, unless the hole lies outside it: then the first of these
# that has hole and known pixels.
_PLACES = (0.5, 0.25, 0.75, 0.0, 1.0)


def sample(
    params: SampleParams,
    *,
    raw: Path,
    masks: Path,
    out: Path,
    before_writing: Callable[[], None] = nothing,
) -> None:
    """Draw ``pairs`` of the ec and or pairs, and ``pairs_per_generated_kind`` of each other kind.

    Args:
        params: How many, and the seed.
        raw: The folder that the download stage made.
        masks: The validation masks: numbered shard folders with a table ``kinds.csv`` in each.
        out: The table to write.
        before_writing: Called when all is drawn; what it raises keeps ``out`` as it is.

    Raises:
        DataError: If there are fewer pairs than asked for, or a folder lacks something.
    """
    photos = _photos(raw)
    generated = _generated_masks(masks)
    size_px = _common_size(masks, generated)
    frame = partial(_framed, raw=raw, masks=masks)
    population = _measured(_all_raw_pairs(raw, photos, size_px), frame, "ec and or pairs")
    drawn = draw_stratified(population, params.pairs, params.seed)
    for kind in GENERATED_KINDS:
        wanted = params.pairs_per_generated_kind
        pairs = draw_generated(kind, photos, generated[kind], wanted, size_px, params.seed)
        measured = _measured(pairs, frame, f"{kind} pairs")
        if len(measured) < len(pairs):
            raise DataError(f"{masks}: some {kind} masks are empty or full; make the masks anew")
        drawn += measured
    before_writing()
    write_pairs(out, drawn)


def draw_stratified(population: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """Draw ``count`` pairs without replacement, each kind in proportion to its number.

    Args:
        population: The pairs to draw from.
        count: How many.
        seed: Seed of the draw.

    Returns:
        The drawn pairs, kind after kind, each kind in the random order of the draw.

    Raises:
        DataError: If the population is smaller than ``count``.
    """
    if len(population) < count:
        raise DataError(
            f"sample.pairs asks for {count} pairs of ec and or, but there are {len(population)}; "
            "lower it, or add photographs or masks"
        )
    strata = {kind: [pair for pair in population if pair.kind == kind] for kind in RAW_KINDS}
    quotas = largest_remainder({kind: len(pairs) for kind, pairs in strata.items()}, count)
    return [
        pair for kind, pairs in strata.items() for pair in _in_order(pairs, seed)[: quotas[kind]]
    ]


def draw_generated(
    kind: str, photos: Sequence[str], masks: Sequence[str], count: int, size_px: int, seed: int
) -> list[Pair]:
    """Pair generated masks of one kind with photographs, as many for each photo within one.

    Equal numbers, because results differ more between photos than between masks of one kind.

    Args:
        kind: One of ``GENERATED_KINDS``.
        photos: Paths of the validation photos in the raw folder.
        masks: Paths of the masks of that kind in their folder.
        count: How many pairs.
        size_px: Side of the masks.
        seed: Seed of the draw.

    Returns:
        The pairs in the random order of the draw, their hole share not yet measured.

    Raises:
        DataError: If there are fewer (photo, mask) pairs than asked for.
    """
    if len(photos) * len(masks) < count:
        raise DataError(
            f"sample.pairs_per_generated_kind asks for {count} pairs, but {len(photos)} photos "
            f"and {len(masks)} masks of the kind {kind} make {len(photos) * len(masks)}; lower "
            "it, or raise masks.valid (masks.kinds must name the kind)"
        )
    pairs = []
    for turn, photo in enumerate(sorted(photos, key=lambda photo: _rank(seed, kind, photo))):
        quota = count // len(photos) + (turn < count % len(photos))
        of_photo = [_pair(kind, photo, mask, size_px) for mask in masks]
        pairs += _in_order(of_photo, seed)[:quota]
    return _in_order(pairs, seed)


def _in_order(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    return sorted(pairs, key=lambda pair: _rank(seed, pair.id))


def _rank(seed: int, *key: str) -> bytes:
    """Return a random place in an order, a function of the seed and the key alone."""
    return hashlib.sha256("\0".join([str(seed), *key]).encode()).digest()


def _pair(kind: str, photo: str, mask: str, size_px: int) -> Pair:
    name = f"{kind}-{Path(photo).stem}-{Path(mask).stem}"
    return Pair(name, photo, mask, kind, _UNKNOWN, size_px)


def _photos(raw: Path) -> list[str]:
    photos = sorted(path.name for path in (raw / _PHOTOS).glob("*") if path.is_file())
    if not photos:
        raise DataError(f"{raw / _PHOTOS}: holds no photo; run the download stage first")
    return [f"{_PHOTOS}/{name}" for name in photos]


def _all_raw_pairs(raw: Path, photos: Sequence[str], size_px: int) -> list[Pair]:
    return [
        _pair(kind, photo, mask.relative_to(raw).as_posix(), size_px)
        for kind in RAW_KINDS
        for photo in photos
        for mask in sorted((raw / "valid" / kind / Path(photo).stem).glob("*.png"))
    ]


def _generated_masks(masks: Path) -> dict[str, list[str]]:
    """Return the masks by kind, as the shards' tables name them; kinds to be drawn may be empty."""
    found: dict[str, list[str]] = {kind: [] for kind in GENERATED_KINDS}
    tables = shard_files(masks, KINDS_FILE)
    if not tables:
        raise DataError(f"{masks}: holds no */{KINDS_FILE}; run the masks stage first")
    for table in tables:
        for kind, file in read_kinds(table):
            found.setdefault(kind, []).append(f"{table.parent.name}/{file}")
    return found


def _common_size(masks: Path, generated: Mapping[str, Sequence[str]]) -> int:
    """Return the side of the generated masks, that of the network's pictures."""
    first = next((one for of_kind in generated.values() for one in of_kind), None)
    if first is None:
        raise DataError(f"{masks}: its tables name no mask; run the masks stage again")
    height, width = read_mask(masks / first).shape
    if height != width:
        raise DataError(f"{masks / first}: {width}x{height} pixels; wanted a square mask")
    return height


def _measured(pairs: Sequence[Pair], frame: Callable[[Pair], Pair], what: str) -> list[Pair]:
    """Return the pairs with place and hole share, without those whose mask is empty or full."""
    measured = list(map_items(frame, pairs, what=what))
    usable = [pair for pair in measured if 0 < pair.hole_share < 1]
    if len(usable) < len(pairs):
        dropped = sum(pair.hole_share in (0, 1) for pair in measured)
        log.warning("sample: %d %s have no hole or no known pixel in the frame", dropped, what)
        if dropped + len(usable) != len(pairs):
            raise DataError(f"{what}: {len(pairs)} masks, {len(usable)} usable, {dropped} not")
    return usable


def _framed(pair: Pair, *, raw: Path, masks: Path) -> Pair:
    """Return the pair with the first place of its square that shows some of the hole."""
    path = mask_file(pair, raw, masks)
    mask = read_mask(path)
    check_mask_of(pair, path, mask, partial(_size_of, raw / pair.photo))
    for place in _PLACES:
        share = float(np.mean(~fit_mask(mask, pair.size_px, place)))
        pair = replace(pair, hole_share=share, place=place)
        if 0 < share < 1:
            break
    return pair


# The ec and or pairs come photo after photo, so each photo is read once by a process.
@lru_cache(maxsize=16)
def _size_of(photo: Path) -> tuple[int, int]:
    height, width = read_image(photo).shape[:2]
    return height, width


def main() -> None:
    """Run the stage from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--raw", type=Path, required=True, help="what the download stage made")
    parser.add_argument("--masks", type=Path, required=True, help="the validation masks")
    parser.add_argument("--out", type=Path, required=True, help="the table of pairs to write")
    options = parser.parse_args()
    params, refuse_edits = start_stage(SampleParams)
    sample(params, **vars(options), before_writing=refuse_edits)
    refuse_edits()


if __name__ == "__main__":
    run_command(main)
