"""The inpainting methods that learn nothing, behind one call.

    filled = fill("telea", image, mask)

`METHODS` names them. In masks 1 (True) is a known pixel and 0 (False) a hole. scikit-image and
the compiled PatchMatch are imported when first used: they take seconds, this module does not.
"""

import difflib
from collections.abc import Callable, Collection
from typing import Final

import cv2
import numpy as np

from pconv.errors import MaskError, ParameterError, ShapeError
from pconv.images import Mask, Pixels
from pconv.resizing import refuse_other_than_8_bits

Fill = Callable[[Pixels, Mask], Pixels]

INPAINT_RADIUS_PX: Final = 3
"""How far Telea and Navier-Stokes look; the radius of OpenCV's own example."""


def fill(name: str, image: Pixels, mask: Mask) -> Pixels:
    """Fill the hole of one picture.

    Args:
        name: One of `METHODS`.
        image: Values 0..255, RGB, uint8, shape ``(H, W, 3)``; what lies under the hole is ignored.
        mask: True where known, bool, shape ``(H, W)``.

    Returns:
        A new array like ``image``: known pixels bit-identical, the hole filled.

    Raises:
        ParameterError: If there is no such method.
        ImageError: If the image is not uint8.
        ShapeError: If image and mask are no picture and mask of one size.
        MaskError: If the mask is not bool, or no pixel is known.
    """
    if name not in METHODS:
        raise ParameterError(f"method is {name!r}{wanted_one_of(METHODS, name)}")
    _check(image, mask)
    if mask.all():
        return image.copy()
    known = mask[..., None]
    # Blanked, because OpenCV's methods read under the hole: up to 8 of 256 levels of difference.
    return np.where(known, image, METHODS[name](np.where(known, image, np.uint8(0)), mask))


def mean(image: Pixels, mask: Mask) -> Pixels:
    """Paint the whole picture in the mean colour of its known pixels."""
    colour = np.rint(image[mask].mean(axis=0, dtype=np.float64))
    return np.broadcast_to(colour.astype(np.uint8), image.shape)


def telea(image: Pixels, mask: Mask) -> Pixels:
    """Fill by fast marching (Telea 2004), OpenCV's implementation."""
    return _opencv(image, mask, cv2.INPAINT_TELEA)


def navier_stokes(image: Pixels, mask: Mask) -> Pixels:
    """Fill by fluid dynamics (Bertalmio et al. 2001), OpenCV's implementation."""
    return _opencv(image, mask, cv2.INPAINT_NS)


def biharmonic(image: Pixels, mask: Mask) -> Pixels:
    """Fill with the solution of the biharmonic equation, scikit-image's implementation.

    One sparse system for all holes; its time grows faster than the number of hole pixels.
    """
    from skimage.restoration import inpaint_biharmonic

    filled_01 = inpaint_biharmonic(image, ~mask, channel_axis=-1)
    return np.rint(filled_01 * 255).astype(np.uint8)


def patchmatch(image: Pixels, mask: Mask) -> Pixels:
    """Copy patches from elsewhere in the picture; see `pconv.patchmatch`."""
    from pconv.patchmatch import patchmatch as fill_with_patches

    return fill_with_patches(image, mask)


METHODS: Final[dict[str, Fill]] = {
    "mean": mean,
    "telea": telea,
    "ns": navier_stokes,
    "biharmonic": biharmonic,
    "patchmatch": patchmatch,
}
"""What `fill` can call. Each takes a checked image and mask with both known pixels and holes."""


def _opencv(image: Pixels, mask: Mask, algorithm: int) -> Pixels:
    hole = (~mask).astype(np.uint8)  # OpenCV's mask is 1 in holes
    if 1 in mask.shape:
        # Of a single row or column OpenCV reads memory beside it: no two calls agree.
        twice = [2 if side == 1 else 1 for side in mask.shape]
        image, hole = (part.repeat(twice[0], 0).repeat(twice[1], 1) for part in (image, hole))
    filled = cv2.inpaint(np.ascontiguousarray(image), hole, INPAINT_RADIUS_PX, algorithm)
    return filled[: mask.shape[0], : mask.shape[1]]


def wanted_one_of(names: Collection[str], found: object) -> str:
    """Return the end of an error: the names that there are, and the one most like that found."""
    near = difflib.get_close_matches(str(found), names, n=1)
    return f", wanted one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


def _check(image: Pixels, mask: Mask) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ShapeError(
            f"image has shape {image.shape}, wanted (H, W, 3): RGB with its channels last"
        )
    refuse_other_than_8_bits(image)
    if mask.shape != image.shape[:2]:
        raise ShapeError(
            f"mask has shape {mask.shape}, the image {image.shape}; wanted its first two"
        )
    if mask.dtype != np.bool_:
        raise MaskError(f"mask is {mask.dtype}, wanted bool, True where known; try mask > 127")
    if not mask.any():
        raise MaskError("mask: no pixel is known (1), so there is nothing to fill from")
