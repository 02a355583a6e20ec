"""Photographs read and written without loss: 8 and 16 bits, alpha, profile, EXIF, orientation.

`pconv.images` turns every file into upright 8-bit RGB; here a file's pixels stay as they are
stored. Pillow reads 8-bit files and OpenCV 16-bit ones, which Pillow would reduce; PNG and TIFF
are written here, because neither library writes both 16 bits and metadata.
"""

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.atomic import atomic_file
from pconv.errors import ImageError
from pconv.exif import LONG, SHORT, UNDEFINED, numbers, read_structure, structure
from pconv.images import MAX_PIXELS, TURNS, exif_of, opened_image, orientation, upright
from pconv.photo_metadata import (
    ICC_TAG,
    PNG_START,
    exif_without_pictures,
    kept_chunks,
)

log = logging.getLogger(__name__)

Pixels = NDArray[Any]

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp")
"""Of files that can be read."""

BECOME_RGB = ("CMYK", "YCbCr", "LAB")
"""Pillow's modes of which no pixel stays as it is stored."""

_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
_BITS, _PHOTOMETRIC, _PLANAR, _EXTRA_SAMPLES = 258, 262, 284, 338
_PREMULTIPLIED, _MIN_IS_WHITE, _SEPARATE = 1, 0, 2  # values of the last, second and third
_IS_CMYK = 5  # another one of the second
_SAMPLES, _SAMPLE_FORMAT, _UNSIGNED = 277, 339, 1  # the last is a value of the one before it
_STRIP_OFFSETS = 273
_PNG_COLOUR_TYPE_AT = 25  # in the file: a byte of IHDR
_JPEG_QUALITY = 95
# Formats of 8 bits only: name, channels that they hold, pixels a side that they hold at most.
_JPEG, _WEBP = ("JPEG", (1, 3), 65_500), ("WEBP", (1, 3, 4), 16_383)
_OF_8_BITS = {".webp": _WEBP, ".jpg": _JPEG, ".jpeg": _JPEG}


@dataclass(frozen=True)
class Photo:
    """A photograph as its file stores it.

    Attributes:
        pixels: uint8 or uint16, not turned upright; ``(H, W)`` grey, ``(H, W, 2)`` grey and alpha,
            ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA.
        orientation: EXIF's number, 1 to 8, for how the pixels are to be turned.
        icc_profile: The colour profile, if there is one.
        exif: EXIF data as a TIFF structure, without a thumbnail, if there is any.
        chunks: Of a PNG file, what is worth keeping besides: type and content.
    """

    pixels: Pixels
    orientation: int = 1
    icc_profile: bytes | None = None
    exif: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def channels(self) -> int:
        """1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA."""
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]

    @cached_property
    def upright(self) -> Pixels:
        """The pixels as they are shown: turned as the orientation says."""
        return upright(self.pixels, self.orientation)

    def with_upright(self, pixels: Pixels) -> "Photo":
        """Return the photograph with other pixels, given as they are shown."""
        swap, down, right = TURNS[self.orientation]
        turned = pixels[::down, ::right]
        stored = turned.swapaxes(0, 1) if swap else turned
        return replace(self, pixels=np.ascontiguousarray(stored))


