r"""Pack what the stages after ``download`` and ``sample`` read, small enough to be carried.

Training photographs are reduced to the size beyond which the augmentation sees no more detail, and
encoded as WebP. Validation photographs keep every pixel, as PNG; of their masks only the drawn ones
are packed. All else is made again from its seed where the run is.

    python -m benchmarks.paper_scale.pack --project . --out packed/
"""

import argparse
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
from PIL import Image

from benchmarks.arguments import positive, whole
from pconv.atomic import atomic_folder
from pconv.augment import reduced, useful_side_px
from pconv.errors import DataError
from pconv.images import read_image
from workflow.command import run_command
from workflow.mask_kinds import RAW_KINDS
from workflow.pairs import read_pairs
from workflow.params import read_params
from workflow.stages.augment import ranges_of, training_photos

MIB = 1 << 20
WEBP_EFFORT = 6  # the slowest and smallest
PNG_EFFORT = 9


def pack(project: Path, out: Path, *, quality: int, max_mib: float) -> float:
    """Pack the raw data, the pairs and the parameters of a project whose sample is drawn.

    Args:
        project: A folder with ``params.yaml``, ``data/raw/`` and ``data/sample.csv``.
        out: The folder to make.
        quality: WebP's, 1 to 100.
        max_mib: Refuse to leave more than this.

    Returns:
        Its size in MiB.

    Raises:
        DataError: If something is missing, or the packed folder is too large.
    """
    params = read_params(project / "params.yaml")
    raw, sample = project / "data/raw", project / "data/sample.csv"
    side_px = useful_side_px(params.augment.size_px, ranges_of(params.augment))
    photos = training_photos(raw)
    if len({photo.stem for photo in photos}) < len(photos):
        raise DataError(f"{raw / 'train'}: two photographs differ in their suffix only")
    pairs = read_pairs(sample)
    with atomic_folder(out) as folder, ThreadPoolExecutor() as pool:
        train, valid = folder / "data/raw/train", folder / "data/raw/valid/gt"
        for made in (train, valid):
            made.mkdir(parents=True)
        list(pool.map(partial(_pack_training, train, side_px, quality), photos))
        list(pool.map(partial(_pack_whole, valid), sorted((raw / "valid/gt").iterdir())))
        for mask in sorted({pair.mask for pair in pairs if pair.kind in RAW_KINDS}):
            _copy(raw / mask, folder / "data/raw" / mask)
        _copy(sample, folder / "data/sample.csv")
        _copy(project / "params.yaml", folder / "params.yaml")
        mib = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MIB
        if mib > max_mib:
            raise DataError(
                f"{out}: {mib:.1f} MiB, more than --max-mib {max_mib:g}; lower --quality, which "
                f"is {quality}"
            )
    return mib


def _pack_training(folder: Path, side_px: int, quality: int, photo: Path) -> None:
    pixels = reduced(read_image(photo), side_px)
    target = folder / f"{photo.stem}.webp"
    Image.fromarray(pixels).save(target, quality=quality, method=WEBP_EFFORT)


def _pack_whole(folder: Path, photo: Path) -> None:
    # Under its old name, which the table of pairs holds; readers go by content, not by suffix.
    pixels = cv2.cvtColor(read_image(photo), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])
    (folder / photo.name).write_bytes(data.tobytes())


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(f"{source}: not found; run the stages download, masks and sample first")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main() -> None:
    """Parse the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=Path(), help="where the stages ran")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument(
        "--quality", type=partial(whole, most=100), default=80, help="WebP's, 1 to 100"
    )
    parser.add_argument("--max-mib", type=positive, default=58.0, help="refuse to leave more")
    args = parser.parse_args()
    mib = pack(args.project, args.out, quality=args.quality, max_mib=args.max_mib)
    print(f"{args.out}: {mib:.1f} MiB")


if __name__ == "__main__":
    run_command(main)
