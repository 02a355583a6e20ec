"""How close fills of photograph files come to what was there: the numbers of ``pconv measure``.

The photographs are whole. A mask hides a part of each, a method fills that part, and the fill is
measured against what was hidden, as the pipeline does it with its validation pairs.
"""

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from pconv.errors import MaskError, ShapeError
from pconv.fill_files import named_mask_errors
from pconv.hole_marks import HoleMarks, known_pixels
from pconv.images import Mask, Pixels, read_image
from pconv.metrics import image_metrics
from pconv.photo_files import read_photo
from pconv.resizing import fit_image, fit_mask

IDENTICAL_DB = 100.0
"""The most that a fill counts in means of PSNR, as in the pipeline's report. One that equals the
photograph has no finite PSNR, and one value off by one in a million would count more than it."""

Fill = Callable[[Pixels, Mask], Pixels]
Drawing = Callable[[np.random.Generator, int, int], Mask]  # of a height and a width
_SHOWN = {  # metric to its title and its number of decimals
    "psnr_hole": ("PSNR in hole", 2),
    "ssim_hole": ("SSIM in hole", 4),
    "l1_hole": ("L1 in hole", 4),
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "seconds": ("seconds", 2),
}


@dataclass(frozen=True)
class Trial:
    """A photograph of which a part is hidden.

    Attributes:
        photo: Its file.
        mask: What hides the part: a file, or how it was drawn.
        truth: The photograph, uint8 RGB ``(H, W, 3)``.
        known: True where it is not hidden, ``(H, W)``.
    """

    photo: Path
    mask: str
    truth: Pixels
    known: Mask


@dataclass(frozen=True)
class Row:
    """What one method made of one trial.

    Attributes:
        trial: The photograph's file and its mask.
        hole_share: Of the photograph, 0 to 1.
        method: The method's name.
        metrics: As `pconv.metrics.image_metrics` calls them.
        seconds: How long the fill took.
    """

    trial: tuple[str, str]
    hole_share: float
    method: str
    metrics: dict[str, float]
    seconds: float

    def number(self, name: str) -> float:
        """Return a metric, or the time, as it counts in means."""
        value = self.seconds if name == "seconds" else self.metrics[name]
        return min(value, IDENTICAL_DB) if name.startswith("psnr") else value


def hidden_by_mask(
    photo: Path, mask: Path | None, marks: HoleMarks, side_px: int | None
) -> Iterator[Trial]:
    """Yield a photograph hidden by a mask file of its size.

    Args:
        photo: The photograph's file.
        mask: The mask's; None where there is none.
        marks: How the mask marks holes.
        side_px: Take the middle square, of this side, of photograph and mask; None: all of it.

    Raises:
        PConvError: If there is no mask, a file can't be read, or they don't fit together.
    """
    if mask is None:
        raise MaskError(f"{photo}: no mask of that name")
    truth = read_image(photo)
    with named_mask_errors(mask):
        known = known_pixels(read_photo(photo), mask, marks, name=photo)
    if side_px:
        truth, known = fit_image(truth, side_px), fit_mask(known, side_px)
    yield Trial(photo, str(mask), truth, known)


def hidden_by_drawing(
    photo: Path, seeds: Sequence[Sequence[int]], side_px: int | None, *, draw: Drawing
) -> Iterator[Trial]:
    """Yield a photograph hidden by random masks of its size.

    Args:
        photo: The photograph's file.
        seeds: Of each mask.
        side_px: Take the photograph's middle square, of this side; None: all of it.
        draw: Draws a mask.

    Raises:
        PConvError: If the file can't be read, or is too small for such a mask.
    """
    truth = read_image(photo)
    if side_px:
        truth = fit_image(truth, side_px)
    for seed in seeds:
        try:
            known = draw(np.random.default_rng(seed), *truth.shape[:2])
        except MaskError as error:
            raise MaskError(f"{photo}: too small for such a mask ({error})") from error
        yield Trial(photo, f"seed {'-'.join(map(str, seed))}", truth, known)


def measure(trial: Trial, fills: Mapping[str, Fill]) -> list[Row]:
    """Fill a trial's hole by each method, and measure the fills.

    Args:
        trial: The photograph, and what of it is hidden.
        fills: The methods by name.

    Raises:
        MaskError: If nothing is hidden, or a method refuses the mask.
        ShapeError: If the photograph is smaller than SSIM's window.
    """
    if trial.known.all():
        raise MaskError(f"{trial.mask}: no hole for {trial.photo}, so there is nothing to measure")
    truth, known = _batch(trial.truth), torch.from_numpy(trial.known)[None, None]
    share = float(np.mean(~trial.known))
    rows = []
    for method, fill in fills.items():
        started = time.perf_counter()
        filled = fill(trial.truth, trial.known)
        seconds = time.perf_counter() - started
        try:
            measured = image_metrics(_batch(filled), truth, known)
        except ShapeError as error:
            raise ShapeError(f"{trial.photo}: {error}") from error
        metrics = {name: float(value) for name, value in measured.items()}
        rows.append(Row((str(trial.photo), trial.mask), share, method, metrics, seconds))
    return rows


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a table of means over trials, a line for each method.

    Args:
        rows: What `measure` returned of all trials; at least one.
    """
    by_method: dict[str, list[Row]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    of_one = next(iter(by_method.values()))
    photos, share = len({row.trial[0] for row in of_one}), fmean(row.hole_share for row in of_one)
    yield f"photos: {photos}, holes: {len(of_one)}, mean share of the hole: {share:.1%}"
    width = max(map(len, by_method))
    yield " ".join([" " * width, *(f" {title}" for title, _ in _SHOWN.values())])
    for method, some in by_method.items():
        means = (
            f"{fmean(row.number(name) for row in some):{len(title) + 1}.{decimals}f}"
            for name, (title, decimals) in _SHOWN.items()
        )
        yield " ".join([f"{method:{width}}", *means])
    if identical := sum(row.metrics["psnr_hole"] == math.inf for row in rows):
        yield f"fills that equal the photo, counted as {IDENTICAL_DB:.0f} dB: {identical}"


def csv_text(rows: Sequence[Row]) -> str:
    """Return one line for each trial and method; the same for the same fills, so without times."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "mask", "hole_share", "method", *rows[0].metrics])
    for row in rows:
        numbers = [f"{value:.9g}" for value in (row.hole_share, *row.metrics.values())]
        writer.writerow([*row.trial, numbers[0], row.method, *numbers[1:]])
    return text.getvalue()


def _batch(image: Pixels) -> torch.Tensor:
    return torch.tensor(image).permute(2, 0, 1)[None]  # a copy: what was read is not writable
