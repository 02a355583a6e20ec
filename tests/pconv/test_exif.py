"""EXIF data comes back as it was stored, in every format, and damaged data does no harm."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pconv.exif import EXIF_IFD, GPS_IFD, Directory, Order, read_structure, structure
from pconv.photo_files import read_photo, write_photo

INTEROP_IFD, ARTIST, COPYRIGHT = 0xA005, 0x013B, 0x8298
ASCII, UNDEFINED = 2, 7


def data(order: Order) -> bytes:
    """Return EXIF data with what Pillow would change, written by hand."""
    author = "José 山田\0".encode()  # 13 bytes and one to fill up
    lens = "für Nahes\0".encode()
    parts = [
        {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8),
        struct.pack(f"{order}H", 4),
        struct.pack(f"{order}HHI", 0x0112, 3, 1) + struct.pack(f"{order}HH", 6, 0),
        struct.pack(f"{order}HHII", ARTIST, ASCII, len(author), 62),
        struct.pack(f"{order}HHII", EXIF_IFD, 4, 1, 76),
        struct.pack(f"{order}HHII", GPS_IFD, 4, 1, 166),
        struct.pack(f"{order}I", 0),
        author + b"\0",
        struct.pack(f"{order}H", 4),
        struct.pack(f"{order}HHII", 0x927C, UNDEFINED, 10, 130),
        struct.pack(f"{order}HHII", 0x9286, UNDEFINED, 12, 140),
        struct.pack(f"{order}HHII", INTEROP_IFD, 4, 1, 184),
        struct.pack(f"{order}HHII", 0xA434, ASCII, len(lens), 152),
        struct.pack(f"{order}I", 0),
        b"Maker\0\1\2\3\4",
        b"ASCII\0\0\0text",
        lens.ljust(14, b"\0"),
        struct.pack(f"{order}HHHI4sI", 1, 0, 1, 4, b"\2\3\0\0", 0),
        struct.pack(f"{order}HHHI4sI", 1, 1, ASCII, 4, b"R03\0", 0),
    ]
    return b"".join(parts)


WANTED: Directory = {
    ARTIST: (ASCII, "José 山田\0".encode()),
    EXIF_IFD: {
        0x927C: (UNDEFINED, b"Maker\0\1\2\3\4"),
        0x9286: (UNDEFINED, b"ASCII\0\0\0text"),
        INTEROP_IFD: {1: (ASCII, b"R03\0")},
        0xA434: (ASCII, "für Nahes\0".encode()),
    },
    GPS_IFD: {0: (1, b"\2\3\0\0")},
}


class TestReadStructure:
    """Fields are read with their types and bytes."""

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_values(self, order: Order) -> None:
        """What was stored is found, and written again is found again."""
        wanted = WANTED | {0x0112: (3, struct.pack(f"{order}H", 6))}
        assert read_structure(data(order)) == (order, wanted)
        assert read_structure(structure(order, wanted)) == (order, wanted)

    def test_truncated(self) -> None:
        """Of data that ends early what is there is read, and no end breaks the reader."""
        whole = read_structure(data("<"))[1]
        for length in range(8, len(data("<"))):
            _, found = read_structure(data("<")[:length])
            assert found.keys() <= whole.keys()

    def test_overlapping(self) -> None:
        """Fields that all say they are the whole data are read once, and of one tag the first."""
        entries = [struct.pack("<HHII", tag, UNDEFINED, 1000, 0) for tag in (60_000, 60_001)]
        entries += [struct.pack("<HHI4s", ARTIST, ASCII, 4, name) for name in (b"Ann\0", b"Bob\0")]
        blob = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)
        _, found = read_structure(blob.ljust(1010, b"\0"))
        assert found == {60_000: (UNDEFINED, blob.ljust(1000, b"\0")), ARTIST: (ASCII, b"Ann\0")}

    def test_pointer_to_itself(self) -> None:
        """A directory that is said to be inside itself is read once."""
        entry = struct.pack("<HHII", EXIF_IFD, 4, 1, 8)
        blob = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
        assert read_structure(blob) == ("<", {})

    def test_big(self, tmp_path: Path) -> None:
        """Fields of a BigTIFF file are read too."""
        path, name = tmp_path / "photo.tif", "Jürgen\0".encode()
        tags = [(ARTIST, ASCII, len(name), name, True)]
        tifffile.imwrite(path, np.zeros((4, 4, 3), np.uint8), bigtiff=True, extratags=tags)
        assert read_structure(path.read_bytes())[1][ARTIST] == (ASCII, name)


class TestPhotos:
    """A photograph's EXIF data outlives a fill."""

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
    def test_all_stays(self, tmp_path: Path, suffix: str, order: Order) -> None:
        """Names with accents, Adobe RGB's mark, types and the byte order stay in any format."""
        path, again = tmp_path / "photo.jpg", tmp_path / f"again{suffix}"
        Image.new("RGB", (8, 6)).save(path, exif=b"Exif\0\0" + data(order))
        write_photo(again, read_photo(path))
        found = read_photo(again)
        assert found.orientation == 6
        assert found.exif is not None
        assert read_structure(found.exif) == read_structure(data(order))

    def test_text_of_tiff(self, tmp_path: Path) -> None:
        """Nor do words of a TIFF file become question marks."""
        path, again, words = tmp_path / "photo.tif", tmp_path / "again.tif", "© Jürgen\0".encode()
        tags = [(COPYRIGHT, ASCII, len(words), words, True)]
        pixels = np.zeros((4, 4, 3), np.uint16)
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=tags)
        write_photo(again, read_photo(path))
        with tifffile.TiffFile(again) as file:
            assert file.pages.first.tags[COPYRIGHT].value == "© Jürgen"

    def test_orientation_that_nobody_sees(self, tmp_path: Path) -> None:
        """Of damaged data the orientation that was not heeded in reading is none in writing."""
        path, again = tmp_path / "photo.jpg", tmp_path / "again.png"
        blob = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 0x010E, ASCII, 20, 999)
        blob += struct.pack("<HHII", 0x0112, 3, 1, 6) + bytes(4)
        Image.new("RGB", (8, 6)).save(path, exif=b"Exif\0\0" + blob)
        photo = read_photo(path)
        write_photo(again, photo)
        assert read_photo(again).orientation == photo.orientation
