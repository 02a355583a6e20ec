"""The page's server: fills without loss, and refuses the rest in one sentence.

Each test talks to a server of its own on a free port; what the page looks like in a browser is
tested in test_page_browser.py.
"""

import asyncio
import http.client
import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from typer.testing import CliRunner

from pconv import cli, inpaint
from pconv.fill_files import fill_file
from pconv.hole_marks import HoleMarks
from pconv.inpainting import METHODS, Inpainter
from pconv.page import server, uploads
from pconv.page.server import USE_OF_METHOD
from pconv.page.uploads import Limits
from pconv.photo_files import SUFFIXES, Photo, write_photo
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.pconv.page_server import PATIENCE, page_server
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KNOWN = np.ones((40, 50), bool)
KNOWN[10:20, 15:30] = False
# What browsers want of a file that is sent with "nosniff" (WHATWG, MIME Sniffing).
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
NONE_OF = ("object-src", "base-uri", "form-action", "frame-ancestors")
# As OWASP's cheat sheet on headers has them.
KEPT_APART = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Upload = tuple[str, bytes]
Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_weights(no_weights: None) -> None:
    pass


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder in which the server keeps temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(temporary: Path) -> Iterator[Serve]:
    """Return a function that starts a server with some settings and returns its address."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(page_server(temporary, **settings))


def encoded(pixels: np.ndarray, suffix: str = ".png", **photo: Any) -> bytes:
    """Return pixels as the bytes of a file; not from several threads, as the file is one."""
    path = Path(f"encoded{suffix}")
    write_photo(path, Photo(pixels, **photo))
    data = path.read_bytes()
    path.unlink()
    return data


def noise(dtype: str, *shape: int) -> np.ndarray:
    """Return random pixels of a dtype."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


PHOTO = noise("u1", 40, 50, 3)


def ask(
    url: str,
    photo: Upload | None = None,
    mask: Upload | None = None,
    method: str | None = "telea",
    headers: dict[str, str] | None = None,
    patience: float | tuple[float, float] = PATIENCE,
) -> requests.Response:
    """Ask for a fill; by default a good photo with a good mask."""
    files = {
        "photo": photo or ("photo.png", png(PHOTO)),
        "mask": mask or ("mask.png", png(np.uint8(255) * KNOWN)),
    }
    words = {} if method is None else {"method": method}
    return requests.post(f"{url}/fill", files=files, data=words, headers=headers, timeout=patience)


def assert_told(answer: requests.Response, status: int, words: str) -> None:
    """Check that an answer is one sentence, and says nothing of this machine."""
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]
    assert words in message
    assert "\n" not in message
    assert "/tmp" not in message
    assert "Traceback" not in message


class TestFiles:
    """The page itself."""

    def test_values(self, serve: Serve) -> None:
        """Page, style, scripts and icon are served with their types, and never cached."""
        url = serve()
        page = requests.get(url, timeout=PATIENCE)
        for name in server._FILES:
            answer = requests.get(f"{url}/{name}", timeout=PATIENCE)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Type"].partition(";")[0] == TYPES[Path(name).suffix]
            assert (answer.content == page.content) == (name == "index.html")

    def test_complete(self) -> None:
        """All files that lie beside the server and are no Python are served."""
        folder = Path(server.__file__).parent
        files = {path.name for path in folder.iterdir() if path.suffix not in (".py", "")}
        assert files == set(server._FILES)

    def test_no_other_host(self, serve: Serve) -> None:
        """No file of the page names another host, and the browser is told to load nothing else."""
        url = serve()
        for name in server._FILES:
            answer = requests.get(f"{url}/{name}", timeout=PATIENCE)
            found = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub("^ *//.*", "", answer.text))
            assert set(found) <= {"http://www.w3.org"}, name  # the name of SVG's own namespace
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy

    @pytest.mark.parametrize(
        "path",
        [
            "/server.py",
            "/__init__.py",
            "/../server.py",
            "/../../pyproject.toml",
            "/%2e%2e/server.py",
            "/..%2fserver.py",
            "/page.js/../server.py",
            "//etc/passwd",
            "/etc/passwd",
            "/page.js%00.html",
            "/..\\server.py",
        ],
    )
    def test_traversal(self, serve: Serve, path: str) -> None:
        """Nothing but the page's own files can be had."""
        connection = http.client.HTTPConnection(serve().removeprefix("http://"), timeout=PATIENCE)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


