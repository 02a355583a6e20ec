"""The command ``pconv``.

Exit status 0 is success and 2 bad input, which is told without a traceback. The library is
imported when a command runs, so that help and completion answer at once.
"""

import logging
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from pconv.cli_comparing import compare, measure
from pconv.cli_errors import Commands, exit_if_failed, one_line, tell_beside_bar
from pconv.cli_options import (
    FILL_HELP,
    Device,
    Grow,
    Half,
    HoleColor,
    Invert,
    Kind,
    LargeHoles,
    Masks,
    MaxSide,
    Method,
    Mirror,
    Out,
    Overwrite,
    Photos,
    Tolerance,
    Weights,
    drawing,
    refuse_network_options,
)
from pconv.errors import MaskError, ParameterError, PConvError

if TYPE_CHECKING:
    from pconv.inpainting import Inpainter
    from pconv.unet import UNet

_PAGE_NEEDS = ("starlette", "uvicorn", "python_multipart")


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        from pconv import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def pconv(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Fill holes in photographs with partial convolutions.

    Start with [bold]pconv fill --help[/bold].
    """


@app.command(no_args_is_help=True, help=FILL_HELP)
def fill(
    photos: Photos,
    mask: Masks = None,
    out: Out = None,
    hole_color: HoleColor = None,
    tolerance: Tolerance = 0,
    invert: Invert = False,
    grow: Grow = 0,
    large_holes: LargeHoles = False,
    method: Method = "pconv",
    weights: Weights = None,
    max_side: MaxSide = None,
    device: Device = None,
    half: Half = False,
    mirror: Mirror = False,
    overwrite: Overwrite = False,
) -> None:
    """Fill the holes of one photo or many; `FILL_HELP` is what a user reads."""
    from pconv.fill_files import find_files, mask_for_all, plan_jobs
    from pconv.hole_marks import HoleMarks
    from pconv.inpainting import Inpainter

    if not mask and hole_color is None:
        raise ParameterError("say where the hole is: with --mask FILE, or with --hole-color COLOR")
    refuse_network_options([method], weights=weights, device=device, half=half, mirror=mirror)
    marks = HoleMarks(hole_color, tolerance, invert, grow)
    masks = find_files(mask or [], masks=True)
    jobs = plan_jobs(find_files(photos), masks, out, for_all=mask_for_all(mask or []))
    inpainter = Inpainter(
        weights=weights,
        method=method,
        device=device,
        half=half,
        mirror=mirror,
        max_side=max_side,
        allow_large_holes=large_holes,
    )
    failed = _fill_all(jobs, inpainter, marks, overwrite)
    exit_if_failed(failed, len(jobs), "filled")


def _fill_all(jobs: list[Any], inpainter: "Inpainter", marks: Any, overwrite: bool) -> int:
    """Fill files one by one; a bad one is told, the others are filled. Return how many failed."""
    from pconv.fill_files import fill_file

    failed = 0
    for job in tqdm(jobs, desc="fill", unit="photo", disable=True if len(jobs) == 1 else None):
        started = time.perf_counter()
        try:
            share = fill_file(job, inpainter, marks, overwrite=overwrite)
        except (PConvError, OSError) as error:
            failed += 1
            tell_beside_bar(error)
        else:
            seconds = time.perf_counter() - started
            hole = f"{share:.1%}" if not 0 < share < 0.0005 else "under 0.1%"
            text = f"{job[0]} -> {job[2]} ({hole} hole, {seconds:.1f} s)"
            tqdm.write(one_line(text), file=sys.stdout)
    return failed


@app.command(no_args_is_help=True)
def masks(
    out: Annotated[Path, typer.Argument(help="Folder for the masks; made if need be.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    size: Annotated[str, typer.Option(help="Pixels: SIDE or WIDTHxHEIGHT.")] = "256",
    kind: Kind = "walk",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal masks.")] = 0,
) -> None:
    """Draw random masks: white is known, black a hole.

    [bold]Example[/bold]

      pconv masks masks/ --count 100 --size 640x480 --kind strokes
    """
    import numpy as np

    from pconv.images import write_mask

    if out.exists() and not out.is_dir():
        raise ParameterError(f"{out}: is no folder; wanted one for the masks")
    draw = drawing(kind)
    width, height = _size(size)
    for item in tqdm(range(count), desc="masks", unit="mask", disable=None):
        try:
            known = draw(np.random.default_rng([seed, item]), height, width)
        except MaskError as error:
            raise ParameterError(
                f"size is {size!r}, too small for masks of kind {kind}; wanted a larger --size"
            ) from error
        write_mask(out / f"{item:06d}.png", known)
    typer.echo(one_line(f"{count} masks in {out}"))


def _size(text: str) -> tuple[int, int]:
    """Return width and height from ``256`` or ``640x480``."""
    sides = text.lower().split("x")
    # Python turns no more than 4300 digits into a number.
    are_numbers = all(side.isdecimal() and len(side) <= 5 for side in sides)
    if len(sides) > 2 or not (are_numbers and all(0 < int(side) <= 10_000 for side in sides)):
        raise ParameterError(f"size is {text!r}, wanted SIDE or WIDTHxHEIGHT, 1 to 10000 each")
    return int(sides[0]), int(sides[-1])


app.command(no_args_is_help=True)(compare)
app.command(no_args_is_help=True)(measure)


@app.command(no_args_is_help=True)
def info(
    weights: Annotated[str, typer.Argument(help="Weights file or MLflow URI.")],
) -> None:
    """Tell what a weights file holds: its network, and what it was trained on."""
    from pconv.weights import load_weights
    from pconv.weights_header import read_about
    from pconv.weights_source import weights_file

    with weights_file(weights) as path:
        network, about = load_weights(path), read_about(path)
        size = path.stat().st_size
    count = sum(parameter.numel() for parameter in network.parameters())
    facts = {**network.hyperparameters(), "parameters": f"{count:,}", "bytes": f"{size:,}", **about}
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(one_line(f"{name:{width}}  {value}"))
    typer.echo("")
    for line in _table(network):
        typer.echo(line)


def _table(network: "UNet") -> Iterator[str]:
    """Yield the rows of Figure 4 that a network has."""
    yield f"{'row':8} {'kernel':>6} {'from':>5} {'to':>5} {'stride':>6}  norm  slope"
    for layer in (*network.encoder, *network.decoder):
        row = layer.row
        slope = "-" if row.slope is None else row.slope
        yield (
            f"{row.name:8} {row.kernel:>6} {layer.conv.in_channels:>5} {row.filters:>5} "
            f"{row.stride:>6}  {'yes' if row.norm else 'no':4}  {slope}"
        )


@app.command(no_args_is_help=True)
def export(
    weights: Annotated[str, typer.Argument(help="Weights file or MLflow URI.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file.")] = Path("pconv.onnx"),
) -> None:
    """Write a network as ONNX, for programs without PyTorch, and check what it computes.

    Inputs are image (B, 3, H, W), 0 to 1, and mask (B, 1, H, W), 1 where known; the output is the
    filled image. Any size.
    """
    from pconv.export import export_onnx
    from pconv.fill_files import refuse_overwriting
    from pconv.weights_source import weights_file

    # A line for each operation that the exporter would fold if it could.
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)
    if out.suffix.lower() != ".onnx":
        raise ParameterError(f"{out}: the network is written as ONNX; wanted a name in .onnx")
    with weights_file(weights) as path:
        refuse_overwriting(out, path)
        difference = export_onnx(path, out)
    checked = (
        "not checked: onnxruntime is not installed"
        if difference is None
        else f"differs from PyTorch by at most {difference:.1g}"
    )
    typer.echo(one_line(f"{weights} -> {out} ({checked})"))


@app.command("app")
def page(
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8042,
    weights: Weights = None,
    device: Device = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser.")
    ] = True,
) -> None:
    """Open a page in the browser: paint a hole on a photo, see the fill, download it.

    Photos go from the browser to this machine and nowhere else; nothing of them is kept.
    """
    missing = [name for name in _PAGE_NEEDS if find_spec(name) is None]
    if missing:
        raise ParameterError(
            f"the page needs {' and '.join(missing)}, which is not installed: "
            "pip install 'pconv[app]'"
        )
    from pconv.page.serving import serve

    serve(host=host, port=port, weights=weights, device=device, open_browser=open_browser)


if __name__ == "__main__":
    app()
