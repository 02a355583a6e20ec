"""Photographs and masks go through files unharmed; what can't be read is named."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pconv.errors import (
    GreyMaskError,
    ImageError,
    MaskError,
    PConvError,
    TransparentMaskError,
)
from pconv.images import (
    is_plain_jpeg,
    known_from_foreign,
    read_image,
    read_mask,
    write_image,
    write_mask,
)
from pconv.photo_files import Photo, read_photo, write_photo

FEW = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ORIENTATION = 0x0112
photographs = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth picture that JPEG keeps nearly, its four corners all different."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 200 // height, columns * 200 // width, 80 + 0 * rows]
    return np.stack(planes, axis=-1).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(content: bytes) -> bytes:
    """A PNG chunk, name and data, with its length and checksum."""
    return (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")


class TestReadImage:
    """The contracts of ``read_image``."""

    @pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
    def test_lossless_formats(self, tmp_path: Path, form: str) -> None:
        """Every lossless format gives back the pixels, whatever the file is called."""
        path = tmp_path / "photo.bin"
        options = {"lossless": True} if form == "WEBP" else {}
        path.write_bytes(encoded(Image.fromarray(picture()), form, **options))
        assert np.array_equal(read_image(path), picture())

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LA", "RGBA"])
    def test_modes(self, tmp_path: Path, mode: str) -> None:
        """Every colour mode comes out as Pillow's own RGB."""
        image = Image.fromarray(picture()).convert(mode)
        path = tmp_path / "photo.tif"
        path.write_bytes(encoded(image, "TIFF"))
        found = read_image(path)
        assert found.dtype == np.uint8
        assert np.array_equal(found, np.asarray(image.convert("RGB")))

    def test_transparency_lies_on_white(self, tmp_path: Path) -> None:
        """A transparent pixel is white, a half transparent black one grey."""
        pixels = np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [9, 8, 7, 255]]], dtype=np.uint8)
        path = tmp_path / "photo.png"
        Image.fromarray(pixels).save(path)
        assert read_image(path).tolist() == [[[255] * 3, [127] * 3, [9, 8, 7]]]

    def test_transparent_palette(self, tmp_path: Path) -> None:
        """A palette's transparent colour is white too."""
        image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode=None).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        path = tmp_path / "photo.png"
        image.save(path, transparency=0)
        assert read_image(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        """16-bit grey keeps its range, and becomes what the same value of three colours becomes."""
        grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        cv2.imwrite(str(tmp_path / "colour.png"), np.stack([grey] * 3, axis=-1))
        found = read_image(tmp_path / "grey.png")
        assert found[[0, -1], [0, -1], 0].tolist() == [0, 255]
        assert np.array_equal(found, read_image(tmp_path / "colour.png"))

    @pytest.mark.parametrize(
        ("bits", "data"), [(2, [0b01_10_00_00]), (4, [0x15]), (16, [0, 9, 2, 0])]
    )
    def test_transparent_grey(self, tmp_path: Path, bits: int, data: list[int]) -> None:
        """The grey that a PNG calls transparent is white, of however many bits."""
        first = data[1] if bits == 16 else data[0] >> (8 - bits)
        path = tmp_path / "photo.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR" + bytes([0, 0, 0, 2, 0, 0, 0, 1, bits, 0, 0, 0, 0]))
            + chunk(b"tRNS" + bytes([0, first]))
            + chunk(b"IDAT" + zlib.compress(bytes([0, *data])))
            + chunk(b"IEND")
        )
        white, other = read_image(path)[0, :, 0].tolist()
        assert white == 255 > other
        assert read_photo(path).pixels[0, :, 1].tolist() in ([0, 255], [0, 65535])

    @pytest.mark.parametrize("read", [read_image, read_mask, read_photo])
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (PermissionError(13, "Permission denied", "photo.png"), "Permission denied"),
            (MemoryError(), "reading it takes more memory than there is"),
        ],
    )
    def test_not_its_fault(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        read: Callable[[Path], object],
        error: Exception,
        words: str,
    ) -> None:
        """A disk that refuses, or too little memory, is not said to be a damaged picture."""

        def refuse(path: Path) -> bytes:
            raise error

        path = tmp_path / "photo.png"
        path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises((OSError, PConvError)) as caught:
            read(path)
        assert "photo.png" in str(caught.value)
        assert words in str(caught.value)
        assert "not a readable image" not in str(caught.value)

    @pytest.mark.parametrize("read", [read_image, read_mask, read_photo])
    @pytest.mark.parametrize(
        ("bits", "photometric", "words"), [(12, 1, "12,? bits|12 bits"), (16, 0, "0 is white")]
    )
    def test_odd_grey_tiff(
        self,
        tmp_path: Path,
        read: Callable[[Path], object],
        bits: int,
        photometric: int,
        words: str,
    ) -> None:
        """Grey of 12 bits, or with 0 as white, which Pillow hands over as it stands, is refused."""
        side, path = 8, tmp_path / "scan.tif"
        size = side * side * bits // 8
        fields = {256: side, 257: side, 258: bits, 259: 1, 262: photometric, 273: 8}
        fields |= {277: 1, 278: side, 279: size}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in fields.items())
        directory = struct.pack("<H", len(fields)) + entries + bytes(4)
        path.write_bytes(b"II*\0" + struct.pack("<I", 8 + size) + bytes(range(size)) + directory)
        with pytest.raises(PConvError, match=words):
            read(path)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_upright(self, tmp_path: Path, orientation: int) -> None:
        """Each EXIF orientation undoes the turn that a camera would have made."""
        turns = {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, 1),
            7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
            8: lambda a: np.rot90(a, -1),
        }
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = np.ascontiguousarray(turns[orientation](picture()))
        path = tmp_path / "photo.png"
        Image.fromarray(stored).save(path, exif=exif)
        assert np.array_equal(read_image(path), picture())

    def test_min_side(self, tmp_path: Path) -> None:
        """A JPEG may be decoded smaller, but not below the side that was asked for."""
        path = tmp_path / "photo.jpg"
        Image.fromarray(picture(400, 800)).save(path)
        assert read_image(path).shape == (400, 800, 3)
        reduced = read_image(path, min_side=90)
        assert reduced.shape == (100, 200, 3)
        whole = picture(400, 800).reshape(100, 4, 200, 4, 3).mean(axis=(1, 3))
        assert np.abs(reduced - whole).mean() < 3

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
    def test_truncated(self, tmp_path: Path, form: str) -> None:
        """Half a file is refused by name."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = encoded(Image.fromarray(noise), form)
        path = tmp_path / "photo.jpg"
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ImageError, match=r"photo\.jpg: not a readable image"):
            read_image(path)

    def test_too_large(self, tmp_path: Path) -> None:
        """A picture over the limit is refused by its header, before a pixel is decoded."""
        path = tmp_path / "photo.png"
        path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
        with pytest.raises(ImageError, match=r"photo\.png: 32x24 pixels; at most 767 are read"):
            read_image(path, max_pixels=767)

    def test_bomb(self, tmp_path: Path) -> None:
        """A file of 60 bytes that claims 60000x60000 pixels costs nothing."""
        path = tmp_path / "bomb.png"
        header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        chunks = [header, b"IDAT" + zlib.compress(bytes(9)), b"IEND"]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)))
        with pytest.raises(ImageError, match=r"bomb\.png: .*(3600000000|60000x60000) pixels"):
            read_image(path)

    def test_other_formats(self, tmp_path: Path) -> None:
        """Formats whose readers start other programs are not opened at all."""
        path = tmp_path / "photo.jpg"
        path.write_bytes(encoded(Image.fromarray(picture()), "EPS"))
        with pytest.raises(ImageError, match="of no known format"):
            read_image(path)

    def test_floats(self, tmp_path: Path) -> None:
        """Pixels without a fixed range are refused, not guessed at."""
        path = tmp_path / "photo.tif"
        Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(path)
        with pytest.raises(ImageError, match="floating-point"):
            read_image(path)

    @FEW
    @given(st.data(), st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP"]))
    def test_fuzz(self, tmp_path: Path, data: st.DataObject, form: str) -> None:
        """Whatever the bytes, the answer is an RGB picture or an ``ImageError``."""
        content = bytearray(encoded(Image.fromarray(picture(8, 8)), form))
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / "fuzz.jpg"
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            found = read_image(path, max_pixels=10_000)
        except ImageError:
            return
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3


class TestIsPlainJpeg:
    """The contracts of ``is_plain_jpeg``."""

    @pytest.mark.parametrize(
        ("mode", "form", "orientation", "plain"),
        [
            ("RGB", "JPEG", 1, True),
            ("L", "JPEG", 1, True),
            ("RGB", "JPEG", 6, False),
            ("CMYK", "JPEG", 1, False),
            ("RGB", "PNG", 1, False),
        ],
    )
    def test_values(
        self, tmp_path: Path, mode: str, form: str, orientation: int, plain: bool
    ) -> None:
        """Only an upright RGB or grey JPEG needs no conversion."""
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = tmp_path / "photo"
        path.write_bytes(encoded(Image.fromarray(picture()).convert(mode), form, exif=exif))
        assert is_plain_jpeg(path) is plain

    def test_raises(self, tmp_path: Path) -> None:
        """A file that is no image is refused by name."""
        (tmp_path / "photo.jpg").write_text("<html>")
        with pytest.raises(ImageError, match=r"photo\.jpg"):
            is_plain_jpeg(tmp_path / "photo.jpg")


class TestWriteImage:
    """The contracts of ``write_image``."""

    @FEW
    @given(photographs)
    def test_round_trip(self, tmp_path: Path, image: np.ndarray) -> None:
        """What is written is read back, by us and by Pillow."""
        write_image(tmp_path / "photo.png", image)
        assert np.array_equal(read_image(tmp_path / "photo.png"), image)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "photo.png")), image)

    @pytest.mark.parametrize(
        "array", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))]
    )
    def test_raises(self, tmp_path: Path, array: np.ndarray) -> None:
        """Arrays that are no RGB picture are refused and leave no file."""
        with pytest.raises(ImageError, match=r"photo\.png: can't write"):
            write_image(tmp_path / "photo.png", array)
        assert list(tmp_path.iterdir()) == []


class TestMasks:
    """The contracts of ``read_mask``, ``write_mask`` and ``known_from_foreign``."""

    @FEW
    @given(masks)
    def test_round_trip(self, tmp_path: Path, mask: np.ndarray) -> None:
        """A mask comes back as it was, from a file of one bit a pixel: white is known."""
        path = tmp_path / "mask.png"
        write_mask(path, mask)
        assert np.array_equal(read_mask(path), mask)
        image = Image.open(path)
        assert image.mode == "1"
        assert np.array_equal(np.asarray(image), mask)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
    def test_modes(self, tmp_path: Path, mode: str) -> None:
        """A black and white picture is a mask in whichever mode it is saved."""
        mask = np.random.default_rng(1).random((9, 7)) < 0.5
        path = tmp_path / "mask.png"
        Image.fromarray(mask).convert(mode).save(path)
        assert np.array_equal(read_mask(path), mask)

    def test_grey_is_refused(self, tmp_path: Path) -> None:
        """Grey values are refused with their number, unless a threshold is given."""
        path = tmp_path / "mask.png"
        Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(path)
        with pytest.raises(MaskError, match=r"mask\.png: 2 of 4 pixels are neither 0 nor 255"):
            read_mask(path)
        assert read_mask(path, grey=True).tolist() == [[False, False, True, True]]

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_mask(self, tmp_path: Path, mode: str) -> None:
        """A mask with erased pixels is refused, in words that serve a stage too."""
        image = Image.new("RGBA", (4, 4), "white")
        image.putpixel((1, 1), (0, 0, 0, 0))
        image.convert(mode).save(
            tmp_path / "mask.png", **({"transparency": 0} if mode == "P" else {})
        )
        wanted = r"mask\.png: .* transparent; wanted black \(hole\) and white \(known\) alone$"
        with pytest.raises(TransparentMaskError, match=wanted):
            read_mask(tmp_path / "mask.png")

    def test_zeros_and_ones(self, tmp_path: Path) -> None:
        """A mask of 0 and 1 is refused with what makes it one of 0 and 255."""
        path = tmp_path / "mask.png"
        Image.fromarray(np.array([[0, 1, 1, 0]], dtype=np.uint8)).save(path)
        with pytest.raises(MaskError, match=r"mask\.png: its pixels are 0 and 1; .*by 255"):
            read_mask(path)

    def test_jpeg(self, tmp_path: Path) -> None:
        """A mask that went through JPEG is found again by the threshold."""
        mask = np.kron(np.random.default_rng(2).random((6, 6)) < 0.5, np.ones((8, 8))) > 0
        path = tmp_path / "mask.jpg"
        Image.fromarray(mask).convert("RGB").save(path, quality=80)
        assert np.array_equal(read_mask(path, grey=True), mask)

    def test_raises(self, tmp_path: Path) -> None:
        """Colour, too many pixels and wrong arrays are refused by name."""
        path = tmp_path / "mask.png"
        Image.fromarray(picture()).save(path)
        with pytest.raises(MaskError, match="a colour image"):
            read_mask(path)
        Image.fromarray(np.eye(40) > 0).convert("RGB").save(path.with_suffix(".webp"), quality=50)
        with pytest.raises(GreyMaskError, match=r"mask\.webp: a colour image"):
            read_mask(path.with_suffix(".webp"))
        with pytest.raises(MaskError, match="at most 9"):
            read_mask(path, max_pixels=9)
        with pytest.raises(MaskError, match="can't write"):
            write_mask(path, np.zeros((2, 2), np.uint8))  # type: ignore[arg-type]

    @FEW
    @given(masks)
    def test_foreign(self, mask: np.ndarray) -> None:
        """Flipping exchanges known pixels and holes, and twice is not at all."""
        assert not np.any(known_from_foreign(mask) & mask)
        assert np.array_equal(known_from_foreign(known_from_foreign(mask)), mask)

    @FEW
    @given(st.binary(max_size=200))
    def test_fuzz(self, tmp_path: Path, content: bytes) -> None:
        """Bytes that are no image are a named error, never another."""
        (tmp_path / "mask.png").write_bytes(content)
        with pytest.raises(PConvError, match=r"mask\.png"):
            read_mask(tmp_path / "mask.png")


class TestTurnedTiff:
    """TIFF files that a quarter turn makes upright."""

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
    def test_values(self, tmp_path: Path, mode: str) -> None:
        """An uncompressed file with orientation 6 comes out as its pixels, turned."""
        pixels = np.random.default_rng(3).integers(0, 256, (5, 9, 3), np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        path = tmp_path / "turned.tif"
        image.save(path, tiffinfo={274: 6})
        expected = np.rot90(np.asarray(image.convert("RGB")), -1)
        np.testing.assert_array_equal(read_image(path), expected)


class TestNames:
    """Files may be named by text, as weights are."""

    def test_values(self, tmp_path: Path) -> None:
        """A good file is no unreadable image because its name is a string."""
        image, mask = picture(), picture()[..., 0] > 50
        names = [f"{tmp_path}/{name}" for name in ("image.png", "mask.png", "photo.png")]
        write_image(names[0], image)
        write_mask(names[1], mask)
        write_photo(names[2], Photo(image))
        assert (read_image(names[0]) == image).all()
        assert (read_mask(names[1]) == mask).all()
        assert (read_photo(names[2]).pixels == image).all()
        assert not is_plain_jpeg(names[0])
        with pytest.raises(ImageError, match=r"none\.png: no such file"):
            read_image("none.png")