def read_photo(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph without losing anything that `Photo` can hold.

    Palettes become RGB or RGBA. CMYK becomes RGB without its profile, and a warning says so.

    Args:
        path: A JPEG, PNG, WebP, TIFF or BMP file with one picture.
        max_pixels: Refuse larger pictures before they are decoded.

    Raises:
        ImageError: If the file is missing, damaged, too large, or holds what would be lost:
            several pages, more than 16 bits, signed values, channels that are neither colour nor
            alpha, or colours multiplied by alpha.
    """
    path = Path(path)
    with opened_image(path, max_pixels) as image:
        exif = exif_of(image, path)
        _refuse_lossy(image, exif, path)
        keeps_profile = image.mode not in BECOME_RGB
        if not keeps_profile:
            log.warning(
                "%s: %s pixels; all of them become RGB, without a profile", path, image.mode
            )
        # Before the pixels are decoded: Pillow turns TIFF files then, and drops the orientation.
        empty = Photo(
            pixels=np.empty((0, 0), np.uint8),
            orientation=orientation(exif),
            icc_profile=image.info.get("icc_profile") if keeps_profile else None,
            exif=exif_without_pictures(exif, path),
            chunks=tuple(kept_chunks(path)) if image.format == "PNG" else (),
        )
        has_16_bits = _has_16_bits(image, path)
        if image.format == "TIFF" and not has_16_bits:  # OpenCV reads every channel
            _refuse_lost_channels(exif.get(_SAMPLES, 1), len(image.getbands()), path)
        key = image.info.get("transparency")
        pixels = _read_16_bits(path, key) if has_16_bits else _read_8_bits(image)
        # Both libraries turn TIFF files upright, and no others.
        is_turned = image.format == "TIFF"
        return empty.with_upright(pixels) if is_turned else replace(empty, pixels=pixels)


def write_photo(path: Path | str, photo: Photo) -> None:
    """Write a photograph, whole or not at all.

    PNG and TIFF hold everything; WebP is written without loss too; JPEG is lossy (quality 95).

    Args:
        path: Its ending, ``.png``, ``.tif``, ``.tiff``, ``.webp``, ``.jpg`` or ``.jpeg``, says
            which.
        photo: What to write.

    Raises:
        ImageError: If the ending is another, the pixels are none that `Photo` holds, or the format
            can't hold 16 bits, alpha, the size or the metadata.
    """
    path = Path(path)
    check_format(path, photo)
    try:
        data = _ENCODERS[path.suffix.lower()](photo)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def check_ending(path: Path) -> None:
    """Refuse a name whose ending says no format that `write_photo` writes.

    Raises:
        ImageError: If it is another.
    """
    if path.suffix.lower() not in _ENCODERS:
        raise ImageError(
            f"{path}: can't write {path.suffix or 'a file without an ending'}; "
            f"wanted one of {', '.join(_ENCODERS)}"
        )


def check_format(path: Path, photo: Photo) -> None:
    """Refuse a name whose ending says no format, or one that can't hold these pixels.

    Raises:
        ImageError: As `write_photo` does of ending, pixels, bits, alpha and size.
    """
    check_ending(path)
    _refuse_odd_pixels(photo.pixels, path)
    bits, channels = 8 * photo.pixels.dtype.itemsize, photo.channels
    height, width = photo.pixels.shape[:2]
    suffix = path.suffix.lower()
    # 16 bits of grey and alpha in a TIFF file neither Pillow nor OpenCV reads.
    if suffix in (".tif", ".tiff") and (bits, channels) == (16, 2):
        raise ImageError(f"{path}: TIFF can't hold 16 bits of grey and alpha; wanted .png")
    if suffix not in _OF_8_BITS:
        return
    name, held, most = _OF_8_BITS[suffix]
    if bits != 8 or channels not in held:
        raise ImageError(
            f"{path}: {name} can't hold {bits} bits, {channels} channels; wanted .png or .tif"
        )
    if max(height, width) > most:
        raise ImageError(
            f"{path}: {name} holds at most {most} pixels a side, not {width}x{height}; "
            "wanted .png or .tif"
        )


def _refuse_odd_pixels(pixels: Pixels, path: Path) -> None:
    """Refuse what would be written, for example floating point, as a file that nobody can read."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2] if pixels.ndim == 3 else 0
    is_8_or_16_bits = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2
    if not is_8_or_16_bits or channels not in _PNG_COLOUR_TYPES or pixels.size == 0:
        raise ImageError(
            f"{path}: can't write {pixels.dtype} {pixels.shape}; wanted uint8 or uint16, (H, W) or "
            "(H, W, C) with 1 to 4 channels"
        )


def refuse_pages(image: Image.Image, path: Path) -> None:
    """Refuse a file with several pictures, of which one would be read and the others lost.

    Raises:
        ImageError: If there are several.
    """
    # A phone's JPEG may carry a second picture, such as a gain map; it is no page.
    pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if pages > 1:
        raise ImageError(f"{path}: {pages} pictures in one file; wanted one: save them apart")


def _refuse_lossy(image: Image.Image, exif: Image.Exif, path: Path) -> None:
    refuse_pages(image, path)
    if image.format == "TIFF":
        _refuse_odd_tiff(exif, path)
    if image.mode in ("I", "F"):
        raise ImageError(f"{path}: 32-bit pixels; wanted 8 or 16 bits a channel")


def _refuse_odd_tiff(exif: Image.Exif, path: Path) -> None:
    if _PREMULTIPLIED in _as_tuple(exif.get(_EXTRA_SAMPLES)):
        raise ImageError(f"{path}: colours multiplied by alpha; save it with unassociated alpha")
    if exif.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        raise ImageError(f"{path}: a grey TIFF in which 0 is white; save it with 0 as black")
    if exif.get(_PHOTOMETRIC) == _IS_CMYK and 16 in _as_tuple(exif.get(_BITS)):
        raise ImageError(f"{path}: a 16-bit CMYK TIFF; save it as RGB")
    # OpenCV would mix the channels up.
    if exif.get(_PLANAR) == _SEPARATE and 16 in _as_tuple(exif.get(_BITS)):
        raise ImageError(f"{path}: a 16-bit TIFF with separate channel planes; save interleaved")
    if _UNSIGNED not in _as_tuple(exif.get(_SAMPLE_FORMAT, _UNSIGNED)):
        raise ImageError(f"{path}: signed or floating-point pixels; save it with unsigned ones")


def _refuse_lost_channels(channels: int, read: int, path: Path) -> None:
    if channels > read:
        raise ImageError(
            f"{path}: {channels} channels, of which only {read} are read; save it without the "
            "others, or with the one that is alpha marked as such"
        )


def _has_16_bits(image: Image.Image, path: Path) -> bool:
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16  # the bit depth in IHDR
    return image.format == "TIFF" and 16 in _as_tuple(image.getexif().get(_BITS))


def _read_16_bits(path: Path, key: Any) -> Pixels:
    """Decode by OpenCV, which heeds a transparent colour (the key) but no transparent grey.

    Of a PNG file's grey and alpha it makes RGBA.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ImageError(f"{path}: OpenCV can't decode its 16-bit pixels; save it as PNG")
    if pixels.ndim == 2 and key is not None:
        return np.stack([pixels, np.where(pixels == key, 0, 65_535).astype(np.uint16)], axis=-1)
    if pixels.ndim == 2:
        return np.asarray(pixels)
    is_png = data[: len(PNG_START)].tobytes() == PNG_START
    if is_png and data[_PNG_COLOUR_TYPE_AT] == _PNG_COLOUR_TYPES[2]:
        return np.asarray(pixels[..., [0, 3]])
    swap = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.asarray(cv2.cvtColor(pixels, swap))


def _read_8_bits(image: Image.Image) -> Pixels:
    has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA")
    mode = {(True, True): "LA", (True, False): "L", (False, True): "RGBA"}.get((grey, has_alpha))
    return np.asarray(image.convert(mode or "RGB"))


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _encode_png(photo: Photo) -> bytes:
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    header = struct.pack(
        ">IIBBBBB", width, height, bits, _PNG_COLOUR_TYPES[photo.channels], 0, 0, 0
    )
    chunks = list(photo.chunks)
    if photo.icc_profile and not any(kind == b"iCCP" for kind, _ in chunks):
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.exif:
        chunks.append((b"eXIf", photo.exif))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", _png_pixels(pixels)), (b"IEND", b"")]
    return PNG_START + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_pixels(pixels: Pixels) -> bytes:
    """Filter rows by the difference to the row above (filter 2) and compress them."""
    # In C order, whatever order they came in: else two bytes are no longer beside each other.
    stored = pixels.astype(pixels.dtype.newbyteorder(">"), order="C")
    rows = stored.view(np.uint8).reshape(len(pixels), -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return zlib.compress(filtered.data, 3)


def _encode_tiff(photo: Photo) -> bytes:
    """Put the tags of EXIF and those that describe the pixels into one structure, then pixels."""
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    channels = photo.channels
    order, tags = read_structure(photo.exif) if photo.exif else ("<", {})
    bits = (8 * pixels.dtype.itemsize,) * channels
    shorts = {_BITS: bits, 259: (1,), _PHOTOMETRIC: (1 if channels < 3 else 2,)}
    shorts |= {_SAMPLES: (channels,), _PLANAR: (1,)}
    if channels in (2, 4):
        shorts[_EXTRA_SAMPLES] = (2,)  # alpha that the colours are not multiplied by
    longs = {256: width, 257: height, 278: height, 279: pixels.nbytes, _STRIP_OFFSETS: 0}
    tags |= {tag: numbers(order, SHORT, *values) for tag, values in shorts.items()}
    tags |= {tag: numbers(order, LONG, value) for tag, value in longs.items()}
    if photo.icc_profile:
        tags[ICC_TAG] = (UNDEFINED, photo.icc_profile)
    end = len(structure(order, tags))  # where the one strip begins
    tags[_STRIP_OFFSETS] = numbers(order, LONG, end)
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return structure(order, tags) + stored


def _encode_jpeg(photo: Photo) -> bytes:
    return _encode_8_bits(photo, "JPEG", quality=_JPEG_QUALITY, subsampling=0)


def _encode_webp(photo: Photo) -> bytes:
    return _encode_8_bits(photo, "WEBP", lossless=True, exact=True)


def _encode_8_bits(photo: Photo, name: str, **options: Any) -> bytes:
    pixels = photo.pixels
    if photo.icc_profile:
        options["icc_profile"] = photo.icc_profile
    if photo.exif:
        options["exif"] = b"Exif\0\0" + photo.exif
    buffer = BytesIO()
    try:
        grey = photo.channels == 1
        Image.fromarray(pixels.reshape(pixels.shape[:2]) if grey else pixels).save(
            buffer, name, **options
        )
    except (ValueError, OSError) as error:  # metadata, for one, may be longer than a JPEG holds
        raise ImageError(f"{name} can't hold it ({error}); wanted .png or .tif") from error
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[Photo], bytes]] = {
    ".png": _encode_png,
    ".tif": _encode_tiff,
    ".tiff": _encode_tiff,
    ".webp": _encode_webp,
    ".jpg": _encode_jpeg,
    ".jpeg": _encode_jpeg,
}
