"""Several fills of one picture side by side, each with its name."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pconv.images import Mask, Pixels
from pconv.resizing import resize_image

HOLE_COLOUR = (255, 0, 255)  # seldom met in photographs
_GAP_PX = 8
_LABEL_PX = 16


def with_holes(image: Pixels, known: Mask) -> Pixels:
    """Return a picture, uint8 ``(H, W, 3)``, with its holes painted in a loud colour."""
    return np.where(known[..., None], image, np.array(HOLE_COLOUR, np.uint8))


def side_by_side(pictures: Mapping[str, Pixels], *, side_px: int = 384) -> Pixels:
    """Draw pictures in rows, under their names.

    Args:
        pictures: Name to uint8 RGB ``(H, W, 3)``, all of one size, at least one.
        side_px: Longer side of each as drawn; smaller pictures are not enlarged.

    Returns:
        uint8 RGB on white.
    """
    shown = {name: _reduced(picture, side_px) for name, picture in pictures.items()}
    height, width = next(iter(shown.values())).shape[:2]
    font = ImageFont.load_default(size=_LABEL_PX)
    width = max(width, *(int(font.getlength(name)) for name in shown))
    columns = min(len(shown), 4)
    step_x, step_y = width + _GAP_PX, height + _LABEL_PX + 2 * _GAP_PX
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(shown.items()):
        left = _GAP_PX + place % columns * step_x
        top = _GAP_PX + place // columns * step_y
        draw.text((left, top), name, fill="black", font=font)
        sheet.paste(Image.fromarray(picture), (left, top + _LABEL_PX + _GAP_PX))
    return np.asarray(sheet)


def _reduced(picture: Pixels, side_px: int) -> Pixels:
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return picture
    return resize_image(picture, max(1, round(height * scale)), max(1, round(width * scale)))
