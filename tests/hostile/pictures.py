"""Photographs and masks as files, whole and spoilt in every way that is tried."""

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 24, 32
HOLE = (slice(8, 14), slice(10, 20))

Pixels = NDArray[np.uint8]


def smooth(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Pixels:
    """Return a photograph of soft colours, uint8 RGB."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.float32)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def known(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.bool_]:
    """Return a mask with one hole, True where known."""
    mask = np.ones((height, width), bool)
    mask[HOLE] = False
    return mask


def encoded(pixels: Pixels | Image.Image, form: str, **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def whole_files() -> dict[str, bytes]:
    """Return one photograph in every format that is read, by file name."""
    photo = smooth()
    deep = cv2.cvtColor(photo.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR)
    return {
        "a.jpg": encoded(photo, "JPEG"),
        "progressive.jpg": encoded(photo, "JPEG", progressive=True),
        "a.png": encoded(photo, "PNG"),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "a.tif": encoded(photo, "TIFF"),
        "packed.tif": encoded(photo, "TIFF", compression="tiff_adobe_deflate"),
        "deep.tif": cv2.imencode(".tif", deep)[1].tobytes(),
        "a.webp": encoded(photo, "WEBP"),
        "lossless.webp": encoded(photo, "WEBP", lossless=True),
        "a.bmp": encoded(photo, "BMP"),
    }


def truncated() -> Iterator[tuple[str, bytes]]:
    """Yield every format cut at every tenth of its length, as file name and bytes."""
    for name, content in whole_files().items():
        for tenth in range(10):
            yield name, content[: len(content) * tenth // 10]


def unreadable() -> dict[str, bytes]:
    """Return files that are no pictures, or none that may be read, by file name."""
    photo = Image.fromarray(smooth())
    return {
        "zero-bytes.png": b"",
        "text.jpg": b"This is no photograph.\n" * 40,
        "page.png": b"<!DOCTYPE html><title>404 Not Found</title>",
        "pickle.jpg": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0atouch \x85R.",
        "animated.png": encoded(photo, "GIF"),
        "portable.png": encoded(photo, "PPM"),
        # Pillow would start Ghostscript for this one.
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(ran) (w) file\n%%EOF\n",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "noise.jpg": b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(500),
        "noise.png": b"\x89PNG\r\n\x1a\n" + np.random.default_rng(1).bytes(500),
        "bomb.png": bomb(60_000, 60_000),
        "bomb.tif": tiff_bomb(60_000, 60_000),
        "words.png": with_chunk(encoded(photo, "PNG"), b"zTXt", b"x\0\0" + packed_zeros(1 << 28)),
    }


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG file that unpacks to so many pixels of one bit."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = packed_zeros((width // 8 + 1) * height)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def packed_zeros(count: int) -> bytes:
    """Return so many zeros, compressed a thousandfold, without holding them at once."""
    packer, block, parts = zlib.compressobj(9), bytes(1 << 20), []
    for start in range(0, count, len(block)):
        parts.append(packer.compress(block[: count - start]))
    return b"".join([*parts, packer.flush()])


def tiff_bomb(width: int, height: int) -> bytes:
    """Return a TIFF file of a few bytes that declares so many pixels."""
    content = bytearray(encoded(Image.new("L", (8, 8)), "TIFF"))
    entries = struct.unpack_from("<I", content, 4)[0]
    for place in range(entries + 2, entries + 2 + 12 * content[entries], 12):
        tag = struct.unpack_from("<H", content, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", content, place, tag, 4, 1, width if tag == 256 else height)
    return bytes(content)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Return a PNG file with one chunk more before its pixels."""
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk(kind, data) + png[place:]


def odd_but_whole() -> dict[str, bytes]:
    """Return pictures of every mode and odd size that are no mistakes, by file name."""
    photo = Image.fromarray(smooth())
    modes = {
        mode: photo.convert(mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB")
    }
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    return {
        **{f"{mode}.png": encoded(modes[mode], "PNG") for mode in ("1", "L", "LA", "P", "RGBA")},
        **{f"{mode}.tif": encoded(modes[mode], "TIFF") for mode in ("1", "L", "RGBA", "CMYK")},
        "YCbCr.tif": encoded(modes["YCbCr"], "TIFF"),
        "LAB.tif": encoded(modes["LAB"], "TIFF"),
        "CMYK.jpg": encoded(modes["CMYK"], "JPEG"),
        "grey.jpg": encoded(modes["L"], "JPEG"),
        "RGBA.webp": encoded(modes["RGBA"], "WEBP"),
        "I;16.png": encoded(Image.fromarray(deep), "PNG"),
        "I.tif": encoded(photo.convert("I"), "TIFF"),
        "F.tif": encoded(photo.convert("F"), "TIFF"),
        "two-pages.tif": encoded(photo, "TIFF", save_all=True, append_images=[photo]),
        "transparent.png": encoded(modes["P"], "PNG", transparency=3),
        "wrong-ending.jpg": encoded(photo, "PNG"),
        "wrong-ending.png": encoded(photo, "JPEG"),
        "one-pixel.png": encoded(smooth(1, 1), "PNG"),
        "thin.png": encoded(smooth(20_000, 1), "PNG"),
        "flat.png": encoded(smooth(1, 20_000), "PNG"),
    }
