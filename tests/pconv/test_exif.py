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

    @pytest.mark.parametrize("is_big", [False, True])
    def test_types(self, tmp_path: Path, is_big: bool) -> None:
        """Values of every type that there is are as long as others write them."""
        values = {}
        for kind, form in sorted(tifffile.TIFF.DATA_FORMATS.items()):
            numbers, letter = range(1, 3 * int(form[0]) + 1), form[1]
            if kind != ASCII and (is_big or kind < 14):
                values[kind] = (tuple(numbers), struct.pack(f"<{len(numbers)}{letter}", *numbers))
        tags = [(60_000 + kind, kind, 3, numbers, True) for kind, (numbers, _) in values.items()]
        pixels, path = np.zeros((4, 4, 3), np.uint8), tmp_path / "photo.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=is_big, extratags=tags)
        found = read_structure(path.read_bytes())[1]
        # EXIF data has no such types as BigTIFF alone.
        wanted = {60_000 + kind: (kind, b) for kind, (_, b) in values.items() if kind < 14}
        assert {tag: field for tag, field in found.items() if tag > 60_000} == wanted

    def test_truncated(self) -> None:
        """Of data that ends early the fields are read that are there as a whole."""
        whole = read_structure(data("<"))[1]
        ends = {0x0112: 22, ARTIST: 75}  # each of its entry, or of its value
        for length in range(8, len(data("<"))):
            _, found = read_structure(data("<")[:length])
            assert found.keys() <= whole.keys()
            for tag, end in ends.items():
                assert found.get(tag) == (whole[tag] if end <= length else None)

    def test_no_values(self) -> None:
        """A field without values, or of a type that there is not, is left out."""
        entries = [
            struct.pack("<HHII", 60_000, ASCII, 0, 0),
            struct.pack("<HHII", 60_001, 99, 1, 0),
        ]
        blob = b"II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4)
        assert read_structure(blob) == ("<", {})

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

    @pytest.mark.parametrize("kind", [13, 16, 18])
    def test_big_pointers(self, kind: int) -> None:
        """Directories inside a BigTIFF file are found by a pointer of any type."""
        pointer, author = struct.pack("<HHQQ", EXIF_IFD, kind, 1, 44), b"Ann Bo\0\0"
        inner = struct.pack("<QHHQ8sQ", 1, ARTIST, ASCII, 8, author, 0)
        blob = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, 1) + pointer + inner
        assert read_structure(blob)[1] == {EXIF_IFD: {ARTIST: (ASCII, author)}}


class TestStructure:
    """What TIFF 6.0 asks of a structure."""

    def test_laws(self) -> None:
        """Entries ascend by tag, and what is not in an entry begins at an even byte."""
        fields: Directory = {60_001: (ASCII, b"12345\0\0"), ARTIST: (ASCII, b"123456\0")}
        blob = structure("<", fields | {COPYRIGHT: (ASCII, b"12345678\0")})
        entries = list(struct.iter_unpack("<HHII", blob[10 : 10 + 3 * 12]))
        assert [entry[0] for entry in entries] == [ARTIST, COPYRIGHT, 60_001]
        assert not [place for *_, place in entries if place % 2]


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

    def test_none(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A photograph without EXIF data has none, and nothing is said of that."""
        for suffix in (".jpg", ".png", ".webp"):
            Image.new("RGB", (8, 6)).save(tmp_path / f"photo{suffix}")
            assert read_photo(tmp_path / f"photo{suffix}").exif is None
        assert not caplog.text

    def test_nothing_inside(self, tmp_path: Path) -> None:
        """A directory of which nothing is kept is left out, as TIFF has no empty ones."""
        note: Directory = {EXIF_IFD: {0x927C: (UNDEFINED, b"preview \xff\xd8\xff")}}
        for fields, wanted in ((note, None), (note | {ARTIST: (ASCII, b"Ann\0")}, {ARTIST})):
            exif = b"Exif\0\0" + structure("<", fields)
            Image.new("RGB", (8, 6)).save(tmp_path / "photo.jpg", exif=exif)
            found, seen = read_photo(tmp_path / "photo.jpg").exif, Image.Exif()
            seen.load(found or b"")
            assert (found and set(seen)) == wanted

    def test_orientation_that_nobody_sees(self, tmp_path: Path) -> None:
        """Of damaged data the orientation that was not heeded in reading is none in writing."""
        path, again = tmp_path / "photo.jpg", tmp_path / "again.png"
        blob = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 0x010E, ASCII, 20, 999)
        blob += struct.pack("<HHII", 0x0112, 3, 1, 6) + bytes(4)
        Image.new("RGB", (8, 6)).save(path, exif=b"Exif\0\0" + blob)
        photo = read_photo(path)
        write_photo(again, photo)
        assert read_photo(again).orientation == photo.orientation
