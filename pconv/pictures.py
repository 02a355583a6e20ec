"""The kinds of picture and mask people hold, and the one kind that is filled.

Grey, colour, with or without alpha, 8 or 16 bits or floating point, numpy or Pillow: all become
an RGB array of the same dtype, and the fill goes back into a copy of what came in.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pconv.errors import ImageError, MaskError, ShapeError
from pconv.images import Mask

Array = NDArray[Any]
# Constrained, not bound: for a subclass, such as PngImageFile, a plain Image is returned.
Picture = TypeVar("Picture", Image.Image, Array, Image.Image | Array)

LEAST_KNOWN_SHARE = 0.5
_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
_MASK_MODES = ("1", "L", "I;16")
_MASK_KINDS = "buif"  # of numpy's dtypes: bool, unsigned, integer, floating point
_CHANNELS = (1, 2, 3, 4)


def as_array(picture: Image.Image | Array) -> Array:
    """Return a picture as an array, after a check.

    Args:
        picture: A Pillow image of mode L, LA, RGB, RGBA or I;16, or an array ``(H, W)`` or
            ``(H, W, C)`` with 1 to 4 channels (grey, grey and alpha, RGB, RGBA) of uint8, uint16,
            or floating point in 0..1 (`check_range` looks at that).

    Returns:
        The array, plain and in the machine's byte order; no copy where there was such a one.

    Raises:
        ImageError: If it is of another kind.
    """
    if not isinstance(picture, Image.Image):
        array = _plain(picture)
        _check_array(array)
        return array
    if picture.mode not in _MODES:
        raise ImageError(
            f"a Pillow image of mode {picture.mode}; wanted one of {', '.join(_MODES)}: "
            "convert it first, for example with image.convert('RGB')"
        )
    return np.asarray(picture)


def check_range(array: Array, known: Mask) -> None:
    """Refuse floating-point values outside 0..1, under holes too.

    Args:
        array: A checked array.
        known: True where known, shape ``(H, W)``; for the message.

    Raises:
        ImageError: If there are some, or NaN.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    least, most = array.min(), array.max()
    if least >= 0 and most <= 1:  # NaN fails either
        return
    in_range = (array >= 0) & (array <= 1)
    stray = np.asarray(~in_range.reshape(*known.shape, -1).all(axis=-1))
    advice = "" if stray[known].any() else ", all of them under the hole: put 0 there"
    raise ImageError(
        f"{np.count_nonzero(stray)} of {stray.size} pixels are NaN or out of range (floating point "
        f"from {least} to {most}); wanted 0 to 1{advice}"
    )


def as_rgb(array: Array) -> Array:
    """Return the colours of a checked array, grey repeated, shape ``(H, W, 3)``."""
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] >= 3:
        return array[..., :3]
    return np.broadcast_to(array[..., :1], (*array.shape[:2], 3))


def with_fill(picture: Picture, filled: Array, known: Mask) -> Picture:
    """Return a copy of a picture with new colours in its holes.

    Alpha stays as it is, but for hole pixels that were wholly transparent: they become opaque,
    because a fill that nobody sees is none.

    Args:
        picture: What `as_array` accepts.
        filled: RGB in the dtype of that array, shape ``(H, W, 3)``.
        known: True where the picture's own pixels stay, shape ``(H, W)``.
    """
    result = np.array(picture, order="C")  # a plain copy, in the byte order of the picture
    channels = result if result.ndim == 3 else result[..., None]
    holes = ~known
    if channels.shape[2] >= 3:
        channels[holes, :3] = filled[holes]
    else:
        channels[holes, 0] = _grey(filled[holes])
    if channels.shape[2] in (2, 4):
        unseen = holes & (channels[..., -1] == 0)
        channels[unseen, -1] = _largest(result.dtype)
    return _like(picture, result) if isinstance(picture, Image.Image) else result


