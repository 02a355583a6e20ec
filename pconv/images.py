"""The one place that reads and writes the image and mask files of the pipeline.

`pconv.photo_files` reads photographs to be filled, and writes them as they were stored.

In a mask 1 (True, 255 in a file) is a known pixel and 0 a hole, here and everywhere.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pconv.atomic import atomic_file
from pconv.errors import (
    DataError,
    GreyMaskError,
    ImageError,
    MaskError,
    TransparentMaskError,
    is_lack_of_memory,
)

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MAX_PIXELS = 100_000_000
_GREY_THRESHOLD = 128
_NEARLY_GREY = 16  # how far red, green and blue of a mask may be apart after lossy compression
# Pillow knows more formats; some of them (EPS) start other programs, and these files are foreign.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
_MAX_BYTES_A_PIXEL = 8  # 16 bits of red, green, blue and alpha, not compressed
_MAX_METADATA_BYTES = 1 << 26
EXIF_ORIENTATION, _UPRIGHT = 0x0112, 1
# By EXIF orientation: whether rows and columns change places, and which way they then run.
TURNS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_ZERO_IS_WHITE = 258, 262, 0
_PNG_BIT_DEPTH_AT = 24  # in the file: of IHDR

# The fastest level: these files are written by the thousand and read back a few times.
_PHOTO_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
_MASK_PNG = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1]


def read_image(
    path: Path | str, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Pixels:
    """Read any common photograph as upright 8-bit RGB.

    Grey, palette, transparent (laid on white), CMYK and 16-bit pictures are converted; the EXIF
    orientation is applied.

    Args:
        path: A JPEG, PNG, WebP, TIFF or BMP file.
        min_side: Let the JPEG decoder skip detail as long as the shorter side keeps this many
            pixels; other formats are read in full.
        max_pixels: Refuse larger pictures before they are decoded.

    Returns:
        The pixels, uint8, shape ``(H, W, 3)``.

    Raises:
        ImageError: If the file is missing, truncated, no image, or too large.
    """
    path = Path(path)
    with opened_image(path, max_pixels) as image:
        if min_side is not None:
            _reduce_in_decoder(image, min_side)
        return _upright(_to_rgb(image, path), image, path)


def is_plain_jpeg(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> bool:
    """Tell whether a file is an upright 8-bit RGB or grey JPEG, so one that needs no conversion.

    Raises:
        ImageError: If the file is missing or no image.
    """
    with opened_image(Path(path), max_pixels) as image:
        is_jpeg = image.format == "JPEG" and image.mode in ("RGB", "L")
        return is_jpeg and orientation(exif_of(image, Path(path))) == _UPRIGHT


def write_image(path: Path | str, image: Pixels) -> None:
    """Write ``image``, uint8 RGB of shape ``(H, W, 3)``, as a PNG file, whole or not at all.

    Raises:
        ImageError: If it is of another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{path}: can't write {image.dtype} {image.shape}; wanted uint8 (H, W, 3)")
    _write_png(Path(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PHOTO_PNG)


def read_mask(path: Path | str, *, grey: bool = False, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a mask file: True where known (white), False in holes (black).

    Args:
        path: A lossless image file that holds 0 and 255 only.
        grey: Accept grey values too (masks that went through JPEG); from 128 on a pixel is known.
        max_pixels: Refuse larger masks before they are decoded.

    Returns:
        The mask, bool, shape ``(H, W)``.

    Raises:
        MaskError: If the file is unreadable, has transparent pixels, or is grey while that is not
            accepted.
    """
    values = _read_grey(Path(path), max_pixels)
    if grey:
        return np.asarray(values >= _GREY_THRESHOLD)
    known = values == 255
    stray = int(np.count_nonzero(values) - np.count_nonzero(known))
    if stray and values.max() == 1:
        raise MaskError(f"{path}: its pixels are 0 and 1; wanted 0 and 255: multiply them by 255")
    if stray:
        raise GreyMaskError(
            f"{path}: {stray} of {values.size} pixels are neither 0 nor 255; masks must be binary "
            "(was it saved as JPEG, or resized with smoothing?)"
        )
    return np.asarray(known)


def check_mask_size(path: Path, mask: Mask, size: tuple[int, int], whose: str) -> None:
    """Refuse a mask that is not as large as what it is to damage.

    Args:
        path: The mask's file, for the message.
        mask: Bool ``(H, W)``.
        size: Height and width wanted.
        whose: What has that size, with its verb: "its photo 3.png has".

    Raises:
        DataError: If the mask is of another size.
    """
    if mask.shape != size:
        raise DataError(
            f"{path}: {mask.shape[1]}x{mask.shape[0]} pixels, but {whose} {size[1]}x{size[0]}; "
            "a mask must be as large as what it damages: make it anew"
        )


def write_mask(path: Path | str, mask: Mask) -> None:
    """Write ``mask``, bool ``(H, W)``, as a 1-bit PNG file, whole or not at all.

    Raises:
        MaskError: If it is of another type or shape.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise MaskError(f"{path}: can't write {mask.dtype} {mask.shape}; wanted bool (H, W)")
    _write_png(Path(path), mask.astype(np.uint8) * 255, _MASK_PNG)


def known_from_foreign(mask: Mask) -> Mask:
    """Flip a mask whose ones are holes, as many other tools write them, to ours: ones are known."""
    return ~mask


@contextmanager
def opened_image(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file; whatever goes wrong until it is closed becomes an ``ImageError``."""
    try:
        with warnings.catch_warnings():
            # Damaged metadata is no reason to refuse good pixels, and the size has its own check.
            warnings.simplefilter("ignore")
            # From memory: Pillow 13 maps some TIFF files that it opens by name with height and
            # width exchanged where the orientation is a quarter turn.
            content = _content(path, max_pixels)
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                _check_size(image, path, max_pixels)
                _refuse_odd_grey(image, path)
                _scale_transparent_grey(image, content)
                yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # of twice what Pillow calls many pixels
        size = str(error).partition(" exceeds")[0].lower()
        raise ImageError(
            f"{path}: {size}; at most {max_pixels} are read: make it smaller"
        ) from error
    except Exception as error:  # decoders raise whatever they stumble over
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, such as "Permission denied"; decoders give no number
        if is_lack_of_memory(error):
            raise ImageError(f"{path}: reading it takes more memory than there is") from error
        # Pillow's own words name the place in memory that it read from, never the same.
        is_unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if is_unknown else f"{type(error).__name__}: {error}"
        raise ImageError(
            f"{path}: not a readable image ({reason}); "
            "wanted a whole JPEG, PNG, WebP, TIFF or BMP file"
        ) from error


def upright(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return pixels ``(H, W, ...)`` turned as EXIF's orientation says, 1 to 8.

    Pillow's own `exif_transpose` writes EXIF data anew, and so refuses what is damaged.
    """
    swap, down, right = TURNS[turn]
    turned = pixels.swapaxes(0, 1) if swap else pixels
    return np.ascontiguousarray(turned[::down, ::right])


def orientation(exif: Image.Exif) -> int:
    """Return EXIF's number, 1 to 8, for how the pixels are to be turned; 1 where it is damaged."""
    value = exif.get(EXIF_ORIENTATION)
    return value if value in TURNS else _UPRIGHT


def exif_of(image: Image.Image, path: Path) -> Image.Exif:
    """Return EXIF data; none where it can't be read at all, as Pillow itself has it for JPEG."""
    if image.format == "PNG":
        image.load()  # as it would below: damaged pixels must not pass for damaged metadata
    try:
        return image.getexif()
    except Exception as error:  # damaged metadata breaks Pillow in many ways
        if image.format == "TIFF":  # it describes the pixels
            raise
        log.warning("%s: its EXIF data is damaged (%s) and left out", path, error)
        return Image.Exif()


def _content(path: Path, max_pixels: int) -> bytes:
    # A named pipe would never end, and a large file of another kind would fill the memory.
    if not path.is_file():
        raise ImageError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    size, most = path.stat().st_size, _MAX_BYTES_A_PIXEL * max_pixels + _MAX_METADATA_BYTES
    if size > most:
        raise ImageError(f"{path}: {size} bytes; at most {most} are read")
    return path.read_bytes()


def _check_size(image: Image.Image, path: Path, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: {width}x{height} pixels; at most {max_pixels} are read: make it smaller"
        )


def _refuse_odd_grey(image: Image.Image, path: Path) -> None:
    """Refuse grey of more than 8 bits that Pillow reads as it stands, whatever it means."""
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        tags = image.getexif()
        bits = tags.get(_TIFF_BITS, 16)
        if bits not in (16, (16,)):
            raise ImageError(f"{path}: {bits} bits a pixel; wanted 8 or 16")
        if tags.get(_TIFF_PHOTOMETRIC) == _TIFF_ZERO_IS_WHITE:
            raise ImageError(f"{path}: a grey TIFF in which 0 is white; save it with 0 as black")


def _scale_transparent_grey(image: Image.Image, content: bytes) -> None:
    """Bring the transparent grey of a PNG to 8 bits, as Pillow does with its pixels alone."""
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2 ** content[_PNG_BIT_DEPTH_AT] - 1)


def _reduce_in_decoder(image: Image.Image, min_side: int) -> None:
    """Ask a JPEG decoder for 1/2, 1/4 or 1/8 of the size; other formats ignore the request."""
    scale = min(image.size) / min_side
    if scale >= 2:
        image.draft("RGB", (int(image.width / scale), int(image.height / scale)))


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ImageError(f"{path}: 32-bit grey values; wanted 8 or 16 bits a channel")
        eight_bits = (grey >> 8).astype(np.uint8)  # as Pillow makes them of 16-bit colours
        eight_bits[grey == image.info.get("transparency", -1)] = 255  # on white, as below
        return Image.fromarray(eight_bits).convert("RGB")
    if image.mode == "F":
        raise ImageError(f"{path}: floating-point pixels have no fixed range; wanted 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _read_grey(path: Path, max_pixels: int) -> Pixels:
    try:
        with opened_image(path, max_pixels) as image:
            if image.mode in ("1", "L") and "transparency" not in image.info:
                return _upright(image.convert("L"), image, path)
            has_erased = _has_erased(image)
            rgb = _upright(_to_rgb(image, path), image, path)
    except ImageError as error:
        raise MaskError(str(error)) from error
    if has_erased:
        raise TransparentMaskError(
            f"{path}: some of its pixels are transparent; wanted black (hole) and white (known) "
            "alone"
        )
    if most := int(np.ptp(rgb, axis=-1).max()):
        kind = GreyMaskError if most <= _NEARLY_GREY else MaskError
        raise kind(f"{path}: a colour image; wanted a mask of black (hole) and white (known)")
    return rgb[..., 0]


def _upright(converted: Image.Image, image: Image.Image, path: Path) -> Pixels:
    """Return the pixels of a picture, as it was converted, turned as its file says.

    Converting loads it, which turns TIFF files: their orientation is then none.
    """
    return upright(np.asarray(converted), orientation(exif_of(image, path)))


def _has_erased(image: Image.Image) -> bool:
    """Return whether pixels are transparent: on white they would be known, but many mean holes."""
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if not has_alpha or image.mode.startswith("I"):
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def _write_png(path: Path, pixels: Pixels, options: list[int]) -> None:
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise ImageError(f"{path}: OpenCV could not encode {pixels.shape} pixels as PNG")
    with atomic_file(path) as partial:
        partial.write_bytes(encoded.tobytes())
