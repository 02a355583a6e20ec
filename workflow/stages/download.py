"""Bring photographs and masks from any source into one layout, ``data/raw``.

python -m workflow.stages.download --out data/raw/
"""

import argparse
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from pconv.atomic import atomic_folder
from pconv.errors import DataError
from workflow.command import run_command
from workflow.mask_kinds import RAW_KINDS
from workflow.sections import DownloadParams
from workflow.sources.account import Account
from workflow.sources.archives import Limits
from workflow.sources.bring import (
    PHOTOS,
    TRAIN,
    bring_masks,
    bring_photos,
    drop_shared,
    make_masks,
    photo_id,
)
from workflow.sources.folder import photographs_in_folders
from workflow.sources.found import Found
from workflow.sources.icme import Archive, challenge_photographs
from workflow.sources.sample import embedded_photographs
from workflow.sources.transfer import Patience
from workflow.stage_params import nothing, start_stage

log = logging.getLogger(__name__)

_UNPACKED = ".unpacked"
_PAUSE_S = 1.0  # before the first retry
_NAMED_REJECTIONS = 10


def download(
    params: DownloadParams, *, out: Path, before_writing: Callable[[], None] = nothing
) -> None:
    """Make the raw folder from the source that ``params`` names, whole or not at all.

    Args:
        params: The source, its places and its limits.
        out: The folder to make.
        before_writing: Called when all is made; what it raises keeps ``out`` as it is.

    Raises:
        DataError: If the source lacks something, or more than ``max_rejected`` files are unusable.
        ArchiveError: If an archive is damaged, hostile or over a limit.
        MaskError: If a set of masks has the other polarity.
    """
    with atomic_folder(out) as partial:
        unpacked = partial / _UNPACKED
        account = _bring(_find(params, unpacked), params, partial)
        shutil.rmtree(unpacked, ignore_errors=True)
        _check_rejected(account, params.max_rejected)
        for line in _first_rejected(account):
            log.warning("rejected: %s", line)
        account.write(partial)
        before_writing()


def _find(params: DownloadParams, unpacked: Path) -> Found:
    if params.source == "icme":
        return _challenge(params, unpacked)
    if params.source == "folder":
        masks = {"ec": params.folder_ec, "or": params.folder_or}
        return photographs_in_folders(
            Path(params.folder_train),
            Path(params.folder_valid) if params.folder_valid else None,
            {kind: Path(folder) for kind, folder in masks.items() if folder},
            held_out_share=params.folder_held_out_share,
            seed=params.seed,
        )
    return embedded_photographs()


def _challenge(params: DownloadParams, unpacked: Path) -> Found:
    return challenge_photographs(
        Archive("icme_train", params.icme_train, params.icme_train_sha256, "train_img.zip"),
        Archive("icme_valid", params.icme_valid, params.icme_valid_sha256, "valid_img.zip"),
        downloads=Path(params.icme_downloads),
        unpacked=unpacked,
        limits=Limits(params.max_files, params.max_bytes, params.max_file_bytes),
        patience=Patience(params.icme_retries, _PAUSE_S, params.icme_timeout_s),
    )


def _bring(found: Found, params: DownloadParams, out: Path) -> Account:
    account = Account(rejected=list(found.rejected))
    train = bring_photos(found.train, TRAIN, out, params.max_pixels, account)
    valid = bring_photos(found.valid, PHOTOS, out, params.max_pixels, account)
    train = drop_shared(train, valid, out, account)
    _check_rejected(account, params.max_rejected)
    if not (train and valid):
        raise DataError(
            f"{len(train)} training and {len(valid)} validation photographs are usable; wanted "
            "some of both: download.source has too little"
        )
    sizes = {photo_id(photo): (photo.width, photo.height) for photo in valid}
    counts = {"train": len(train), "valid": len(valid)}
    for kind in RAW_KINDS:
        if kind in found.masks:
            masks = bring_masks(
                found.masks[kind],
                kind,
                sizes,
                out,
                ones_are_holes=params.masks_mark_holes,
                max_pixels=params.max_pixels,
                account=account,
            )
        else:
            masks = make_masks(
                kind,
                sizes,
                out,
                per_photo=params.masks_per_photo,
                seed=params.seed,
                account=account,
            )
        counts[kind] = len(masks)
    _report_counts(counts, params)
    return account


def _report_counts(counts: dict[str, int], params: DownloadParams) -> None:
    log.info("download: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    for name, count in counts.items():
        expected = getattr(params, f"expected_{name}")
        if expected not in (0, count):
            log.warning(
                "download: %d files of %s were found, download.expected_%s says %d",
                count,
                name,
                name,
                expected,
            )


def _check_rejected(account: Account, max_rejected: int) -> None:
    if len(account.rejected) > max_rejected:
        named = "\n  ".join(_first_rejected(account))
        raise DataError(
            f"{len(account.rejected)} files are unusable, more than download.max_rejected "
            f"({max_rejected}); mend or remove them, or raise the limit. The first are:\n  {named}"
        )


def _first_rejected(account: Account) -> list[str]:
    return [f"{one.path}: {one.reason}" for one in account.rejected[:_NAMED_REJECTIONS]]


def main() -> None:
    """Run the stage from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the raw folder to make")
    options = parser.parse_args()
    params, refuse_edits = start_stage(DownloadParams)
    download(params, out=options.out, before_writing=refuse_edits)
    refuse_edits()


if __name__ == "__main__":
    run_command(main)
