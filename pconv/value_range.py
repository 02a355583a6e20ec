"""The range of pixel values in tensors: 0 to 1."""

from torch import Tensor

from pconv.errors import ImageError


def refuse_integers(name: str, images: Tensor) -> None:
    """Refuse integers, which can't be values from 0 to 1; floating point is not looked at.

    Args:
        name: What they are, for the message.
        images: Of any shape.

    Raises:
        ImageError: If they are of integers.
    """
    if not images.is_floating_point():
        raise ImageError(
            f"{name}: {images.dtype}; wanted floating point in 0..1, so divide 8-bit values by 255"
        )
