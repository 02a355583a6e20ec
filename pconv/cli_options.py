"""The options of the command ``pconv``, as a user reads them in its help, and their checks."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from pconv.errors import ParameterError
from pconv.method_names import METHODS, NETWORK

MASK_KINDS = ("walk", "strokes", "rectangles", "blocks", "brush", "borders")

FILL_HELP = """Fill the holes of one photo or many.

Pixels outside the hole stay as they are, bit for bit, also in 16-bit PNG
and TIFF files, and so do alpha, colour profile, EXIF and orientation. JPEG
photos become PNG files unless -o says otherwise. CMYK becomes RGB.

[bold]Examples[/bold]

A hole painted black in a white mask:

  pconv fill photo.jpg --mask mask.png -o filled.png

A hole painted magenta into the photo, and four pixels around it:

  pconv fill photo.png --hole-color magenta --grow 4

A mask that went through JPEG, dark where the hole is:

  pconv fill photo.png -m mask.jpg --hole-color black --tolerance 100

A folder of photos, a folder of masks of the same names:

  pconv fill photos/ --mask masks/ -o filled/

Without a network:

  pconv fill photo.jpg -m mask.png --method patchmatch

A file whose name begins with a dash comes after two dashes: -- -photo.jpg
"""


def _choices(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    def matching(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return matching


Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        "-m",
        help="Mask file, folder or quoted pattern: white is known, black a hole. One file serves "
        "all photos; of several, or a folder, each photo gets the one of its name (cat.png or "
        "cat_mask.png for cat.jpg).",
    ),
]
HoleColor = Annotated[
    str | None,
    typer.Option(
        help="Colour of the hole: magenta, #ff00ff or transparent, in the mask or, without a "
        "mask, in the photo itself."
    ),
]
Tolerance = Annotated[
    int,
    typer.Option(
        min=0, max=255, help="How far red, green and blue may each be from the hole colour."
    ),
]
Invert = Annotated[bool, typer.Option("--invert", help="The mask means the opposite.")]
Grow = Annotated[int, typer.Option(min=0, max=1000, help="Grow the hole by so many pixels.")]
LargeHoles = Annotated[
    bool, typer.Option("--large-holes", help="Allow holes over more than half of the photo.")
]
Method = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(METHODS)}. Only pconv needs weights.",
        autocompletion=_choices(METHODS),
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights file, MLflow URI (models:/NAME/1, runs:/ID/PATH), or last: those trained in "
        "this folder, models/pconv/last.safetensors. Without it those that PCONV_WEIGHTS names, or "
        "else those that ship with pconv."
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Work the fill out at this longer side and enlarge it into the hole: quicker, "
        "coarser. The photo itself keeps its size.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1…; the GPU if there is one.")]
Photos = Annotated[
    list[str],
    typer.Argument(
        help="Photo files, folders of photos (without what lies in folders in them), or quoted "
        "patterns, such as 'photos/**/*.jpg'."
    ),
]
Out = Annotated[
    str | None,  # a path would lose the slash at its end
    typer.Option(
        "--out",
        "-o",
        metavar="<path>",
        help="Result: a file, or a folder for several photos. Without it PHOTO-filled.png "
        "beside each photo. The ending says the format: png, tif, webp (lossless) or jpg.",
    ),
]
Half = Annotated[
    bool,
    typer.Option(
        "--half",
        help="Run the network in bfloat16: faster on most GPUs, and on a CPU only if it has "
        "instructions for it.",
    ),
]
Mirror = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="Take the mean of the network's fills of the photo's four flips: four times the time, "
        "a little closer to the truth.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Let a result take the place of its photo or mask.")
]
Kind = Annotated[
    str,
    typer.Option(help=f"One of {', '.join(MASK_KINDS)}.", autocompletion=_choices(MASK_KINDS)),
]


def refuse_network_options(methods: list[str], **options: Any) -> None:
    """Refuse options of the network where no method has one."""
    if NETWORK not in methods:
        reason = f"only the method pconv has a network, {', '.join(methods)} has none"
        refuse_idle(f"{reason}; leave it out, or choose pconv", **options)


def refuse_idle(reason: str, **options: Any) -> None:
    """Refuse options that are given and would change nothing, with the reason."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise ParameterError(f"{', '.join(given)}: {reason}")


def drawing(kind: str) -> Callable[..., Any]:
    """Return what draws masks of a kind; raise ParameterError if there is no such kind."""
    from pconv.mask_shapes import borders, brush
    from pconv.masks import blocks, random_walk, rectangles, strokes

    functions: list[Callable[..., Any]] = [random_walk, strokes, rectangles, blocks, brush, borders]
    drawings = dict(zip(MASK_KINDS, functions, strict=True))
    if kind not in drawings:
        from pconv.baselines import wanted_one_of

        raise ParameterError(f"kind is {kind!r}{wanted_one_of(MASK_KINDS, kind)}")
    return drawings[kind]
