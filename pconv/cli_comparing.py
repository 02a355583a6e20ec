"""The commands ``pconv compare`` and ``pconv measure``, which put methods side by side."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from pconv.cli_errors import exit_if_failed, one_line, tell_beside_bar
from pconv.cli_options import (
    MASK_KINDS,
    Device,
    Grow,
    Half,
    HoleColor,
    Invert,
    LargeHoles,
    Masks,
    Mirror,
    Photos,
    Tolerance,
    Weights,
    drawing,
    refuse_idle,
    refuse_network_options,
)
from pconv.errors import ParameterError, PConvError, WeightsError
from pconv.method_names import METHODS, NETWORK

if TYPE_CHECKING:
    from pconv.inpainting import Inpainter
    from pconv.measuring import Row, Trial

    Job = tuple[Path, Callable[[], Iterator[Trial]]]  # photo, and what hides parts of it

Methods = Annotated[str, typer.Option(help="Which, separated by commas.", show_default="all")]
_ALL = ",".join(METHODS)


def compare(
    photo: Annotated[Path, typer.Argument(help="Photo file.")],
    mask: Annotated[Path | None, typer.Option("--mask", "-m", help="Its mask.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a PNG file.")] = Path(
        "comparison.png"
    ),
    hole_color: HoleColor = None,
    tolerance: Tolerance = 0,
    invert: Invert = False,
    grow: Grow = 0,
    large_holes: LargeHoles = False,
    methods: Methods = _ALL,
    weights: Weights = None,
    device: Device = None,
) -> None:
    """Fill one photo by every method, side by side in one labelled picture.

    Where no weights are found the network is left out.

    [bold]Example[/bold]

      pconv compare photo.jpg --mask mask.png -o comparison.png
    """
    from pconv.comparison import side_by_side, with_holes
    from pconv.fill_files import named_mask_errors, refuse_overwriting, told_lack_of_memory
    from pconv.hole_marks import HoleMarks, known_pixels
    from pconv.images import read_image, write_image
    from pconv.photo_files import read_photo

    if out.suffix.lower() != ".png":
        raise ParameterError(f"{out}: the comparison is a PNG file; wanted a name in .png")
    refuse_overwriting(out, photo, mask)
    names = _method_names(methods)
    refuse_network_options(names, weights=weights, device=device)
    image = read_image(photo)
    marks = HoleMarks(hole_color, tolerance, invert, grow)
    with named_mask_errors(mask or photo):
        known = known_pixels(read_photo(photo), mask, marks, name=photo)
    pictures = {"photo with holes": with_holes(image, known)}
    inpainters = _inpainters(
        names, [weights] if weights else [], device=device, allow_large_holes=large_holes
    )
    for method, inpainter in tqdm(inpainters.items(), desc="compare", unit="method", disable=None):
        started = time.perf_counter()
        with named_mask_errors(mask or photo), told_lack_of_memory(photo, image.shape):
            filled = inpainter(image, known)
        pictures[f"{method}, {time.perf_counter() - started:.1f} s"] = filled
    write_image(out, side_by_side(pictures))
    typer.echo(one_line(f"{photo} -> {out}"))


def measure(
    photos: Photos,
    mask: Masks = None,
    draw: Annotated[
        str | None,
        typer.Option(help=f"Draw random masks instead: one of {', '.join(MASK_KINDS)}."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Drawn masks a photo.", show_default="1")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Equal seeds and photos give equal masks.", show_default="0"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Reduce photos and masks to this shorter side and take the square in the middle, "
            "as the pipeline does.",
        ),
    ] = None,
    hole_color: HoleColor = None,
    tolerance: Tolerance = 0,
    invert: Invert = False,
    grow: Grow = 0,
    large_holes: LargeHoles = False,
    methods: Methods = _ALL,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="As for fill; given several times, each is measured."),
    ] = None,
    device: Device = None,
    half: Half = False,
    mirror: Mirror = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="CSV file of all measures of each photo and method."),
    ] = None,
) -> None:
    """Measure how close fills come: hide parts of whole photos, fill them, compare.

    Prints means of PSNR (dB), SSIM, L1 (0 to 1) and the time that a fill took.
    Photos are read as 8-bit RGB. Where no weights are found the network is
    left out.

    [bold]Examples[/bold]

    A folder of photos, a folder of masks of the same names:

      pconv measure photos/ --mask masks/ -o measures.csv

    Four random masks for each photo, at the size of the paper:

      pconv measure photos/ --draw walk --count 4 --size 256

    Which weights are better:

      pconv measure photos/ --draw walk --weights a.safetensors --weights last
    """
    from pconv.fill_files import find_files, mask_for_all, refuse_overwriting, with_masks
    from pconv.hole_marks import HoleMarks
    from pconv.measuring import hidden_by_drawing, hidden_by_mask

    if bool(mask) == (draw is not None):
        raise ParameterError("say what to hide: with --mask FILE, or with --draw KIND")
    if draw is None:
        refuse_idle("only with --draw; leave it out", count=count, seed=seed)
    else:
        refuse_idle(
            "only with --mask; leave it out",
            hole_color=hole_color,
            tolerance=tolerance,
            invert=invert,
            grow=grow,
            large_holes=large_holes,
        )
    names = _method_names(methods)
    refuse_network_options(names, weights=weights, device=device, half=half, mirror=mirror)
    marks = HoleMarks(hole_color, tolerance, invert, grow)
    masks = find_files(mask or [], masks=True)
    pairs = with_masks(find_files(photos), masks, for_all=mask_for_all(mask or []))
    if out is not None:
        if out.suffix.lower() != ".csv":
            raise ParameterError(f"{out}: the measures are a CSV file; wanted a name in .csv")
        refuse_overwriting(out, *(photo for photo, _ in pairs), *masks)
    jobs: list[Job]
    if draw is None:
        jobs = [(pair[0], partial(hidden_by_mask, *pair, marks, size)) for pair in pairs]
    else:
        by_kind, numbers = partial(hidden_by_drawing, draw=drawing(draw)), range(count or 1)
        jobs = [
            (photo, partial(by_kind, photo, [(seed or 0, item, n) for n in numbers], size))
            for item, (photo, _) in enumerate(pairs)
        ]
    inpainters = _inpainters(
        *(names, weights or []),
        device=device,
        half=half,
        mirror=mirror,
        # Drawn holes may be of any size; a mask of which most is hole may be meant the other way.
        allow_large_holes=large_holes or draw is not None,
    )
    rows, failed = _measure_all(jobs, inpainters)
    if rows:
        _tell(rows, out)
    exit_if_failed(failed, len(jobs), "measured")


def _measure_all(jobs: "list[Job]", inpainters: "dict[str, Inpainter]") -> "tuple[list[Row], int]":
    """Measure photos one by one; a bad one is told and counted, and none of its rows is kept."""
    from pconv.fill_files import named_mask_errors, told_lack_of_memory
    from pconv.measuring import measure as rows_of

    rows, failed = [], 0
    for photo, hidden in tqdm(jobs, desc="measure", unit="photo", disable=None):
        found: list[Row] = []
        try:
            for trial in hidden():
                named = named_mask_errors(Path(trial.mask))
                with named, told_lack_of_memory(photo, trial.truth.shape):
                    found += rows_of(trial, inpainters)
        except (PConvError, OSError) as error:
            failed += 1
            tell_beside_bar(error)
        else:
            rows += found
    return rows, failed


def _tell(rows: "list[Row]", out: Path | None) -> None:
    """Print the table of means, and write all measures if a file is named."""
    from pconv.atomic import atomic_file
    from pconv.measuring import csv_text, table_lines

    for line in table_lines(rows):
        typer.echo(one_line(line))
    if out is not None:
        with atomic_file(out) as partial_file:
            text = csv_text(rows)
            partial_file.write_text(text, encoding="utf-8", errors="surrogateescape")


def _method_names(methods: str) -> list[str]:
    from pconv.inpainting import check_method

    names = [name.strip() for name in methods.split(",")]
    for name in names:
        check_method(name)
    return names


def _inpainters(names: list[str], weights: list[str], **options: Any) -> "dict[str, Inpainter]":
    """Return what fills, by name; the network is left out where no weights are named nor found."""
    from pconv.inpainting import Inpainter
    from pconv.weights_source import VARIABLE

    found = {}
    for method in names:
        files: Sequence[str | None] = weights if method == NETWORK and weights else [None]
        try:
            for one in files:
                name = f"{method} {one}" if len(files) > 1 else method
                found[name] = Inpainter(method=method, weights=one, **options)
        except WeightsError as error:
            # Named ones are wanted; and without any fill there is nothing to compare.
            if weights or os.environ.get(VARIABLE) or set(names) == {method}:
                raise
            typer.echo(one_line(f"{method} is left out: {error}"), err=True)
    return found