class TestMethods:
    """The list of methods."""

    def test_no_weights(self, serve: Serve) -> None:
        """All methods are named; the network says which command makes weights."""
        methods = requests.get(f"{serve()}/methods", timeout=PATIENCE).json()["methods"]
        assert sorted(method["name"] for method in methods) == sorted(METHODS)
        missing = {method["name"]: method["missing"] for method in methods}
        assert "make repro" in missing.pop("pconv")
        assert set(missing.values()) == {None}

    def test_weights(self, serve: Serve) -> None:
        """Weights that are trained while the page is open are found."""
        url = serve()
        assert requests.get(f"{url}/methods", timeout=PATIENCE).json()["methods"][0]["missing"]
        save_weights("models/pconv/last.safetensors", PConvUNet(width=2, levels=3))
        assert not requests.get(f"{url}/methods", timeout=PATIENCE).json()["methods"][0]["missing"]

    def test_order(self) -> None:
        """The network comes first."""
        assert next(iter(USE_OF_METHOD)) == "pconv"

    def test_words(self, serve: Serve) -> None:
        """Each method has its title and its use; the page learns the limit of uploads."""
        answer = requests.get(f"{serve(limits=Limits(bytes=7))}/methods", timeout=PATIENCE).json()
        words = {method["name"]: (method["title"], method["use"]) for method in answer["methods"]}
        assert words["pconv"][0] == "Network"
        assert words["ns"] == ("Navier-Stokes", "quick, for scratches and spots")
        assert answer["max_bytes"] == 7


