"""Photographs survive reading and writing; other libraries see the same pixels and words."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from pconv.errors import ImageError
from pconv.images import read_image
from pconv.photo_files import Photo, read_photo, write_photo
from pconv.photo_metadata import kept_chunks

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, MAKER, EXIF_IFD, GPS_IFD, EXPOSURE = 0x0112, 0x010F, 0x8769, 0x8825, 0x829A


def noise(dtype: str, *shape: int) -> NDArray[Any]:
    """Return random pixels of a dtype."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def words(orientation: int = 6) -> Image.Exif:
    """Return EXIF data with an orientation, an exposure and a place."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = orientation, "Maker"
    exif.get_ifd(EXIF_IFD)[EXPOSURE] = 0.008
    exif.get_ifd(GPS_IFD)[1] = "N"
    return exif


def seen_by_others(path: Path) -> NDArray[Any]:
    """Read pixels with tifffile or OpenCV, RGB(A), not turned; grey and alpha stay two channels."""
    if path.suffix == ".tif":
        return np.asarray(tifffile.imread(path))
    pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    if pixels.ndim == 2:
        return pixels
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


class TestRoundTrip:
    """What is written is what was meant, says another library."""

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
    def test_pixels(self, tmp_path: Path, suffix: str, dtype: str, shape: tuple[int, ...]) -> None:
        """PNG and TIFF hold 8 and 16 bits, grey, colour and alpha, bit for bit."""
        if (suffix, dtype, shape[-1]) == (".tif", "u2", 2):
            pytest.skip("refused, because others don't read it: see `test_loss`")
        path, pixels = tmp_path / f"photo{suffix}", noise(dtype, *shape)
        write_photo(path, Photo(pixels))
        others = seen_by_others(path)
        if suffix == ".png" and shape[-1] == 2:  # OpenCV repeats the grey
            others = others[..., [0, 3]]
        assert others.dtype == pixels.dtype
        assert (others == pixels).all()

    @pytest.mark.parametrize(
        ("mode", "shape"),
        [("L", (5, 7)), ("LA", (5, 7, 2)), ("RGB", (5, 7, 3)), ("RGBA", (5, 7, 4))],
    )
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_modes(self, tmp_path: Path, suffix: str, mode: str, shape: tuple[int, ...]) -> None:
        """Others know which channels are grey, colour and alpha."""
        path, pixels = tmp_path / f"photo{suffix}", noise("u1", *shape)
        write_photo(path, Photo(pixels))
        with Image.open(path) as image:
            assert image.mode == mode
            assert (np.asarray(image) == pixels).all()

    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_strip(self, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        """A TIFF file says how many bytes its one strip has: all that is left of it."""
        path, pixels = tmp_path / "photo.tif", noise(dtype, *shape)
        write_photo(path, Photo(pixels))
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            assert page.databytecounts == (pixels.nbytes,)
            assert page.dataoffsets[0] + pixels.nbytes == path.stat().st_size

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
    def test_all(self, tmp_path: Path, suffix: str, dtype: str, shape: tuple[int, ...]) -> None:
        """A file that is read and written has pixels, profile, EXIF and orientation as before."""
        path, again = tmp_path / f"photo{suffix}", tmp_path / f"again{suffix}"
        exif = words().tobytes().removeprefix(b"Exif\0\0")
        write_photo(path, Photo(noise(dtype, *shape), 6, PROFILE, exif))
        write_photo(again, read_photo(path))
        assert (seen_by_others(again) == noise(dtype, *shape)).all()
        with Image.open(again) as image:
            assert image.info["icc_profile"] == PROFILE
            found = image.getexif()
            assert found[ORIENTATION] == 6
            assert found[MAKER] == "Maker"
            assert found.get_ifd(EXIF_IFD)[EXPOSURE] == pytest.approx(0.008)
            assert found.get_ifd(GPS_IFD)[1] == "N"

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
    def test_from_jpeg(self, tmp_path: Path, suffix: str) -> None:
        """A JPEG file's decoded pixels, profile, EXIF and orientation go into a lossless file."""
        path, again = tmp_path / "photo.jpg", tmp_path / f"again{suffix}"
        Image.fromarray(noise("u1", 30, 40, 3)).save(path, exif=words(), icc_profile=PROFILE)
        write_photo(again, read_photo(path))
        with Image.open(path) as image, Image.open(again) as result:
            assert result.getexif()[ORIENTATION] == 6
            upright = [np.asarray(ImageOps.exif_transpose(each)) for each in (image, result)]
            assert (upright[0] == upright[1]).all()
            assert result.info["icc_profile"] == PROFILE
            assert result.getexif().get_ifd(EXIF_IFD)[EXPOSURE] == pytest.approx(0.008)

    def test_to_jpeg(self, tmp_path: Path) -> None:
        """JPEG, where asked for, keeps what it can."""
        path = tmp_path / "photo.jpg"
        exif = words().tobytes().removeprefix(b"Exif\0\0")
        write_photo(path, Photo(np.full((30, 40, 3), 90, np.uint8), 6, PROFILE, exif))
        photo = read_photo(path)
        assert np.abs(photo.pixels.astype(int) - 90).max() <= 2
        assert (photo.orientation, photo.icc_profile) == (6, PROFILE)

    def test_png_words(self, tmp_path: Path) -> None:
        """Text, gamma and resolution of a PNG file are kept."""
        path, again = tmp_path / "photo.png", tmp_path / "again.png"
        image = Image.fromarray(noise("u1", 5, 7, 3))
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Title", "a photo")
        info.add(b"gAMA", struct.pack(">I", 45455))
        image.save(path, pnginfo=info, dpi=(300, 300))
        write_photo(again, read_photo(path))
        with Image.open(again) as result:
            assert result.info["Title"] == "a photo"
            assert result.info["gamma"] == pytest.approx(0.45455)
            assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)

    def test_one_profile(self, tmp_path: Path) -> None:
        """Of a PNG file that has a profile its chunk is kept, and no second one is made."""
        path, again = tmp_path / "photo.png", tmp_path / "again.png"
        Image.fromarray(noise("u1", 8, 8, 3)).save(path, icc_profile=PROFILE)
        write_photo(again, read_photo(path))
        assert [kind for kind, _ in kept_chunks(again)] == [b"iCCP"]

    @pytest.mark.parametrize(
        ("note", "stays"),
        [(b"lens 35mm", True), (b"\xff\xd8\xff pic", False), (b"lens \xff\xd8\xff pic", False)],
    )
    def test_maker_note(self, tmp_path: Path, note: bytes, stays: bool) -> None:
        """A camera's own note stays, unless it holds a preview picture."""
        path, exif = tmp_path / "photo.jpg", words()
        exif.get_ifd(EXIF_IFD)[0x927C] = note
        Image.fromarray(noise("u1", 8, 8, 3)).save(path, exif=exif)
        write_photo(tmp_path / "again.jpg", read_photo(path))
        assert note in path.read_bytes()
        assert (note in (tmp_path / "again.jpg").read_bytes()) == stays
        with Image.open(tmp_path / "again.jpg") as again:
            assert again.getexif().get_ifd(EXIF_IFD)[EXPOSURE] == 0.008

    def test_no_thumbnail(self, tmp_path: Path) -> None:
        """The thumbnail in EXIF, which shows what was painted over, does not survive."""
        thumbnail = b"\xff\xd8 a small picture of the secret \xff\xd9"
        blob = (
            b"II*\0"
            + struct.pack("<IH", 8, 1)
            + struct.pack("<HHII", ORIENTATION, 3, 1, 1)
            + struct.pack("<IH", 26, 2)  # IFD1
            + struct.pack("<HHII", 513, 4, 1, 56)
            + struct.pack("<HHII", 514, 4, 1, len(thumbnail))
            + struct.pack("<I", 0)
            + thumbnail
        )
        path, again = tmp_path / "photo.jpg", tmp_path / "again.png"
        Image.fromarray(noise("u1", 16, 16, 3)).save(path, exif=b"Exif\0\0" + blob)
        assert thumbnail in path.read_bytes()
        write_photo(again, read_photo(path))
        assert thumbnail not in again.read_bytes()
        with Image.open(again) as result:
            assert result.getexif()[ORIENTATION] == 1

    @pytest.mark.parametrize("kind", [b"zTXt", b"tEXt", b"iTXt"])
    def test_no_raw_profile(self, tmp_path: Path, kind: bytes) -> None:
        """Nor does one in the text chunk in which ImageMagick keeps EXIF data."""
        path, again = tmp_path / "photo.png", tmp_path / "again.png"
        Image.fromarray(noise("u1", 16, 16, 3)).save(path)
        data = path.read_bytes()
        chunks = b""
        for name in (b"exif", b"APP1", b"8bim", b"xmp"):
            text = b"the secret"
            content = b"Raw profile type " + name + b"\0\0"
            content += zlib.compress(text) if kind == b"zTXt" else text
            crc = struct.pack(">I", zlib.crc32(kind + content))
            chunks += struct.pack(">I", len(content)) + kind + content + crc
        path.write_bytes(data[:33] + chunks + data[33:])  # after IHDR
        kept = [content[:20] for _, content in kept_chunks(path)]
        assert kept == [b"Raw profile type xmp"]
        write_photo(again, Photo(noise("u1", 16, 16, 3), chunks=tuple(kept_chunks(path))))
        assert b"type exif" not in again.read_bytes()

    @pytest.mark.parametrize("tag", [34377, 37724])
    def test_no_layers(self, tmp_path: Path, tag: int) -> None:
        """Nor do Photoshop's thumbnail and layers, which a TIFF file keeps in tags of their own."""
        path, again = tmp_path / "photo.tif", tmp_path / "again.tif"
        pixels = noise("u1", 16, 16, 3)
        photoshop = (tag, 7, 6, b"secret", True)
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=[photoshop])
        assert b"secret" in path.read_bytes()
        write_photo(again, read_photo(path))
        assert b"secret" not in again.read_bytes()

    @pytest.mark.parametrize(
        ("xmp", "is_kept"),
        [
            (b"<xmp:Rating>5</xmp:Rating>", True),
            (b"<xmp:Thumbnails>secret</xmp:Thumbnails>", False),
            (b"<x xmlns:xmpGImg='http://ns.adobe.com/xap/1.0/g/img/'>secret</x>", False),
        ],
    )
    def test_xmp(self, tmp_path: Path, xmp: bytes, is_kept: bool) -> None:
        """XMP stays, unless it holds thumbnails: in TIFF and PNG, compressed or in hexadecimal."""
        path, again = tmp_path / "photo.tif", tmp_path / "again.tif"
        for text in (xmp, xmp.decode().encode("utf-16")):
            tag = (700, 1, len(text), text, True)
            tifffile.imwrite(path, noise("u1", 16, 16, 3), photometric="rgb", extratags=[tag])
            write_photo(again, read_photo(path))
            assert (text in again.read_bytes()) == is_kept
        image, raw = tmp_path / "photo.png", b"\nxmp\n     999\n" + xmp.hex().encode()
        Image.fromarray(noise("u1", 16, 16, 3)).save(image)
        data = image.read_bytes()
        for kind, content in (
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
            (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(raw)),
            (b"tEXt", b"Raw profile type xmp\0" + raw),
        ):
            crc = struct.pack(">I", zlib.crc32(kind + content))
            chunk = struct.pack(">I", len(content)) + kind + content + crc
            image.write_bytes(data[:33] + chunk + data[33:])  # after IHDR
            assert kept_chunks(image) == ([(kind, content)] if is_kept else [])

    @pytest.mark.parametrize("packed", [zlib.compress(b"<xmp:Rating>")[:-4], b"no zlib"])
    def test_xmp_that_ends_early(self, tmp_path: Path, packed: bytes) -> None:
        """Compressed XMP of which not all can be seen is left out: its end may hold thumbnails."""
        path, content = tmp_path / "photo.png", b"XML:com.adobe.xmp\0\1\0\0\0" + packed
        write_photo(path, Photo(noise("u1", 16, 16, 3), chunks=((b"iTXt", content),)))
        assert b"com.adobe" in path.read_bytes()
        assert kept_chunks(path) == []

    def test_colour_chunks(self, tmp_path: Path) -> None:
        """What a PNG file says of the colours of its pixels stays."""
        path = tmp_path / "photo.png"
        said = (
            (b"sRGB", b"\0"),
            (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
            (b"cICP", b"\x0c\x0d\0\1"),
        )
        write_photo(path, Photo(noise("u1", 5, 7, 3), chunks=said))
        write_photo(tmp_path / "again.png", read_photo(path))
        assert kept_chunks(tmp_path / "again.png") == list(said)


class TestReadPhoto:
    """Whatever is in a file is read as it is, or refused."""

    @pytest.mark.parametrize(
        ("mode", "shape"),
        [("1", (5, 7)), ("L", (5, 7)), ("LA", (5, 7, 2)), ("P", (5, 7, 3)), ("RGBA", (5, 7, 4))],
    )
    def test_modes(self, tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
        """Every kind of PNG has the channels it needs."""
        image = Image.fromarray(noise("u1", 5, 7, 3)).convert(mode)
        image.save(tmp_path / "photo.png")
        pixels = read_photo(tmp_path / "photo.png").pixels
        assert pixels.shape == shape
        wanted = image.convert("RGB" if mode == "P" else "L" if mode == "1" else mode)
        assert (pixels == np.asarray(wanted)).all()

    @pytest.mark.parametrize("mode", ["L", "RGB", "P"])
    def test_key_colour(self, tmp_path: Path, mode: str) -> None:
        """A colour that a PNG calls transparent becomes alpha."""
        pixels = np.zeros((5, 7, 3), np.uint8)
        pixels[2, 3] = 255
        key: Any = {"L": 255, "RGB": (255, 255, 255), "P": None}[mode]
        image = Image.fromarray(pixels).convert(mode)
        if mode == "P":
            key = image.getpixel((3, 2))
        image.save(tmp_path / "photo.png", transparency=key)
        alpha = read_photo(tmp_path / "photo.png").pixels[..., -1]
        assert alpha[2, 3] == 0
        assert (alpha == 255).sum() == 34

    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
    def test_key_of_16_bits(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        """A transparent value of 16 bits, grey or colour, becomes alpha too."""
        path, pixels = tmp_path / "photo.png", noise("u2", *shape)
        key = pixels[2, 3:4].astype(">u2").tobytes()
        write_photo(path, Photo(pixels, chunks=((b"tRNS", key),)))
        found = read_photo(path).pixels
        assert (found[..., :-1].reshape(shape) == pixels).all()
        assert np.argwhere(found[..., -1] == 0).tolist() == [[2, 3]]
        assert (found[..., -1] == 65_535).sum() == 34

    def test_grey_and_alpha_of_16_bits(self, tmp_path: Path) -> None:
        """Grey and alpha of 16 bits, which OpenCV makes RGBA, are two channels."""
        path, pixels = tmp_path / "photo.png", noise("u2", 5, 7, 2)
        write_photo(path, Photo(pixels))
        found = read_photo(path).pixels
        assert found.shape == pixels.shape
        assert (found == pixels).all()

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize(
        "options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}]
    )
    def test_tiff(self, tmp_path: Path, dtype: str, options: Any) -> None:
        """TIFF files of another writer, compressed or of another byte order, are read exactly."""
        pixels = noise(dtype, 20, 30, 3)
        tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric="rgb", **options)
        assert (read_photo(tmp_path / "photo.tif").pixels == pixels).all()

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned_tiff(self, tmp_path: Path, orientation: int, dtype: str) -> None:
        """TIFF files, which other readers turn upright, are read as they are stored."""
        path, pixels = tmp_path / "photo.tif", noise(dtype, 5, 7, 3)
        tag = (ORIENTATION, "H", 1, orientation, True)
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=[tag])
        photo = read_photo(path)
        assert photo.orientation == orientation
        assert (photo.pixels == pixels).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, tmp_path: Path, orientation: int) -> None:
        """Upright is what Pillow calls upright, and turning back gives the stored pixels."""
        path = tmp_path / "photo.png"
        Image.fromarray(noise("u1", 5, 7, 3)).save(path, exif=words(orientation))
        photo = read_photo(path)
        with Image.open(path) as image:
            assert (photo.upright == np.asarray(ImageOps.exif_transpose(image))).all()
        assert (photo.with_upright(photo.upright).pixels == photo.pixels).all()

    @pytest.mark.parametrize("orientation", [0, 9])
    def test_no_orientation(self, tmp_path: Path, orientation: int) -> None:
        """An orientation that there is not is none: the pixels are shown as they are stored."""
        path, pixels = tmp_path / "photo.png", noise("u1", 5, 7, 3)
        Image.fromarray(pixels).save(path, exif=words(orientation))
        assert (read_photo(path).upright == pixels).all()

    def test_damaged_exif(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Damaged EXIF data is left out with a warning; the pixels are good."""
        path = tmp_path / "photo.jpg"
        blob = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", MAKER, 5, 3, 9999)
        Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0" + blob)
        photo = read_photo(path)
        assert photo.pixels.shape == (8, 8, 3)
        assert photo.orientation == 1

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
    def test_exif_that_is_none(self, tmp_path: Path, suffix: str) -> None:
        """Where EXIF data should be and something else is, the photo has none; its pixels stay."""
        path = tmp_path / f"photo{suffix}"
        Image.new("RGB", (8, 6), "white").save(path, exif=b"Exif\0\0no EXIF data at all")
        photo = read_photo(path)
        assert (photo.pixels == 255).all()
        assert photo.exif is None
        assert (read_image(path) == 255).all()

    @pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30)])
    def test_damaged_pixels(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        """Where pixels are damaged, the photo is refused, not taken to have no EXIF data."""
        path = tmp_path / "photo.png"
        write_photo(path, Photo(noise("u1", *shape)))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x55
        path.write_bytes(data)
        with pytest.raises(ImageError, match="not a readable image"):
            read_photo(path)

    def test_damaged_exif_keeps_orientation(self, tmp_path: Path) -> None:
        """Of damaged EXIF data the orientation stays: what is written is shown as the photo is."""
        path, again = tmp_path / "photo.jpg", tmp_path / "again.png"
        blob = b"II*\0" + struct.pack("<IH", 8, 2)
        blob += struct.pack("<HHII", ORIENTATION, 3, 1, 6)
        blob += struct.pack("<HHI4sI", 282, 2, 4, b"72.0", 0)  # a resolution that is text
        pixels = noise("u1", 8, 16, 3)
        Image.fromarray(pixels).save(path, exif=b"Exif\0\0" + blob)
        photo = read_photo(path)
        assert photo.upright.shape == (16, 8, 3)
        write_photo(again, photo)
        assert (read_image(again) == photo.upright).all()
        assert (read_image(path) == photo.upright).all()

    def test_cmyk(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """CMYK becomes RGB, and a profile that no longer fits is dropped; a warning says so."""
        path = tmp_path / "photo.jpg"
        Image.new("CMYK", (8, 8)).save(path, icc_profile=PROFILE)
        photo = read_photo(path)
        assert photo.pixels.shape == (8, 8, 3)
        assert photo.icc_profile is None
        assert f"{path}: CMYK pixels; all of them become RGB" in caplog.text

    def test_cmyk_tiff(self, tmp_path: Path) -> None:
        """Nor does a profile of CMYK come back from among the tags of a TIFF file."""
        path, again = tmp_path / "photo.tif", tmp_path / "again.tif"
        Image.new("CMYK", (8, 8)).save(path, icc_profile=PROFILE)
        write_photo(again, read_photo(path))
        with Image.open(again) as image:
            assert image.mode == "RGB"
            assert "icc_profile" not in image.info

    def test_second_picture(self, tmp_path: Path) -> None:
        """A second picture, such as a phone's gain map, is no page: the first is the photograph."""
        path, pixels = tmp_path / "photo.jpg", np.full((16, 16, 3), 90, np.uint8)
        gain = Image.new("L", (8, 8), 200)
        Image.fromarray(pixels).save(path, "MPO", save_all=True, append_images=[gain])
        assert (read_photo(path).pixels == pixels).all()

    def test_pages(self, tmp_path: Path) -> None:
        """A file with several pages is refused rather than losing them."""
        path = tmp_path / "photo.tif"
        tifffile.imwrite(path, noise("u1", 2, 16, 16, 3), photometric="rgb")
        with pytest.raises(ImageError, match="2 pictures in one file"):
            read_photo(path)

    def test_damaged_tags(self, tmp_path: Path) -> None:
        """A TIFF file whose tags can't all be read is refused: they say what its pixels are."""
        path, xmp = tmp_path / "photo.tif", (700, "H", 1, 5, True)  # a number, where text is meant
        options = {"photometric": "rgb", "extrasamples": ["assocalpha"], "extratags": [xmp]}
        tifffile.imwrite(path, noise("u1", 9, 9, 4), **options)
        with pytest.raises(ImageError, match="not a readable image"):
            read_photo(path)

    def test_planes(self, tmp_path: Path) -> None:
        """Of 8 bits, channels may lie in planes of their own."""
        path, pixels = tmp_path / "photo.tif", noise("u1", 9, 11, 3)
        planes = np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
        assert (read_photo(path).pixels == pixels).all()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"photometric": "rgb", "extrasamples": ["assocalpha"]}, "multiplied by alpha"),
            ({"photometric": "rgb", "planarconfig": "separate"}, "separate channel planes"),
            ({"photometric": "miniswhite"}, "0 is white"),
        ],
    )
    def test_odd_tiff(self, tmp_path: Path, options: Any, words: str) -> None:
        """TIFF files whose pixels would come back otherwise stored are refused."""
        shape = {"multiplied by alpha": (9, 9, 4), "0 is white": (9, 9)}.get(words, (3, 9, 9))
        tifffile.imwrite(tmp_path / "photo.tif", noise("u2", *shape), **options)
        with pytest.raises(ImageError, match=words):
            read_photo(tmp_path / "photo.tif")

    @pytest.mark.parametrize(
        ("kind", "extra", "words"),
        [
            ("rgb", ["unspecified"], "4 channels, of which only 3 are read"),
            ("rgb", ["unassalpha", "unspecified"], "5 channels, of which only 4 are read"),
            ("minisblack", ["unspecified"], "2 channels, of which only 1 are read"),
        ],
    )
    def test_more_channels(self, tmp_path: Path, kind: str, extra: list[str], words: str) -> None:
        """A TIFF with channels that are neither colour nor alpha is refused, not robbed of them."""
        pixels = noise("u1", 9, 9, len(extra) + (3 if kind == "rgb" else 1))
        tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric=kind, extrasamples=extra)
        with pytest.raises(ImageError, match=rf"photo\.tif: {words}"):
            read_photo(tmp_path / "photo.tif")

    def test_more_channels_of_16_bits(self, tmp_path: Path) -> None:
        """Of 16 bits a fourth channel is kept, whatever it is called."""
        pixels = noise("u2", 9, 9, 4)
        options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
        tifffile.imwrite(tmp_path / "photo.tif", pixels, **options)
        np.testing.assert_array_equal(read_photo(tmp_path / "photo.tif").pixels, pixels)

    @pytest.mark.parametrize("dtype", ["i1", "i2", "f4"])
    def test_signed(self, tmp_path: Path, dtype: str) -> None:
        """A TIFF of signed pixels, or of floats, is refused as such: Pillow takes -1 for 255."""
        pixels = np.zeros((9, 9), dtype)
        tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric="minisblack")
        with pytest.raises(ImageError, match=r"photo\.tif: signed or floating-point pixels"):
            read_photo(tmp_path / "photo.tif")

    def test_cmyk_of_16_bits(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """A TIFF of 16-bit CMYK is refused before OpenCV complains of it."""
        path = tmp_path / "photo.tif"
        tifffile.imwrite(path, noise("u2", 9, 9, 4), photometric="separated")
        with pytest.raises(ImageError, match=r"photo\.tif: a 16-bit CMYK TIFF; save it as RGB"):
            read_photo(path)
        assert capfd.readouterr().err == ""

    def test_32_bits(self, tmp_path: Path) -> None:
        """Files of 32 bits a channel are refused."""
        tifffile.imwrite(tmp_path / "photo.tif", np.zeros((16, 16), np.uint32))
        with pytest.raises(ImageError, match="32-bit"):
            read_photo(tmp_path / "photo.tif")

    @pytest.mark.parametrize("content", [b"", b"no image", None])
    def test_raises(self, tmp_path: Path, content: bytes | None) -> None:
        """What is missing, or no image, is named."""
        path = tmp_path / "photo.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ImageError, match=r"photo\.png"):
            read_photo(path)

    def test_truncated(self, tmp_path: Path) -> None:
        """Half a file is refused."""
        buffer = io.BytesIO()
        Image.fromarray(noise("u1", 64, 64, 3)).save(buffer, "PNG")
        path = tmp_path / "photo.png"
        path.write_bytes(buffer.getvalue()[:4000])
        with pytest.raises(ImageError, match=r"photo\.png"):
            read_photo(path)

    @pytest.mark.parametrize("too_many", [1, 3_000_000_000])
    def test_chunk_longer_than_file(self, tmp_path: Path, too_many: int) -> None:
        """A chunk that says it has gigabytes is refused before anyone makes room for them."""
        path = tmp_path / "photo.png"
        write_photo(path, Photo(noise("u2", 8, 8, 3)))
        whole = path.read_bytes()
        place = whole.index(b"IDAT") - 4
        length = len(whole) - place - 12 + too_many
        path.write_bytes(whole[:place] + struct.pack(">I", length) + whole[place + 4 :])
        with pytest.raises(ImageError, match=f"chunk at byte {place} says it has {length} bytes"):
            read_photo(path)

    def test_limit(self, tmp_path: Path) -> None:
        """Too many pixels are refused before they are decoded."""
        header = struct.pack(">IIBBBBB", 11000, 10000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
        path = tmp_path / "photo.png"
        path.write_bytes(
            data + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
        )
        with pytest.raises(ImageError, match="11000x10000"):
            read_photo(path)


class TestWritePhoto:
    """A file is written whole, in a format that holds it."""

    @pytest.mark.parametrize("name", ["photo.gif", "photo", "photo.bmp"])
    def test_suffix(self, tmp_path: Path, name: str) -> None:
        """Other endings are refused, naming those that can be written."""
        with pytest.raises(ImageError, match=r"\.png, \.tif"):
            write_photo(tmp_path / name, Photo(noise("u1", 5, 7, 3)))

    @pytest.mark.parametrize(
        ("name", "pixels"),
        [
            ("photo.jpg", noise("u2", 5, 7, 3)),
            ("photo.jpg", noise("u1", 5, 7, 4)),
            ("photo.webp", noise("u2", 5, 7)),
            ("photo.tif", noise("u2", 5, 7, 2)),  # it could, but nothing common reads it
        ],
    )
    def test_loss(self, tmp_path: Path, name: str, pixels: NDArray[Any]) -> None:
        """A format that would lose bits or alpha is refused, and nothing is left behind."""
        with pytest.raises(ImageError, match="can't hold"):
            write_photo(tmp_path / name, Photo(pixels))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("name", "photo", "words"),
        [
            ("a.webp", Photo(noise("u1", 2, 16_384, 3)), "at most 16383 .*not 16384x2"),
            ("a.jpg", Photo(noise("u1", 2, 65_501)), "at most 65500 .*not 65501x2"),
            ("a.jpg", Photo(noise("u1", 2, 2), exif=b"II*\0" + bytes(70_000)), "EXIF.* too long"),
        ],
    )
    def test_limits(self, tmp_path: Path, name: str, photo: Photo, words: str) -> None:
        """What a format has no room for is told in one line, and nothing is left behind."""
        with pytest.raises(ImageError, match=rf"{name}: (JPEG|WEBP) .*{words}.*wanted \.png"):
            write_photo(tmp_path / name, photo)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("name", "most"), [("a.webp", 16_383), ("a.jpg", 65_500)])
    def test_largest(self, tmp_path: Path, name: str, most: int) -> None:
        """What a format just has room for is written."""
        write_photo(tmp_path / name, Photo(np.zeros((2, most, 3), np.uint8)))
        assert read_photo(tmp_path / name).pixels.shape == (2, most, 3)

    @pytest.mark.parametrize(
        "pixels",
        [
            np.full((5, 7, 3), 0.5, np.float32),
            np.ones((5, 7), np.bool_),
            noise("i2", 5, 7),
            noise("u4", 5, 7),
            noise("u1", 5, 7, 5),
            noise("u1", 5),
            noise("u1", 0, 7, 3),
        ],
    )
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
    def test_odd_pixels(self, tmp_path: Path, name: str, pixels: NDArray[Any]) -> None:
        """Pixels that no reader would understand are refused, and nothing is left behind."""
        with pytest.raises(ImageError, match=rf"{name}: can't write .*wanted uint8 or uint16"):
            write_photo(tmp_path / name, Photo(pixels))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
    def test_one_channel(self, tmp_path: Path, name: str) -> None:
        """Grey may have a third axis, as `pconv.inpaint` returns it to whom it came with one."""
        write_photo(tmp_path / name, Photo(np.full((5, 7, 1), 90, np.uint8)))
        assert (read_image(tmp_path / name) == 90).all()

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
    def test_any_memory_order(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        """A turned picture, which is a view of another, is written as it looks."""
        turned = np.rot90(noise(dtype[-2:], 5, 7)).astype(dtype, order="K")
        path = tmp_path / f"a{suffix}"
        write_photo(path, Photo(turned))
        assert (seen_by_others(path) == turned).all()
