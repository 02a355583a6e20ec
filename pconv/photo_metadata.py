"""What is kept of a photograph's metadata: all but pictures of how it was.

Thumbnails, previews and layers, of EXIF, XMP, Photoshop and cameras, are left out: they would still
show what has been painted over.
"""

import logging
import struct
import zlib
from pathlib import Path

from PIL import Image

from pconv.errors import ImageError
from pconv.exif import EXIF_IFD, SHORT, Directory, Field, Order, numbers, read_structure, structure
from pconv.images import EXIF_ORIENTATION, orientation

log = logging.getLogger(__name__)

PNG_START = b"\x89PNG\r\n\x1a\n"
ICC_TAG = 34675  # of TIFF: the colour profile
# Chunks that say how pixels look or what they show; all others depend on how they are stored.
_KEPT_CHUNKS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"tEXt", b"zTXt", b"iTXt")
_MAKER_NOTE, _JPEG_START = 0x927C, b"\xff\xd8\xff"
# Tags of a TIFF file that describe how its pixels are stored; IFD0 of EXIF has the others.
_STORAGE_TAGS = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280}
_STORAGE_TAGS |= {281, 284, 288, 289, 290, 291, 292, 293, 317, 318, 319, 320, 321, 322, 323, 324}
_STORAGE_TAGS |= {325, 330, 332, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519}
_STORAGE_TAGS |= {520, 521, 529, 530, 531, 532}
_PHOTOSHOP_TAGS = {34377, 37724}  # hold a thumbnail, and layers
_XMP_TAG, _XMP_KEYWORD = 700, b"xml:com.adobe.xmp\0"
_XMP_THUMBNAILS = (b"Thumbnails", b"xmpGImg")
_MAX_XMP_BYTES = 1 << 26
# Of text chunks in which ImageMagick keeps what other files have elsewhere. Pillow reads EXIF data
# from them; as they stand they would bring the thumbnail along.
_RAW_PROFILES = tuple(f"raw profile type {name}\0".encode() for name in ("exif", "app1", "8bim"))
_RAW_XMP = b"raw profile type xmp\0"


def exif_without_pictures(exif: Image.Exif, path: Path) -> bytes | None:
    """Return EXIF data of IFD0, EXIF and GPS as a TIFF structure; IFD1 holds the thumbnail.

    Of damaged data the orientation alone: without it the pixels would lie on their side.
    """
    order: Order = "<"
    kept: Directory = {}
    try:
        if exif.endian:  # there is some
            exif.fp.seek(0)
            order, found = read_structure(exif.fp.read())
            kept = {tag: field for tag, field in found.items() if not _is_left_out(tag, field)}
        if isinstance(inner := kept.get(EXIF_IFD), dict):
            note = inner.get(_MAKER_NOTE, (0, b""))
            if _JPEG_START in note[1]:  # a preview
                del inner[_MAKER_NOTE]
            if not inner:  # TIFF has no empty directories
                del kept[EXIF_IFD]
        checked = Image.Exif()
        checked.load(structure(order, kept))
        checked.tobytes()  # what it stumbles over, it could not read turned upright either
    except Exception as error:  # damaged metadata breaks Pillow in many ways
        kept = {}
        log.warning(
            "%s: its EXIF data is damaged (%s) and left out but for the orientation", path, error
        )
    turn = orientation(exif)  # as the pixels are taken; maybe of XMP, or Pillow stops before it
    if turn != 1 or EXIF_ORIENTATION in kept:
        kept[EXIF_ORIENTATION] = numbers(order, SHORT, turn)
    return structure(order, kept) if kept else None


def _is_left_out(tag: int, field: Field | Directory) -> bool:
    if tag == _XMP_TAG and not isinstance(field, dict):
        return _has_thumbnails(field[1])
    return tag in _STORAGE_TAGS | _PHOTOSHOP_TAGS | {ICC_TAG}


def kept_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG file that are worth keeping.

    Raises:
        ImageError: If one is longer than the file. OpenCV would make room for all of it, up to
            4 GiB for a file of a few bytes.
    """
    data, place, kept = path.read_bytes(), len(PNG_START), []
    while place + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, place), data[place + 4 : place + 8]
        if kind == b"IEND":
            break
        if length > len(data) - place - 12:
            raise ImageError(
                f"{path}: not a readable image (a PNG chunk at byte {place} says it has {length} "
                f"bytes, the file ends after {len(data)}); wanted a whole PNG file"
            )
        content = data[place + 8 : place + 8 + length]
        if kind in _KEPT_CHUNKS and not _brings_thumbnail(kind, content):
            kept.append((kind, content))
        place += length + 12
    return kept


def _brings_thumbnail(kind: bytes, content: bytes) -> bool:
    """Return whether a chunk of a PNG file may hold a thumbnail."""
    start = content[:32].lower()
    if start.startswith(_RAW_PROFILES):
        return True
    if not start.startswith((_XMP_KEYWORD, _RAW_XMP)):
        return False
    text = content.partition(b"\0")[2]
    # After the keyword: the method; or whether it is compressed, the method and two more words.
    is_packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if is_packed:
        packed = text[1:] if kind == b"zTXt" else text[2:].split(b"\0", 2)[-1]
        reader = zlib.decompressobj()
        try:
            text = reader.decompress(packed, _MAX_XMP_BYTES)
        except zlib.error:
            return True  # nobody can read it
        if not reader.eof:
            return True
    return _has_thumbnails(text)


def _has_thumbnails(xmp: bytes) -> bool:
    """Return whether XMP, plain or in ImageMagick's hexadecimal lines, holds thumbnails."""
    text = xmp.replace(b"\0", b"").replace(b"\n", b"")  # it may be UTF-16
    return any(word in text or word.hex().encode() in text for word in _XMP_THUMBNAILS)