class TestView:
    """What is shown of a photo."""

    def shown(self, url: str, name: str, data: bytes) -> Image.Image:
        """Return what the page shows, as Pillow sees it without turning it."""
        answer = requests.post(f"{url}/view", files={"photo": (name, data)}, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        image = Image.open(io.BytesIO(answer.content))
        assert answer.headers["Content-Type"] == Image.MIME[str(image.format)]
        return image

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_upright(self, serve: Serve, suffix: str) -> None:
        """A picture is shown upright, whatever its file; other libraries agree on what that is."""
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.fromarray(cv2.resize(PHOTO, (300, 200), interpolation=cv2.INTER_CUBIC))
        picture.save(file, Image.registered_extensions()[suffix], exif=exif, quality=95)
        shown = self.shown(serve(), f"photo{suffix}", file.getvalue())
        assert shown.getexif().get(0x0112, 1) == 1
        upright = np.asarray(ImageOps.exif_transpose(picture_of(file)).convert("RGB")).astype(int)
        assert shown.size == (200, 300)
        assert np.abs(np.asarray(shown) - upright).mean() < 3

    def test_kinds(self, serve: Serve) -> None:
        """16 bits are shown by their upper half, alpha and profile stay, grey stays grey.

        A photo without alpha is shown as JPEG, which is smaller.
        """
        url = serve()
        deep = noise("u2", 5, 7, 4)
        shown = self.shown(url, "a.png", encoded(deep, icc_profile=PROFILE))
        assert (np.asarray(shown) == deep >> 8).all()
        assert shown.info["icc_profile"] == PROFILE
        grey = self.shown(url, "a.tif", encoded(noise("u2", 5, 7), ".tif"))
        assert (grey.mode, grey.format) == ("L", "JPEG")
        assert self.shown(url, "a.png", encoded(noise("u2", 5, 7, 2))).mode == "LA"

    def test_raises(self, serve: Serve) -> None:
        """What is no picture is told under the name that it has at the sender's."""
        files = {"photo": ("my holiday.jpg", b"no picture")}
        answer = requests.post(f"{serve()}/view", files=files, timeout=PATIENCE)
        assert_told(answer, 422, "my holiday.jpg: not a readable image")


def picture_of(file: io.BytesIO) -> Image.Image:
    """Return a file in memory as Pillow reads it."""
    return Image.open(io.BytesIO(file.getvalue()))


class TestFill:
    """A fill."""

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (40, 50, 4)])
    def test_known(self, serve: Serve, suffix: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Known pixels and alpha are the same bit for bit, says another library; so is the ICC."""
        photo = noise(dtype, *shape)
        answer = ask(serve(), (f"a{suffix}", encoded(photo, suffix, icc_profile=PROFILE)))
        assert answer.status_code == 200, answer.text
        if suffix == ".tif":
            filled = tifffile.imread(io.BytesIO(answer.content))
        else:
            filled = cv2.imdecode(np.frombuffer(answer.content, "u1"), cv2.IMREAD_UNCHANGED)
            filled = filled if filled.ndim == 2 else filled[..., [2, 1, 0, 3][: filled.shape[2]]]
        assert filled.dtype == photo.dtype
        assert (filled[KNOWN] == photo[KNOWN]).all()
        assert (filled[~KNOWN] != photo[~KNOWN]).mean() > 0.7
        if shape[-1] == 4:
            assert (filled[..., 3] == photo[..., 3]).all()
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.info["icc_profile"] == PROFILE
        assert answer.headers["Content-Type"] == {".png": "image/png", ".tif": "image/tiff"}[suffix]
        assert re.fullmatch(r"fill;dur=\d+", answer.headers["Server-Timing"])

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_endings(self, serve: Serve, suffix: str) -> None:
        """Any photo is filled, however its ending is spelt: TIFF stays TIFF, others become PNG."""
        file = io.BytesIO()
        Image.fromarray(PHOTO).save(file, Image.registered_extensions()[suffix])
        answer = ask(serve(), (f"a{suffix.upper()}", file.getvalue()))
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.format == ("TIFF" if suffix.startswith(".tif") else "PNG")
            assert answer.headers["Content-Type"] == Image.MIME[image.format]

    def test_as_command(self, serve: Serve, tmp_path: Path) -> None:
        """A turned JPEG becomes the very file that `pconv fill` writes; the mask fits upright."""
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(PHOTO.swapaxes(0, 1)).save("photo.jpg", exif=exif)
        Image.fromarray(KNOWN).save("mask.png")
        job = (tmp_path / "photo.jpg", tmp_path / "mask.png", tmp_path / "filled.png")
        fill_file(job, Inpainter(method="telea"), HoleMarks(), overwrite=False)
        photo, mask = (("a.JPG", job[0].read_bytes()), (f"b.{'x' * 300}", job[1].read_bytes()))
        assert ask(serve(), photo, mask).content == job[2].read_bytes()

    def test_network(self, serve: Serve) -> None:
        """The network fills as `pconv.inpaint` does."""
        torch.manual_seed(0)
        weights = Path("some.safetensors").absolute()
        save_weights(weights, PConvUNet(width=2, levels=3))
        answer = ask(serve(weights=weights), method="pconv")
        filled = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert (filled == inpaint(PHOTO, KNOWN, weights=weights)).all()
        assert_told(ask(serve(weights=weights, device="abacus"), method="pconv"), 422, "'abacus'")
        methods = requests.get(f"{serve(weights=weights)}/methods", timeout=PATIENCE).json()
        assert methods["methods"][0]["missing"] is None

    def test_timing(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is told in milliseconds how long the fill took."""

        def fill(*arguments: Any, **options: Any) -> float:
            time.sleep(0.1)
            return fill_file(*arguments, **options)

        monkeypatch.setattr(server, "fill_file", fill)
        answer = ask(serve())
        told = int(answer.headers["Server-Timing"].removeprefix("fill;dur="))
        assert 100 <= told <= 1000 * answer.elapsed.total_seconds() + 1

    @pytest.mark.parametrize(("mode", "told"), [("RGB", None), ("L", None), ("CMYK", "CMYK")])
    def test_converted(self, serve: Serve, mode: str, told: str | None) -> None:
        """The answer says of which mode a photo was that could not stay as it was."""
        file = io.BytesIO()
        Image.fromarray(PHOTO).convert(mode).save(file, "JPEG")
        assert ask(serve(), ("a.jpg", file.getvalue())).headers.get("Became-RGB") == told

    def test_large_hole(self, serve: Serve) -> None:
        """A hole over most of the photo was painted, so it is meant."""
        known = np.zeros((40, 50), np.uint8)
        known[0] = 255
        assert ask(serve(), mask=("m.png", encoded(known))).status_code == 200


def header_only(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc + b"\0\0\0\1IDAT"


def png(pixels: np.ndarray) -> bytes:
    """Return 8-bit pixels as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class TestRefusals:
    """What can't be filled is told in one sentence; nothing is left behind (see `serve`)."""

    @pytest.mark.parametrize(
        ("change", "status", "words"),
        [
            ({"photo": ("a.png", b"text")}, 422, "a.png: not a readable image"),
            ({"photo": ("a.png", b"")}, 422, "a.png: not a readable image"),
            ({"photo": ("../../a b", b"text")}, 422, "a b: not a readable image"),
            ({"photo": ("a.png", header_only(50, 40))}, 422, "a.png: not a readable image"),
            ({"photo": ("a.png", png(PHOTO)[:-500])}, 422, "a.png: not a readable image"),
            ({"mask": ("m.png", b"text")}, 422, "m.png: not a readable image"),
            ({"mask": ("m.png", png(PHOTO))}, 422, "m.png: a colour image"),
            ({"mask": ("m.png", png(PHOTO[..., 0]))}, 422, "neither 0 nor 255"),
            ({"mask": ("m.png", png(PHOTO[:9, :9, 0] | 255))}, 422, "m.png: 9x9 pixels; wanted"),
            ({"mask": ("m.png", png(PHOTO[..., 0] & 0))}, 422, "no known pixel"),
            ({"method": "talea"}, 422, "did you mean telea"),
            ({"method": "pconv"}, 422, "make repro"),
            ({"method": None}, 400, "no field 'method'"),
            ({"photo": ("a.png", header_only(20_000, 8_000))}, 413, "a.png: 20000x8000 pixels"),
            ({"photo": ("a.png", header_only(60_000, 60_000))}, 413, "a.png: "),
            ({"photo": ("a.png", header_only(70_000, 10))}, 413, "65500 a side"),
            ({"photo": ("a.png", header_only(10, 65_501))}, 413, "65500 a side"),
            ({"mask": ("m.png", header_only(20_000, 8_000))}, 413, "m.png: 20000x8000 pixels"),
        ],
    )
    def test_raises(self, serve: Serve, change: dict[str, Any], status: int, words: str) -> None:
        """Bad photos, masks, methods and sizes."""
        assert_told(ask(serve(), **change), status, words)

    @pytest.mark.parametrize(
        ("options", "status", "words"),
        [
            ({"json": {"photo": 1}}, 415, "wanted a form with files"),
            ({"data": b"x", "headers": {"Content-Type": "image/png"}}, 415, "wanted a form"),
            ({"data": b""}, 415, "wanted a form"),
            ({"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
            (
                {"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
                400,
                "",
            ),
            (
                {"files": {"mask": ("m.png", b"x")}, "data": {"method": "ns"}},
                400,
                "no file 'photo'",
            ),
            ({"files": {"photo": (None, "words")}}, 400, "no file 'photo'"),
            ({"files": {name: (name, b"x") for name in "abc"}}, 400, "Too many files"),
            ({"files": {"photo": ("a.png", b"x")}, "data": {"a": "1", "b": "2"}}, 400, "Too many"),
        ],
    )
    def test_forms(self, serve: Serve, options: dict[str, Any], status: int, words: str) -> None:
        """Bodies of another kind, and damaged ones."""
        assert_told(requests.post(f"{serve()}/fill", timeout=PATIENCE, **options), status, words)

    def test_capitals(self, serve: Serve) -> None:
        """A form is one however its type is spelt."""
        form = {"photo": ("a.png", png(PHOTO))}
        asked = requests.Request("POST", f"{serve()}/view", files=form).prepare()
        kind = asked.headers["Content-Type"]
        asked.headers["Content-Type"] = kind.replace("multipart/form-data", "Multipart/Form-Data")
        with requests.Session() as session:
            assert session.send(asked, timeout=PATIENCE).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/fill"), ("POST", "/"), ("PUT", "/view")]
    )
    def test_methods(self, serve: Serve, method: str, path: str) -> None:
        """Each address has its own kind of request."""
        answer = requests.request(method, serve() + path, timeout=PATIENCE)
        assert_told(answer, 405, "Method Not Allowed")

    def test_failure(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """What nobody foresaw is no sentence about this machine either."""

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("/tmp/secret")

        monkeypatch.setattr(server, "fill_file", fail)
        assert_told(ask(serve()), 500, "something went wrong")


class TestBytes:
    """The limit of an upload."""

    LIMIT = 100_000

    def head(self, url: str, length: str) -> socket.socket:
        """Send the head of a form and return the open connection."""
        host = url.removeprefix("http://")
        connection = socket.create_connection(host.split(":"), timeout=PATIENCE)
        head = f"POST /fill HTTP/1.1\r\nHost: {host}\r\n{length}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        return connection

    def test_announced(self, serve: Serve) -> None:
        """A form that says it is too large is refused before it is sent."""
        url = serve(limits=Limits(bytes=self.LIMIT))
        with self.head(url, f"Content-Length: {self.LIMIT + 1}") as connection:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers["Connection"]) == (413, "close")
            answer.close()

    def test_streamed(self, serve: Serve, temporary: Path) -> None:
        """A form of unknown length is cut off at the limit."""
        url = serve(limits=Limits(bytes=self.LIMIT))
        chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        sent = 0
        with self.head(url, "Transfer-Encoding: chunked") as connection:
            start = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
            connection.sendall(f"{len(start):x}\r\n".encode() + start + b"\r\n")
            with suppress(ConnectionError):
                while sent < 50_000_000:
                    connection.sendall(chunk)
                    sent += len(chunk)
        assert sent < 20_000_000  # the limit, and what lies in the buffers of the connection

    @pytest.mark.parametrize("announced", [True, False])
    def test_enough(self, serve: Serve, announced: bool) -> None:
        """The limit of bytes is kept to the byte, whether the length is told before or not.

        The photo is larger than what comes in one piece.
        """
        photo = png(noise("u1", 700, 1000, 3))
        form = requests.Request("POST", "http://host", files={"photo": ("a.png", photo)})
        sent = form.prepare()
        assert isinstance(sent.body, bytes)
        kind = {"Content-Type": sent.headers["Content-Type"]}
        for size, status in ((len(sent.body), 200), (len(sent.body) - 1, 413)):
            url = serve(limits=Limits(bytes=size))
            body = sent.body if announced else iter([sent.body])
            answer = requests.post(f"{url}/view", data=body, headers=kind, timeout=PATIENCE)
            assert answer.status_code == status, answer.text

    def test_slow(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """A form that does not arrive is waited for only so long, as RFC 9110 has it (15.5.9)."""
        monkeypatch.setattr(uploads, "_SECONDS", 0.5)
        with self.head(serve(), "Content-Length: 9") as connection:
            connection.sendall(b"--b")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers["Connection"]) == (408, "close")
            assert b"took more than 0.5 seconds" in answer.read()
            answer.close()

    def test_longest_side(self, serve: Serve) -> None:
        """A photo with the longest side that a JPEG file can hold is shown."""
        file = {"photo": ("a.png", png(np.zeros((1, 65_500, 3), np.uint8)))}
        answer = requests.post(f"{serve()}/view", files=file, timeout=PATIENCE)
        assert Image.open(io.BytesIO(answer.content)).size == (65_500, 1)

    def test_pixels(self, serve: Serve) -> None:
        """The limit of pixels is kept to the pixel."""
        assert ask(serve(limits=Limits(pixels=2000))).status_code == 200
        assert_told(ask(serve(limits=Limits(pixels=1999))), 413, "wanted at most 1999")


class TestGuard:
    """Requests of other web sites."""

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:{port}",
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example:{port}",
            "[",
            "a@b",
        ],
    )
    def test_host(self, serve: Serve, host: str) -> None:
        """A name that somebody else lets point here (DNS rebinding) is refused."""
        url = serve()
        headers = {"Host": host.format(port=url.rpartition(":")[2])}
        for path in ("/", "/methods", "/page.js"):
            answer = requests.get(url + path, headers=headers, timeout=PATIENCE)
            assert_told(answer, 403, "not answered")
        assert ask(url, headers=headers).status_code == 403

    @pytest.mark.parametrize(
        "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "192.168.0.7", "LocalHost"]
    )
    def test_own_host(self, serve: Serve, host: str) -> None:
        """Addresses and localhost are right."""
        url = serve()
        headers = {"Host": host.format(port=url.rpartition(":")[2])}
        assert requests.get(url, headers=headers, timeout=PATIENCE).status_code == 200

    def test_named_host(self, serve: Serve) -> None:
        """So is the name that was asked for."""
        url = serve(host="Studio.example")
        headers = {"Host": "studio.example:8042"}
        assert requests.get(url, headers=headers, timeout=PATIENCE).status_code == 200

    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "null",
            "https://{host}",
            "http://localhost:1",
            "http://{host}.evil.example",
        ],
    )
    def test_origin(self, serve: Serve, origin: str) -> None:
        """A form that another page sends is refused."""
        url = serve()
        headers = {"Origin": origin.format(host=url.removeprefix("http://"))}
        assert_told(ask(url, headers=headers), 403, "requests from pages of")

    @pytest.mark.parametrize(
        ("path", "headers", "status"),
        [("/", {}, 200), ("/none", {}, 404), ("/", {"Host": "evil.example"}, 403)],
    )
    def test_headers(self, serve: Serve, path: str, headers: dict[str, str], status: int) -> None:
        """No answer, be it a refusal, can be framed or read by a page of another site."""
        answer = requests.get(serve() + path, headers=headers, timeout=PATIENCE)
        assert answer.status_code == status
        policy = answer.headers["Content-Security-Policy"].split("; ")
        # Of these default-src says nothing (CSP 3), or allows the page's own, of which it has none.
        assert {f"{what} 'none'" for what in NONE_OF} <= set(policy)
        assert {name: answer.headers.get(name) for name in KEPT_APART} == KEPT_APART

    def test_lifespan(self, temporary: Path) -> None:
        """What is no request is the application's: ASGI's start and end."""
        coming = iter(["lifespan.startup", "lifespan.shutdown"])
        told: list[str] = []

        async def receive() -> dict[str, str]:
            return {"type": next(coming)}

        async def send(message: Any) -> None:
            told.append(message["type"])

        app = server.make_app(server.Settings(), temporary)
        asyncio.run(app({"type": "lifespan"}, receive, send))
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    def test_own_origin(self, serve: Serve) -> None:
        """The page's own are not, nor those of programs that are no browser."""
        url = serve()
        assert ask(url, headers={"Origin": url}).status_code == 200
        assert ask(url).status_code == 200


