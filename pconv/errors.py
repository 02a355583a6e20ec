"""What can go wrong, as one small hierarchy.

Every message names the thing, its place, what was found, what was wanted and what to do.
Command lines print the message without a traceback and exit with status 2.
"""

# Of OpenCV, and of torch on a GPU and without; their errors for it are no MemoryError.
_LACK_OF_MEMORY = ("insufficient memory", "out of memory", "can't allocate memory")


class PConvError(Exception):
    """Base of every error this project raises on purpose."""


class ShapeError(PConvError, ValueError):
    """Arrays or tensors whose shapes do not fit together."""


class ImageError(PConvError, ValueError):
    """An image file that can't be read, or an array that is no image."""


class MaskError(PConvError, ValueError):
    """A mask that is not binary, is empty or full, or looks inverted."""


class GreyMaskError(MaskError):
    """A mask with values between hole and known."""


class TransparentMaskError(MaskError):
    """A mask with erased pixels, which may be meant as holes or as known."""


class WeightsError(PConvError, ValueError):
    """A weights file that is damaged, foreign, or made for another network."""


class ParameterError(PConvError, ValueError):
    """A parameter that does not exist, has a wrong type or an impossible value."""


class ArchiveError(PConvError, ValueError):
    """An archive that is damaged, hostile, or over a limit."""


class DataError(PConvError, ValueError):
    """A folder, table or data set that is not what a stage needs."""


class TrainingError(PConvError, RuntimeError):
    """A training run that must not go on."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error, of any library, says that there is too little memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _LACK_OF_MEMORY)
