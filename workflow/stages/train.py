r"""Train the networks: ``models/KIND/`` holds the weights at two epochs and the log.

    python -m workflow.stages.train --images data/augmented/ --masks data/masks/train/ \
        --raw data/raw/ --held-out data/masks/held_out/ --out models/ --state checkpoints/

A run that is stopped (SIGTERM, Ctrl-C, ``--stop-after-s``) or killed goes on from its checkpoint
when the same command is given again. Under ``torchrun`` it runs on several devices.
"""

import argparse
import ctypes
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

import numpy as np

from pconv.atomic import atomic_folder
from pconv.bf16 import is_bf16_emulated
from pconv.checkpoints import CheckpointFolder
from pconv.dataset import ImageSet, pack_images, pack_masks
from pconv.errors import DataError
from pconv.images import check_mask_size, read_image, read_mask
from pconv.losses import LossWeights
from pconv.plan import Kind, TrainingPlan
from pconv.progress import Hooks, TrainedRun
from pconv.ranks import Ranks, open_ranks
from pconv.resizing import fit_image
from pconv.stopping import EXIT_OUT_OF_TIME, TrainingStopped
from pconv.training import run_fingerprint, train
from workflow.command import run_command
from workflow.recovery import HeldError, hold
from workflow.sections import TrainParams
from workflow.shard_files import shard_files
from workflow.stage_params import nothing, start_stage
from workflow.tracking import training_run

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_WEIGHT = "_weight"
_IMAGES_HAVE = "the training images have"


def train_networks(
    params: TrainParams,
    *,
    images: Path,
    masks: Path,
    raw: Path,
    held_out: Path,
    out: Path,
    state: Path,
    device: str = "auto",
    stop_after_s: float | None = None,
    before_writing: Callable[[], None] = nothing,
) -> list[CheckpointFolder]:
    """Train each kind of network in turn, then write all of them at once.

    Args:
        params: The section ``train`` of the parameters.
        images: Training images, ``NNNN/*.png``.
        masks: Training masks, ``NNNN/*.png``.
        raw: Raw data; ``valid/gt/*`` are the photos of the held-out pairs.
        held_out: Their masks, ``NNNN/*.png``.
        out: Folder to make; nothing appears there before all is trained.
        state: Folder of checkpoints and decoded data, used again by the next call.
        device: ``cpu``, ``cuda`` or ``auto``.
        stop_after_s: Stop with a checkpoint after so many seconds.
        before_writing: Called when all is trained; what it raises keeps ``out`` as it is.

    Returns:
        The checkpoints. As long as they are there, a finished run that is called again takes no
        step; other code must not take them for an unfinished run of its own.

    Raises:
        DataError: If data is missing or does not fit together, or if several processes are to train
            where another training is at work.
        TrainingError: If a loss is not finite.
        SystemExit: If the run was stopped and can be resumed.
    """
    started = time.monotonic()
    plans = [plan_of(params, kind) for kind in params.kinds]
    ranks = open_ranks(device)
    if params.precision == "bf16" and ranks.device.type == "cpu":
        warn_of_slow_bf16()
    # Of several processes the others would give up waiting for the first.
    patience_s = 0 if ranks.world > 1 else stop_after_s
    with hold(state, patience_s) if ranks.is_first else nullcontext():
        data = _training_set(images, masks, state / "packed", ranks)
        pairs = held_out_pairs(raw, held_out, data.images.shape[1])
        runs = []
        for plan in plans:
            left = None if stop_after_s is None else started + stop_after_s - time.monotonic()
            runs.append(_train_one(plan, data, pairs, state / plan.kind, ranks, left))
        if ranks.is_first:
            before_writing()
            with atomic_folder(out) as unfinished:
                for run in runs:
                    run.write(unfinished / run.plan.kind)
        ranks.barrier()
    return [run.checkpoints for run in runs]


def warn_of_slow_bf16() -> None:
    """Warn if this CPU computes bf16 by way of float32, a number at a time."""
    if is_bf16_emulated():
        log.warning(
            "train.precision is bf16, which is many times slower than float32 here: this CPU has "
            "no AVX-512, or ONEDNN_MAX_CPU_ISA=%s keeps it from using it; choose float32, or set "
            "ONEDNN_MAX_CPU_ISA=ALL",
            os.environ.get("ONEDNN_MAX_CPU_ISA"),
        )


def plan_of(params: TrainParams, kind: Kind) -> TrainingPlan:
    """Return the plan of one network.

    Raises:
        ParameterError: If the parameters do not fit together.
    """
    values = params.model_dump(exclude={"kinds"})
    weights = {key: values.pop(key) for key in list(values) if key.endswith(_WEIGHT)}
    terms = {key.removesuffix(_WEIGHT): value for key, value in weights.items()}
    return TrainingPlan(kind=kind, weights=LossWeights(**terms), **values)