class Gate:
    """A function of the server, by default the fill, that waits until it is let through; it counts.

    Attributes:
        inside: How many fill right now.
        most: The largest that ``inside`` was.
        count: How many fills there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str = "fill_file") -> None:
        self.open, self.inside, self.most, self.count = threading.Event(), 0, 0, 0
        self._behind = getattr(server, name)
        monkeypatch.setattr(server, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Go on when the gate is open."""
        self.inside += 1
        self.count += 1
        self.most = max(self.most, self.inside)
        assert self.open.wait(PATIENCE)
        self.inside -= 1
        return self._behind(*arguments, **options)


class TestQueue:
    """Several at once."""

    def test_parallel(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
        """One fills, others wait, more are turned away, and those who waited get theirs."""
        gate = Gate(monkeypatch)
        url = serve(fills_at_once=1, fills_waiting=2)
        photos = [np.roll(PHOTO, shift, axis=0) for shift in range(3)]
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(ask, url, ("a.png", png(photo))) for photo in photos]
            wait_for(lambda: len(list(temporary.glob("*/mask.png"))) == 3, PATIENCE)
            # Before its form is looked at, which is none.
            assert requests.post(f"{url}/fill", data=b"", timeout=PATIENCE).status_code == 503
            refusal = ask(url)
            assert_told(refusal, 503, "too many pictures are waiting")
            assert refusal.headers["Retry-After"] == "5"
            gate.open.set()
            for photo, answer in zip(photos, asked, strict=True):
                filled = np.asarray(Image.open(io.BytesIO(answer.result().content)))
                assert (filled[KNOWN] == photo[KNOWN]).all()
        assert gate.most == 1
        assert ask(url).status_code == 200

    def test_views(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
        """Two photos are opened at once, eight more wait, and others are turned away."""
        gate = Gate(monkeypatch, "_view")
        url = f"{serve()}/view"
        files = {"photo": ("a.png", png(PHOTO))}
        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(requests.post, url, files=files) for _ in range(10)]
            wait_for(lambda: len(list(temporary.glob("*/photo.png"))) == 10, PATIENCE)
            assert_told(requests.post(url, files=files, timeout=PATIENCE), 503, "too many pictures")
            wait_for(lambda: gate.inside == 2, PATIENCE)
            gate.open.set()
            assert {answer.result().status_code for answer in asked} == {200}
        assert gate.most == 2

    def test_open_while_filling(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """A photo can be opened while another is filled."""
        gate = Gate(monkeypatch)
        url = serve()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, url)
            wait_for(lambda: gate.inside == 1, PATIENCE)
            files = {"photo": ("a.png", png(PHOTO))}
            answer = requests.post(f"{url}/view", files=files, timeout=PATIENCE)
            assert answer.status_code == 200
            gate.open.set()
            assert asked.result().status_code == 200

    def test_gone(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
        """Who leaves while waiting costs nothing more."""
        gate = Gate(monkeypatch)
        url = serve()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, url)
            wait_for(lambda: gate.inside == 1, PATIENCE)
            with pytest.raises(requests.ReadTimeout):
                ask(url, patience=(PATIENCE, 0.5))
            gate.open.set()
            assert asked.result().status_code == 200
        wait_for(lambda: not list(temporary.iterdir()), PATIENCE)
        assert gate.count == 1


