"""Reads forms with pictures, up to limits: of bytes as they arrive, of pixels by their headers."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL.Image import DecompressionBombError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from pconv.errors import ImageError, PConvError
from pconv.images import MAX_PIXELS, opened_image
from pconv.photo_files import SUFFIXES

_SECONDS = 300
# Without it the server would go on reading what nobody wants.
_CLOSE = {"Connection": "close"}
_MAX_SIDE = 65_500  # what a JPEG file can hold, and more than browsers show


class Limits(NamedTuple):
    """Of uploads.

    Attributes:
        bytes: Of a request.
        pixels: Of a picture.
    """

    bytes: int = 400_000_000
    pixels: int = MAX_PIXELS


class Form(NamedTuple):
    """What was sent.

    Attributes:
        files: Where the files lie, by field, with the endings they had at the sender's.
        words: The other fields.
    """

    files: dict[str, Path]
    words: dict[str, str]


@asynccontextmanager
async def read_form(
    request: Request,
    folder: Path,
    limits: Limits,
    *,
    files: Collection[str],
    words: Collection[str] = (),
) -> AsyncIterator[Form]:
    """Keep a form's files in a temporary folder for as long as the context lasts.

    Args:
        request: The request.
        folder: Where the temporary folder is made.
        limits: What is too much.
        files: The fields that must be pictures.
        words: The fields that must be words.

    Raises:
        HTTPException: If the form is of another kind, too large, or too slow to arrive; and for a
            `PConvError` in the context, which then names files as the sender does.
    """
    form = await _received(request, limits.bytes, len(files), len(words))
    with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name:
        try:
            uploads = {field: _upload(form, field) for field in files}
            saved = {field: Path(name, field + _ending(file)) for field, file in uploads.items()}
            for field, file in uploads.items():
                await run_in_threadpool(_save, file, saved[field])
                _check_size(saved[field], file.filename, limits.pixels)
            yield Form(saved, {field: _word(form, field) for field in words})
        except PConvError as error:
            message = str(error)
            for field, file in uploads.items():
                message = message.replace(str(saved[field]), file.filename or field)
            raise HTTPException(422, message) from error
        finally:
            await form.close()


def _check_size(path: Path, shown_name: str | None, max_pixels: int) -> None:
    """Refuse a picture that is too large by its header, before it is decoded."""
    try:
        with opened_image(path, sys.maxsize) as image:
            width, height = image.size
    except ImageError as error:
        if isinstance(error.__cause__, DecompressionBombError):  # Pillow has a limit of its own
            raise HTTPException(413, f"{shown_name}: {error.__cause__}") from error
        raise
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise HTTPException(
            413,
            f"{shown_name}: {width}x{height} pixels; wanted at most {max_pixels} in all and "
            f"{_MAX_SIDE} a side",
        )


async def _received(request: Request, max_bytes: int, files: int, words: int) -> FormData:
    """Read a form, and stop reading as soon as it is too large."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "wanted a form with files (multipart/form-data)")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > max_bytes:
            raise _too_large(max_bytes)
        return message

    try:
        async with asyncio.timeout(_SECONDS):
            return await Request({**request.scope}, receive).form(max_files=files, max_fields=words)
    except TimeoutError:
        reason = f"the upload took more than {_SECONDS} seconds"
        raise HTTPException(408, reason, _CLOSE) from None


def _too_large(max_bytes: int) -> HTTPException:
    words = f"more than {max_bytes} bytes; make the photo smaller"
    return HTTPException(413, words, _CLOSE)


def _upload(form: FormData, field: str) -> UploadFile:
    upload = form.get(field)
    if not isinstance(upload, UploadFile):
        raise HTTPException(400, f"the form has no file {field!r}")
    return upload


def _ending(file: UploadFile) -> str:
    """Return the ending of the sender's file name, the only part of it that is used."""
    ending = Path(file.filename or "").suffix.lower()
    return ending if ending in SUFFIXES else ".png"


def _save(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def _word(form: FormData, field: str) -> str:
    word = form.get(field)
    if not isinstance(word, str):
        raise HTTPException(400, f"the form has no field {field!r}")
    return word
