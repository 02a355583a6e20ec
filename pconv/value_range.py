"""What pixel values in tensors are: 0 to 1, or for `pconv.metrics` 0 to 255."""

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


def refuse_arrays(**given: object) -> None:
    """Refuse what is no tensor.

    Args:
        given: Images, masks or regions, by their names for the message.

    Raises:
        ImageError: If one is something else.
    """
    for name, one in given.items():
        if not isinstance(one, Tensor):
            raise ImageError(f"{name}: a {type(one).__name__}; wanted a torch tensor")


def refuse_01(prediction: Tensor, truth: Tensor) -> None:
    """Refuse images in 0..1 where 0..255 is wanted: floating point, with fractions in 0..1.

    Both, or one beside integers above 1. Where one has no fractions it may be black, in either
    range. Only on a CPU: a device would have to finish all that it was given before there is an
    answer.

    Args:
        prediction: Not empty.
        truth: Not empty.

    Raises:
        ImageError: If both are in 0..1, or one is and the other is of larger integers.
    """
    if _is_in_01(truth) and _is_in_01(prediction):
        raise ImageError(
            "prediction and truth are floating point in 0..1; wanted 0..255, so multiply by 255"
        )
    for name, one, other in (("prediction", prediction, truth), ("truth", truth, prediction)):
        if not other.is_floating_point() and _is_in_01(one) and other.max() > 1:
            raise ImageError(
                f"{name}: floating point in 0..1, beside {other.dtype} up to {other.max()}; wanted "
                "0..255 of both, so multiply it by 255"
            )


def _is_in_01(images: Tensor) -> bool:
    if images.device.type != "cpu" or not images.is_floating_point():
        return False
    # The largest value first: in 0..255 it is all that is looked at.
    return bool(images.max() <= 1 and images.min() >= 0 and images.frac().any())