class TestCommand:
    """`pconv app`."""

    @pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
    def test_process(self, temporary: Path, end: signal.Signals) -> None:
        """It says where the page is, serves it, and ends when asked to with nothing left behind."""
        command = [sys.executable, "-m", "pconv.cli", "app", "--port", "0", "--no-open"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
            try:
                assert run.stdout is not None
                line = run.stdout.readline()
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
                assert url, line
                assert ask(url[0]).status_code == 200
                assert [path.name[:11] for path in temporary.iterdir()] == ["pconv-page-"]
                run.send_signal(end)
                assert run.wait(PATIENCE) == 0
            finally:
                run.kill()
        assert not list(temporary.iterdir())

    def test_raises(self) -> None:
        """A port in use and missing weights are told in one line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = CliRunner().invoke(cli.app, ["app", "--port", port, "--no-open"])
        assert result.exit_code == 2
        assert f"127.0.0.1, port {port}: can't listen there" in result.stderr
        options = ["--weights", "none.safetensors", "--no-open"]
        result = CliRunner().invoke(cli.app, ["app", *options])
        assert result.exit_code == 2
        assert "none.safetensors" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("variable", "options", "words"),
        [("none.safetensors", [], "none.safetensors"), (None, ["--device", "abacus"], "'abacus'")],
    )
    def test_no_network(
        self,
        variable: str | None,
        options: list[str],
        words: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Weights that the environment names, and a device, are tried before the page opens."""
        save_weights("models/pconv/last.safetensors", PConvUNet(width=2, levels=3))
        if variable:
            monkeypatch.setenv("PCONV_WEIGHTS", variable)
        result = CliRunner().invoke(cli.app, ["app", "--no-open", "--port", "0", *options])
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1

    def test_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the optional packages one line says how to install them."""
        monkeypatch.setattr(cli, "find_spec", lambda name: None)
        result = CliRunner().invoke(cli.app, ["app"])
        assert result.exit_code == 2
        assert "pip install 'pconv[app]'" in result.stderr
        assert len(result.stderr.splitlines()) == 1
