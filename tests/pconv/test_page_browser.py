"""The page in a browser: headless Chromium opens photos, paints, fills and downloads.

On a photo of noise a fill by the mean colour changes every pixel of the hole and no other, so it
shows to the pixel what was painted.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps
from skimage import data

from pconv.photo_files import Photo, write_photo
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.pconv.page_server import PATIENCE, page_server

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is missing")
playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")

OPTIONS = [
    "--no-sandbox",  # it can't be had inside many containers
    "--disable-gpu",
    # Chromium itself would ask its maker's hosts for this and that.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ORIENTATION, QUARTER_TURN = 0x0112, 6
HEIGHT, WIDTH = 40, 60
# Far from its own mean, which is grey.
NOISE = np.where(
    np.random.default_rng(0).random((HEIGHT, WIDTH, 3)) < 0.5, np.uint8(0), np.uint8(255)
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


class Visit:
    """One visit of the page.

    Attributes:
        page: Playwright's page.
        errors: What went to the console as an error, or was raised by a script.
        addresses: Of all requests.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.addresses: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))
        page.on("request", lambda request: self.addresses.append(request.url))
        page.goto(url)
        page.wait_for_selector("#methods input:checked")

    def open(self, photo: str) -> None:
        """Open a photo."""
        self.page.set_input_files("#photo", photo)
        self.page.wait_for_selector("body[data-mode=paint]:not(.busy)")

    def drag(self, *places: tuple[float, float]) -> None:
        """Drag the mouse over the painting, between places given in pixels of the photo."""
        sheet = self.page.locator("#sheet").bounding_box()
        scale = sheet["width"] / self.page.evaluate(
            "document.getElementById('before').naturalWidth"
        )
        points = [(sheet["x"] + scale * x, sheet["y"] + scale * y) for x, y in places]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points:
            self.page.mouse.move(*point, steps=3)
        self.page.mouse.up()

    def tool(self, name: str) -> None:
        """Choose a tool by its key."""
        self.page.keyboard.press(name[0])
        assert self.page.is_checked(f"input[value={name}]")

    def fill(self, method: str = "mean") -> Path:
        """Fill, download, and return the file."""
        self.page.check(f"input[value={method}]")
        self.page.click("#fill")
        self.page.wait_for_selector("body[data-mode=compare]:not(.busy)")
        with self.page.expect_download() as download:
            self.page.click("#download")
        path = Path(download.value.suggested_filename)
        download.value.save_as(path)
        return path


@pytest.fixture
def visit(browser: Any, tmp_path: Path, no_weights: None) -> Iterator[Callable[..., Visit]]:
    """Return a function that visits the page, with a server of its own and tiny weights.

    In the end there was no error, and no request to another host.
    """
    (tmp_path / "temporary").mkdir()
    visits = []
    with page_server(tmp_path / "temporary") as url:

        def start(**options: Any) -> Visit:
            context = browser.new_context(**options)
            visits.append(Visit(context.new_page(), url))
            return visits[-1]

        yield start
        for one in visits:
            one.page.context.close()
    assert [one.errors for one in visits] == [[]] * len(visits)
    addresses = {address for one in visits for address in one.addresses}
    assert not [each for each in addresses if not each.startswith((f"{url}/", f"blob:{url}/"))]


