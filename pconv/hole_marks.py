"""Where the holes of a photograph are: in a mask file, or marked by a colour.

In masks True is a known pixel and False a hole.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from pconv.errors import ImageError, MaskError, ParameterError, ShapeError
from pconv.images import MAX_PIXELS, Mask, known_from_foreign, opened_image, read_mask
from pconv.photo_files import Photo, Pixels, read_photo, refuse_pages
from pconv.pictures import as_rgb

log = logging.getLogger(__name__)

TRANSPARENT = "transparent"
_CHANNELS_WITH_ALPHA = (2, 4)
# How far JPEG and soft brushes take the colour of a hole, and a soft eraser its alpha.
_NEARLY, _NEARLY_TRANSPARENT = 100, 254
_SAME, _BLUR_PX = 16, 16  # levels, and pixels that a blur reaches
_WORTH_TELLING = 0.1  # times the hole


@dataclass(frozen=True)
class HoleMarks:
    """How holes are marked.

    Attributes:
        colour: Of holes, in the mask or, where there is none, in the photograph: a name or
            ``#rrggbb`` as CSS has them, or ``transparent``. None for black holes in a mask of
            black and white.
        tolerance: How far each of red, green and blue may be from that colour, 0 to 255.
        invert: Everything else is hole.
        grow_px: By how much holes grow in all directions.

    Raises:
        ParameterError: If there is no such colour, or a tolerance without a colour.
    """

    colour: str | None = None
    tolerance: int = 0
    invert: bool = False
    grow_px: int = 0

    def __post_init__(self) -> None:
        """Refuse a colour that does not exist; capitals and blanks around its name don't matter."""
        if self.colour is not None:
            object.__setattr__(self, "colour", self.colour.strip().lower())
        elif self.tolerance:
            raise ParameterError(
                f"tolerance is {self.tolerance}, but no colour of holes is named; name it, for "
                "example --hole-color black, or leave the tolerance out"
            )
        if self.colour not in (None, TRANSPARENT):
            _rgb(str(self.colour))


def known_pixels(
    photo: Photo, mask: Path | None, marks: HoleMarks, *, name: Path | str = "the photo"
) -> Mask:
    """Return where a photograph is known.

    Args:
        photo: The photograph.
        mask: The mask file, of the size of the upright photograph; none if a colour in the
            photograph itself marks the holes.
        marks: How holes are marked.
        name: What the photograph is called in messages.

    Returns:
        True where known, shape of the upright photograph.

    Raises:
        MaskError: If there is neither mask nor colour, the mask can't be read, or holes are to be
            transparent where there is no alpha.
        ImageError: If a mask with a hole colour can't be read.
        ShapeError: If the mask is of another size.
    """
    if mask is None and marks.colour is None:
        raise MaskError("no mask and no colour of holes: say where they are")
    distance, where = None, mask or name
    if marks.colour is None:
        known = _read_black_and_white(Path(str(mask)))
    else:
        marked = photo if mask is None else read_photo(mask)
        distance = _distance(marked.upright, str(marks.colour))
        known = distance > marks.tolerance
        if known.all():
            log.warning("no pixel of %s is %s; raise the tolerance?", where, marks.colour)
    height, width = photo.upright.shape[:2]
    if known.shape != (height, width):
        raise ShapeError(
            f"{mask}: {known.shape[1]}x{known.shape[0]} pixels; wanted {width}x{height}, the size "
            f"of {name} as it is shown"
        )
    if marks.invert:
        known = known_from_foreign(known)
    if marks.colour is None and known.all():
        colour = "white" if marks.invert else "black"
        log.warning("%s: no %s pixel, so nothing was filled", mask, colour)
    known = _grown(known, marks.grow_px)
    if distance is not None and not marks.invert:
        _tell_nearly_marked(known, distance, marks, where)
    return known


def _read_black_and_white(path: Path) -> Mask:
    known = read_mask(path)
    try:
        with opened_image(path, MAX_PIXELS) as image:
            refuse_pages(image, path)
    except ImageError as error:
        raise MaskError(str(error)) from error
    return known


def _distance(pixels: Pixels, colour: str) -> NDArray[np.uint8]:
    """Return how far pixels are from a colour; of 16-bit values the upper half is compared."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if colour == TRANSPARENT:
        if pixels.ndim == 2 or pixels.shape[2] not in _CHANNELS_WITH_ALPHA:
            raise MaskError("holes are to be transparent, but the picture has no alpha channel")
        return np.asarray(pixels[..., -1])
    difference = np.abs(as_rgb(pixels).astype(np.int16) - _rgb(colour))
    return np.asarray(difference.max(axis=-1), np.uint8)


def _tell_nearly_marked(
    known: Mask, distance: NDArray[np.uint8], marks: HoleMarks, where: Path | str
) -> None:
    """Warn if the hole goes on in pixels that are nearly of its colour."""
    is_alpha = marks.colour == TRANSPARENT
    tolerance = _NEARLY_TRANSPARENT if is_alpha else _NEARLY
    nearly = (distance <= tolerance) & known
    least = _WORTH_TELLING * np.count_nonzero(~known)
    is_photo = 2 * np.count_nonzero(nearly) > np.count_nonzero(known)  # of that colour itself
    if is_photo or np.count_nonzero(nearly) <= least:
        return
    count, parts = cv2.connectedComponents((nearly | ~known).astype(np.uint8))
    has_hole = np.zeros(count, bool)
    has_hole[parts[~known]] = True
    around = nearly & has_hole[parts]
    more = np.count_nonzero(around)
    # A sky beside a white hole goes far; what JPEG or a brush leaves is close to the very colour.
    close = ~_grown(known & (distance > _SAME), _BLUR_PX)
    is_blur = is_alpha or np.count_nonzero(around & close) > 0.9 * more
    if more > least and is_blur:
        log.warning(
            "%s: %d more pixels around the hole are %s %s and stay; a tolerance of %d takes them",
            *(where, more, "partly" if is_alpha else "nearly", marks.colour, tolerance),
        )


def _rgb(colour: str) -> tuple[int, ...]:
    wanted = f"wanted a name such as magenta, #rrggbb, or {TRANSPARENT}"
    try:
        rgb = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise ParameterError(f"hole colour is {colour!r}, {wanted}") from error
    if max(rgb) > 255:  # Pillow doesn't mind
        raise ParameterError(f"hole colour is {colour!r}, with numbers above 255; {wanted}")
    return rgb


def _grown(known: Mask, grow_px: int) -> Mask:
    """Take a disc around each hole pixel into the hole."""
    if grow_px == 0:
        return known
    # Not a dilation, whose time grows with the disc. Half a squared pixel is far beyond rounding.
    distance = cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance > np.sqrt(grow_px**2 + 0.5))
