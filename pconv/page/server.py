"""What the page asks for: its own files, the methods, a photo to show, and the fill.

Nothing is kept between requests. Fills go through `pconv.fill_files.fill_file`, as those of
`pconv fill` do, so known pixels come back bit for bit. What goes wrong is answered as
``{"error": "one sentence"}`` with a 4xx or 5xx status.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from pconv.errors import WeightsError
from pconv.fill_files import fill_file, result_path
from pconv.hole_marks import HoleMarks
from pconv.images import opened_image
from pconv.inpainting import Inpainter
from pconv.method_names import CLASSICAL, NETWORK
from pconv.page.guard import Guard
from pconv.page.uploads import Form, Limits, read_form
from pconv.photo_files import BECOME_RGB, read_photo, write_photo
from pconv.weights_source import weights_file

_HERE: Final = Path(__file__).parent
# By name, not as a folder: beside them lie this module and others.
_FILES: Final = ("index.html", "page.css", "page.js", "stage.js", "mask.js", "icon.svg")
_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
USE_OF_METHOD: Final = {
    NETWORK: "learned from photos; for large holes",
    "patchmatch": "copies texture from elsewhere",
    "biharmonic": "smooth; slow on large holes",
    "telea": "quick, for scratches and spots",
    "ns": "quick, for scratches and spots",
    "mean": "one flat colour",
}
"""What each method is good for, in the order of the page."""


class Settings(NamedTuple):
    """What the page works with.

    Attributes:
        host: The name or address that it listens on.
        weights: Weights file; none for what `pconv.weights_source.weights_file` finds, whenever
            one is needed.
        device: As for `pconv.inpaint`.
        limits: Of uploads.
        fills_at_once: How many pictures are filled at once.
        fills_waiting: How many more may wait; others are turned away.
    """

    host: str = "127.0.0.1"
    weights: Path | None = None
    device: str | None = None
    limits: Limits = Limits()
    fills_at_once: int = 1
    fills_waiting: int = 4


class Line:
    """Those who are served, and those who wait to be.

    Args:
        at_once: How many are served at once.
        waiting: How many more may wait.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._places = at_once + waiting

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places: to be taken before an upload is read, so these are few too.

        Raises:
            HTTPException: If there is none.
        """
        if self._places == 0:
            words = "too many pictures are waiting already; try again in a moment"
            raise HTTPException(503, words, {"Retry-After": "5"})
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1


class Page:
    """The answers to requests.

    Args:
        settings: What they depend on.
        folder: For temporary files.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._fills = Line(settings.fills_at_once, settings.fills_waiting)
        # A line of their own: photos can be opened while a long fill runs.
        self._views = Line(at_once=2, waiting=8)

    async def methods(self, request: Request) -> Response:
        """Answer with the methods, what one of them lacks, and the limits of uploads."""
        missing, titles = {NETWORK: self._missing_weights()}, {NETWORK: "Network"} | CLASSICAL
        methods = [
            {"name": name, "title": titles[name], "use": use, "missing": missing.get(name)}
            for name, use in USE_OF_METHOD.items()
        ]
        return JSONResponse({"methods": methods, "max_bytes": self._settings.limits.bytes})

    async def view(self, request: Request) -> Response:
        """Answer a ``photo`` with what any browser can show: 8 bits, upright, JPEG or PNG.

        Browsers don't show TIFF and don't agree on which files to turn upright. As one reader
        makes the picture that is painted on and the one that is filled, a mask always fits.
        """
        limits = self._settings.limits
        async with (
            self._views.place(),
            read_form(request, self._folder, limits, files=["photo"]) as form,
            self._views.turn,
        ):
            return await to_thread.run_sync(_view, form.files["photo"])

    async def fill(self, request: Request) -> Response:
        """Answer a ``photo``, a ``mask`` and a ``method`` with the filled photo."""
        limits = self._settings.limits
        files, words = ("photo", "mask"), ("method",)
        async with (
            self._fills.place(),
            read_form(request, self._folder, limits, files=files, words=words) as form,
            self._fills.turn,
        ):
            if await request.is_disconnected():  # it gave up waiting
                raise ClientDisconnect
            # Abandoned only when the server ends; no other request is ever cancelled.
            return await to_thread.run_sync(self._fill, form, abandon_on_cancel=True)

    def _fill(self, form: Form) -> Response:
        started = time.perf_counter()
        photo, mask = form.files["photo"], form.files["mask"]
        inpainter = Inpainter(
            weights=self._settings.weights,
            method=form.words["method"],
            device=self._settings.device,
            allow_large_holes=True,  # the hole was painted onto the photo, so it is meant
        )
        result = result_path(photo, None, into_folder=False)
        fill_file((photo, mask, result), inpainter, HoleMarks(), overwrite=False)
        took_ms = 1000 * (time.perf_counter() - started)
        return _file(result, {"Server-Timing": f"fill;dur={took_ms:.0f}"} | _became_rgb(photo))

    def _missing_weights(self) -> str | None:
        try:
            with weights_file(self._settings.weights):
                return None
        except WeightsError:  # its message is for a command line
            return (
                "its weights are not there: start the page with `pconv app --weights FILE`, or "
                "train some with `make repro`"
            )


def make_app(settings: Settings, folder: Path) -> ASGIApp:
    """Return the page as an ASGI application.

    Args:
        settings: What it works with.
        folder: For temporary files; each is gone when its request is answered.
    """
    page = Page(settings, folder)
    routes = [
        Route("/", _page_file("index.html")),
        *(Route(f"/{name}", _page_file(name)) for name in _FILES),
        Route("/methods", page.methods),
        Route("/view", page.view, methods=["POST"]),
        Route("/fill", page.fill, methods=["POST"]),
    ]
    handlers: dict[Any, ExceptionHandler] = {
        HTTPException: _tell,
        ClientDisconnect: _tell_nobody,
        Exception: _tell_failure,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), settings.host)


def _view(path: Path) -> Response:
    photo = read_photo(path)
    pixels = photo.upright
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    shown = path.with_name("shown.png" if photo.channels in (2, 4) else "shown.jpg")
    write_photo(shown, replace(photo, pixels=pixels, orientation=1, exif=None))
    return _file(shown)


def _became_rgb(path: Path) -> dict[str, str]:
    """Return the header that tells the page of a photo whose known pixels did not stay."""
    with opened_image(path, sys.maxsize) as photo:
        return {"Became-RGB": photo.mode} if photo.mode in BECOME_RGB else {}


def _file(path: Path, headers: dict[str, str] | None = None) -> Response:
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=headers)


def _page_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return _file(_HERE / name)

    return answer


async def _tell(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _tell_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _tell_failure(request: Request, error: Exception) -> Response:
    """Say that there was an error; the server prints it."""
    words = "something went wrong; the terminal in which the page was started says what"
    return JSONResponse({"error": words}, 500)