def held_out_pairs(raw: Path, masks: Path, size_px: int) -> ImageSet:
    """Pair the masks in the order of their names with the validation photos, in turn.

    Every turn begins a photo later. The kinds of masks take turns too, and three photos would meet
    one kind each.

    Raises:
        DataError: If there are no photos or no masks, or a mask is of another size.
    """
    photos = sorted(path for path in (raw / "valid" / "gt").glob("*") if path.is_file())
    if not photos:
        raise DataError(f"{raw / 'valid' / 'gt'}: no photos; wanted those of the held-out pairs")
    mask_files = by_name(masks)
    if not mask_files:
        raise DataError(f"{masks}: no files NNNN/*.png; the stage masks makes those of the log")
    count = len(mask_files)
    photos = photos[:count]
    # In full: decoded at a part of its size, as is quicker, a JPEG is not the picture evaluated.
    framed = [fit_image(read_image(photo), size_px) for photo in photos]
    held_out = [read_mask(file) for file in mask_files]
    for file, mask in zip(mask_files, held_out, strict=True):
        check_mask_size(file, mask, (size_px, size_px), _IMAGES_HAVE)
    order = [(i + i // len(framed)) % len(framed) for i in range(count)]
    return ImageSet(np.stack([framed[i] for i in order]), np.stack(held_out))


def by_name(folder: Path) -> list[Path]:
    """Return the PNG files of all shards in the order of their names, however they are split.

    Raises:
        DataError: If two shards have a file of one name.
    """
    files = sorted(shard_files(folder, "*.png"), key=lambda path: path.name)
    for one, other in pairwise(files):
        if one.name == other.name:
            names = " and in ".join(sorted((one.parent.name, other.parent.name)))
            raise DataError(
                f"{folder}: {one.name} lies in {names}; these are shards of two counts: delete the "
                "folder and run the stage that makes it"
            )
    return files


def _training_set(images: Path, masks: Path, packed: Path, ranks: Ranks) -> ImageSet:
    image_files, mask_files = by_name(images), by_name(masks)
    for folder, files in ((images, image_files), (masks, mask_files)):
        if not files:
            raise DataError(f"{folder}: no files NNNN/*.png to train on; was the stage before run?")
    # Packing refuses a file of another size than the first; so the first two stand for all.
    height, width = read_image(image_files[0]).shape[:2]
    check_mask_size(mask_files[0], read_mask(mask_files[0]), (height, width), _IMAGES_HAVE)
    # One process decodes; the others wait and then find it done.
    for is_turn in (ranks.is_first, not ranks.is_first):
        if is_turn:
            data = ImageSet(
                pack_images(image_files, packed / "images.npy"),
                pack_masks(mask_files, packed / "masks.npy"),
            )
        ranks.barrier()
    return data


def _train_one(
    plan: TrainingPlan,
    data: ImageSet,
    held_out: ImageSet,
    state: Path,
    ranks: Ranks,
    stop_after_s: float | None,
) -> TrainedRun:
    with _tracked(plan, run_fingerprint(plan, data, held_out), ranks.is_first) as hooks:
        try:
            return train(plan, data, held_out, state, ranks, hooks=hooks, stop_after_s=stop_after_s)
        except TrainingStopped as stopped:
            sys.stderr.write(f"{stopped}\n")
            raise SystemExit(stopped.exit_status) from stopped


@contextmanager
def _tracked(plan: TrainingPlan, fingerprint: str, is_first: bool) -> Iterator[Hooks]:
    """Show the run in MLflow while it goes; only the first of several processes does."""
    if not is_first:
        yield Hooks()
        return
    with training_run(plan.about(), fingerprint) as run:
        yield Hooks(on_epoch=run.log_epochs, on_picture=run.log_picture)


def _keep_freed_memory() -> None:
    """Have malloc keep the process's freed memory for its next request, where it is glibc's.

    Every step asks for the same blocks. By default a large one goes back to the system when it is
    freed, and the next step pays for each of its pages again.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def main() -> None:
    """Parse the command line and train."""
    _keep_freed_memory()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, what in (
        ("--images", "training images"),
        ("--masks", "training masks"),
        ("--raw", "raw data"),
        ("--held-out", "masks of the held-out pairs"),
        ("--out", "folder of the weights and logs to make"),
        ("--state", "folder of checkpoints and decoded data"),
    ):
        parser.add_argument(name, type=Path, required=True, help=what)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--stop-after-s", type=float, help="stop with a checkpoint and exit status 75"
    )
    options = parser.parse_args()
    params, refuse_edits = start_stage(TrainParams)
    try:
        finished = train_networks(params, **vars(options), before_writing=refuse_edits)
    except HeldError as error:
        if options.stop_after_s is None:
            raise
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_OUT_OF_TIME) from error
    refuse_edits()
    for checkpoints in finished:  # only now: an edit while it ran would have ended it
        checkpoints.clear()


if __name__ == "__main__":
    run_command(main)