def changed(photo: np.ndarray, path: Path) -> np.ndarray:
    """Return which pixels of a photo are others in a file, upright."""
    with Image.open(path) as image:
        filled = np.asarray(ImageOps.exif_transpose(image))
    assert filled.shape == photo.shape
    return (filled != photo).any(axis=-1)


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return a hole."""
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[top:bottom, left:right] = True
    return hole


@pytest.mark.slow
@pytest.mark.parametrize("method", ["telea", "pconv"])
def test_photo(visit: Callable[..., Visit], method: str) -> None:
    """A photo: paint, undo, redo, a rectangle, fill, slide, download; the rest is as it was."""
    torch.manual_seed(0)
    save_weights("models/pconv/last.safetensors", PConvUNet(width=4, levels=3))
    photo = data.coffee()
    Image.fromarray(photo).save("my coffee.png")
    one = visit()
    one.open("my coffee.png")
    assert one.page.is_disabled("#fill")
    one.drag((50, 50), (100, 60))
    one.drag((300, 300), (350, 350))
    one.page.keyboard.press("Control+z")
    one.page.keyboard.press("Control+z")
    one.page.keyboard.press("Control+Shift+z")
    one.tool("rectangle")
    one.drag((200.5, 100.5), (259.5, 149.5))
    path = one.fill(method)
    assert str(path) == "my coffee-filled.png"
    difference = changed(photo, path)
    assert difference[100:150, 200:260].mean() > 0.9  # the rectangle
    assert difference[48:52, 60:90].mean() > 0.9  # the stroke that was undone and done again
    difference[100:150, 200:260] = False
    difference[30:80, 30:120] = False
    assert not difference.any()
    assert re.search(r"in \d+\.\d s", one.page.inner_text("#status"))


def test_slider(visit: Callable[..., Visit]) -> None:
    """Keys and mouse move the border between before and after, as do drags on the photo."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    one.open("a.png")
    one.drag((30, 20), (35, 20))
    one.fill()
    shown = "getComputedStyle(document.getElementById('after')).clipPath"
    assert "50%" in one.page.evaluate(shown)
    one.page.focus("#slider")
    one.page.keyboard.press("ArrowRight")
    assert "50.5%" in one.page.evaluate(shown)
    one.page.keyboard.press("Home")
    assert "0%" in one.page.evaluate(shown)
    box = one.page.locator("#slider").bounding_box()
    one.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert 70 < float(one.page.input_value("#slider")) < 80
    one.drag((30, 20), (15, 20))
    assert 20 < float(one.page.input_value("#slider")) < 30
    one.page.click("#again")
    assert one.page.is_visible("#paint")
    assert one.page.is_enabled("#undo")


@pytest.mark.parametrize("zoom", ["fit", "0.5", "4"])
def test_pixels(visit: Callable[..., Visit], zoom: str) -> None:
    """One pixel of the photo is one of the mask, however large it is shown."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    one.open("a.png")
    one.page.select_option("#zoom", zoom)
    one.tool("rectangle")
    one.drag((7.5, 3.5), (18.5, 22.5))
    assert (changed(NOISE, one.fill()) == rectangle(7, 3, 19, 23)).all()


def test_scrolled(visit: Callable[..., Visit]) -> None:
    """What is painted on an enlarged photo that was moved lies where it was painted."""
    photo = np.tile(NOISE, (8, 8, 1))
    Image.fromarray(photo).save("a.png")
    one = visit()
    one.open("a.png")
    one.page.select_option("#zoom", "4")
    place = (
        "[document.getElementById('stage').scrollLeft, document.getElementById('stage').scrollTop]"
    )
    before = one.page.evaluate(place)
    one.tool("move")
    one.drag((240, 160), (215, 190))
    assert one.page.evaluate(place) == [before[0] + 100, before[1] - 120]
    one.tool("rectangle")
    one.drag((240.5, 120.5), (259.5, 149.5))
    hole = np.zeros(photo.shape[:2], bool)
    hole[120:150, 240:260] = True
    assert (changed(photo, one.fill()) == hole).all()


def test_brush(visit: Callable[..., Visit]) -> None:
    """The thinnest brush makes lines without gaps; the eraser takes paint away."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    one.open("a.png")
    for _ in range(20):
        one.page.keyboard.press("[")
    assert one.page.inner_text("#size-shown") == "1 px"
    one.drag((5.5, 5.5), (45.5, 22.5))
    one.drag((50.5, 30.5))
    one.drag((2.5, 30.5), (20.5, 30.5))
    one.tool("eraser")
    one.drag((10.5, 30.5), (30.5, 30.5))
    hole = changed(NOISE, one.fill())
    assert hole[:29, 5:46].any(axis=0).all()  # each column of the slanted line
    assert 41 <= hole[:29].sum() <= 2 * 41
    assert hole[30, 50]
    assert hole[30, 2:10].all()
    assert not hole[30, 10:50].any()