def as_mask(mask: Image.Image | ArrayLike, height: int, width: int, *, large_holes: bool) -> Mask:
    """Return a mask as bool, after a check.

    Args:
        mask: bool, or two values only: 0 in holes, and 1, 255, or the largest value of the dtype,
            where known; shape ``(height, width)`` or ``(height, width, 1)``; or a Pillow image of
            mode 1, L or I;16 of that size.
        height: Of the picture.
        width: Of the picture.
        large_holes: Allow holes over more than half of the picture.

    Returns:
        True where known, shape ``(height, width)``.

    Raises:
        MaskError: If the mask isn't binary, has no known pixel, or looks inverted.
        ShapeError: If it is not of the picture's size.
    """
    values = _mask_values(mask)
    if values.shape != (height, width):
        raise ShapeError(
            f"the mask has shape {values.shape}, wanted {(height, width)}, the picture's size"
        )
    known = _binary(values)
    share = np.count_nonzero(known) / known.size
    if share == 0:
        raise MaskError("the mask has no known pixel (True, 255), so there is nothing to go by")
    if share < LEAST_KNOWN_SHARE and not large_holes:
        raise MaskError(
            f"{1 - share:.0%} of the mask is hole, so it looks inverted: True, or 255, must mean "
            "known and False, or 0, a hole; flip it (give --invert, or drop --invert where it was "
            "given), or allow large holes (--large-holes, allow_large_holes) if it means what it "
            "says"
        )
    return known


def _plain(array: Array) -> Array:
    if not isinstance(array, np.ndarray):
        raise ImageError(f"a {type(array).__name__}; wanted a numpy array or a Pillow image")
    # Not a masked array: it would hide the fill. And torch takes no foreign byte order.
    return np.asarray(array, array.dtype.newbyteorder("="))


def _check_array(array: Array) -> None:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in _CHANNELS or array.size == 0:
        raise ImageError(
            f"an array of shape {array.shape}; wanted (H, W) or (H, W, C) with 1 to 4 channels"
        )
    if not np.issubdtype(array.dtype, np.floating) and array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"pixels of {array.dtype}; wanted uint8, uint16 or floating point in 0..1")


def _mask_values(mask: Image.Image | ArrayLike) -> Array:
    if isinstance(mask, Image.Image):
        if mask.mode not in _MASK_MODES:
            raise MaskError(
                f"a Pillow mask of mode {mask.mode}; wanted one of {', '.join(_MASK_MODES)}"
            )
        return np.asarray(mask)
    try:
        values = np.asarray(mask)
    # Rows of different lengths, or a tensor that numpy can't read as it stands.
    except (ValueError, TypeError, RuntimeError) as error:
        raise MaskError(
            f"a mask that is no array ({error}); wanted a numpy array or a Pillow image"
        ) from error
    if values.dtype.kind not in _MASK_KINDS:
        raise MaskError(f"a mask of {values.dtype}; wanted bool, integers or floating point")
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def _binary(values: Array) -> Mask:
    if values.dtype == np.bool_:
        return values
    highest = values.max()
    if highest not in (0, 1, 255, _largest(values.dtype)):
        raise MaskError(f"the mask's largest value is {highest}; wanted 0 in holes and 1, or 255")
    known = np.asarray((values == highest) & (values != 0))  # all is 0 where the highest is
    stray = int(np.count_nonzero(values) - np.count_nonzero(known))
    if stray:
        raise MaskError(
            f"{stray} of {values.size} pixels of the mask are neither 0 nor {highest or 1}; masks "
            "must be binary (was it saved as JPEG, or resized with smoothing?)"
        )
    return known


def _largest(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1


def _grey(colours: Array) -> Array:
    """Return the mean of three channels in their own dtype; they differ by little."""
    mean = colours.mean(axis=-1, dtype=np.float64)
    return (np.rint(mean) if np.issubdtype(colours.dtype, np.integer) else mean).astype(
        colours.dtype
    )


def _like(picture: Image.Image, array: Array) -> Image.Image:
    """Return an array as an image of the mode of a picture, with its profile and other words."""
    image = Image.fromarray(array)
    image.info = dict(picture.info)
    return image