def test_undone_while_dragging(visit: Callable[..., Visit]) -> None:
    """A stroke that is undone before the mouse lets go is over: it paints no more."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    one.open("a.png")
    painted = "document.getElementById('paint').toDataURL()"
    before = one.page.evaluate(painted)
    sheet = one.page.locator("#sheet").bounding_box()
    x, y = sheet["x"] + sheet["width"] / 4, sheet["y"] + sheet["height"] / 2
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    one.page.mouse.move(x + 50, y, steps=3)
    one.page.keyboard.press("Control+z")
    one.page.mouse.move(x + 150, y, steps=3)
    one.page.mouse.up()
    assert one.page.evaluate(painted) == before


def test_keyboard(visit: Callable[..., Visit]) -> None:
    """The hole can be painted without a mouse."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    one.open("a.png")
    for _ in range(20):
        one.page.keyboard.press("[")
    one.page.focus("#paint")
    for key in ["Space", "ArrowRight", "ArrowRight", "Space", "Shift+ArrowDown", "Space"]:
        one.page.keyboard.press(key)
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[20, [30, 32]] = hole[21, 32] = True
    assert (changed(NOISE, one.fill()) == hole).all()


def test_turned(visit: Callable[..., Visit]) -> None:
    """A turned photo is painted on as it is shown, and keeps its orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    Image.fromarray(NOISE).transpose(Image.Transpose.ROTATE_90).save("a.png", exif=exif)
    one = visit()
    one.open("a.png")
    assert "60x40" in one.page.inner_text("#about-photo")
    one.tool("rectangle")
    one.drag((2.5, 3.5), (11.5, 7.5))
    path = one.fill()
    assert (changed(NOISE, path) == rectangle(2, 3, 12, 8)).all()
    with Image.open(path) as image:
        assert image.getexif()[ORIENTATION] == QUARTER_TURN


def test_deep(visit: Callable[..., Visit]) -> None:
    """A TIFF photo of 16 bits with alpha is shown, filled, and stays one."""
    photo = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)
    write_photo(Path("a.tif"), Photo(photo))
    one = visit()
    one.open("a.tif")
    one.tool("rectangle")
    one.drag((2.5, 3.5), (11.5, 7.5))
    path = one.fill("telea")
    assert path.suffix == ".tif"
    filled = tifffile.imread(path)
    assert filled.dtype == np.uint16
    hole = rectangle(2, 3, 12, 8)
    assert (filled[~hole] == photo[~hole]).all()
    assert (filled[hole, :3] != photo[hole, :3]).mean() > 0.9


def open_with_mask(one: Visit) -> np.ndarray:
    """Open a photo and load a mask; return where its hole is, bool, ``(HEIGHT, WIDTH)``."""
    Image.fromarray(NOISE).save("a.png")
    hole = np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.2
    Image.fromarray(~hole).save("mask.png")
    one.open("a.png")
    one.page.set_input_files("#mask", "mask.png")
    one.page.wait_for_selector("#fill:enabled")
    return hole


def test_mask(visit: Callable[..., Visit]) -> None:
    """A mask file is the hole, to the pixel; inverted it is the opposite."""
    one = visit()
    hole = open_with_mask(one)
    assert (changed(NOISE, one.fill()) == hole).all()
    one.page.click("#again")
    one.page.click("#invert")
    assert (changed(NOISE, one.fill()) == ~hole).all()
    one.page.click("#again")
    one.page.click("#clear")
    one.page.click("#fill")
    one.page.wait_for_selector("#error:has-text('Nothing is painted')")
    one.page.click("#invert")
    one.page.click("#fill")
    one.page.wait_for_selector("#error:has-text('All is painted')")


def test_other_mask(visit: Callable[..., Visit]) -> None:
    """A loaded mask takes the place of all that was painted, which undo brings back."""
    one = visit()
    hole = open_with_mask(one)
    one.tool("rectangle")
    one.drag((2.5, 3.5), (11.5, 7.5))
    Image.fromarray(~rectangle(30, 20, 40, 30)).save("other.png")
    one.page.set_input_files("#mask", "other.png")
    one.page.wait_for_selector("body:not(.busy)")
    assert (changed(NOISE, one.fill()) == rectangle(30, 20, 40, 30)).all()
    one.page.click("#again")
    one.page.click("#undo")
    assert (changed(NOISE, one.fill()) == hole | rectangle(2, 3, 12, 8)).all()


@pytest.mark.parametrize(
    ("mode", "known", "words"),
    [
        ("RGB", 5, r"Filled 100 % of the photo .* All other pixels are as they were\."),
        ("CMYK", 1150, r"Filled 52 % of the photo .* Its pixels were CMYK and became RGB\."),
    ],
)
def test_status(visit: Callable[..., Visit], mode: str, known: int, words: str) -> None:
    """The share is told as a plain number, and that pixels stayed only where they did."""
    Image.fromarray(NOISE).convert(mode).save("a.jpg")
    mask = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) < known
    Image.fromarray(mask).save("mask.png")
    one = visit()
    one.open("a.jpg")
    one.page.set_input_files("#mask", "mask.png")
    one.page.wait_for_selector("#fill:enabled")
    one.fill()
    assert re.fullmatch(words, one.page.inner_text("#status"))


def test_changed_on_disk(visit: Callable[..., Visit]) -> None:
    """What is filled is the photo that was opened, whatever is saved over its file since."""
    one = visit()
    hole = open_with_mask(one)
    Image.fromarray(NOISE[:10] // 2).save("a.png")
    assert (changed(NOISE, one.fill()) == hole).all()


def test_errors(visit: Callable[..., Visit]) -> None:
    """What goes wrong is said on the page, and it goes on."""
    Image.fromarray(NOISE).save("a.png")
    Image.fromarray(NOISE[:10]).save("small.png")
    Image.fromarray(NOISE // 2).save("dark.png")
    white = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    white[:10, :, 3] = 0
    Image.fromarray(white).save("white.png")
    Path("text.png").write_text("no picture")
    one = visit()
    assert one.page.is_disabled("input[value=pconv]")
    assert "make repro" in one.page.inner_text("#methods")
    one.page.set_input_files("#photo", "text.png")
    one.page.wait_for_selector("#error:has-text('text.png: not a readable image')")
    one.open("a.png")
    assert one.page.inner_text("#error") == ""
    for mask, words in [
        ("small.png", "small.png has 60x10 pixels; wanted 60x40"),
        ("dark.png", "This looks like a photo"),
        ("white.png", "This mask has no hole: black is the hole"),
        ("text.png", "text.png: not a readable image"),
    ]:
        one.page.set_input_files("#mask", mask)
        one.page.wait_for_selector(f"#error:has-text('{words}')")
    one.errors = [error for error in one.errors if "422" not in error]  # Chromium notes answers


def test_drop(visit: Callable[..., Visit]) -> None:
    """A dropped file is opened."""
    Image.fromarray(NOISE).save("a.png")
    one = visit()
    dropped = one.page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.png'));
            return transfer;
        }""",
        list(Path("a.png").read_bytes()),
    )
    one.page.dispatch_event("#stage", "drop", {"dataTransfer": dropped})
    one.page.wait_for_selector("#about-photo:has-text('dropped.png, 60x40')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(visit: Callable[..., Visit], scheme: str) -> None:
    """On a phone nothing is wider than the screen, and fingers paint."""
    Image.fromarray(NOISE).save("a.png")
    size = {"width": 390, "height": 844}
    one = visit(viewport=size, has_touch=True, is_mobile=True, color_scheme=scheme)
    one.open("a.png")
    one.page.tap("#paint")
    hole = changed(NOISE, one.fill())
    assert hole[20, 30]
    assert not hole[0].any()
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = int(re.findall(r"\d+", ground)[0])
    assert (brightness < 80) == (scheme == "dark")
