"""Fetch a large file by HTTP: resumed where it broke off, retried with growing pauses."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from pconv.atomic import atomic_file
from pconv.errors import ArchiveError, DataError
from workflow.sources.names import flaw_in_name

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _BrokenOffError(Exception):
    """The server is busy or stopped in the middle: worth another attempt."""


@dataclass(frozen=True)
class Patience:
    """How long a transfer goes on trying.

    Attributes:
        retries: Attempts after the first; one that got on does not count.
        pause_s: Pause before the first retry; each further pause is twice as long.
        timeout_s: How long a server may be silent.
    """

    retries: int
    pause_s: float
    timeout_s: float


def is_url(entry: str) -> bool:
    """Tell an HTTP address from a local path."""
    return entry.lower().startswith(("http://", "https://"))


def name_in(url: str) -> str:
    """Return the file name an address ends in, decoded.

    Raises:
        DataError: If it ends in none that a file here may have.
    """
    name = unquote(urlsplit(url).path).replace("\\", "/").rpartition("/")[2]
    if flaw := flaw_in_name(name):
        raise DataError(f"{url}: names no file ({flaw}); wanted an address such as …/train_img.zip")
    return name


def fetch(url: str, target: Path, patience: Patience, max_bytes: int) -> None:
    """Fetch ``url`` to ``target``; ``target.part`` keeps what arrived when it breaks off.

    Args:
        url: An ``http`` or ``https`` address.
        target: Where the whole file shall be; its folder is created.
        patience: When to give up.
        max_bytes: Refuse a longer file.

    Raises:
        DataError: If the server does not answer, or answers that there is no such file.
        ArchiveError: If the file is longer than ``max_bytes``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(url, target)
    failures = 0
    while True:
        before = part.size()
        try:
            _transfer(part, patience.timeout_s, max_bytes)
            break
        except (_BrokenOffError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures = 1 if part.size() > before else failures + 1
            if failures > patience.retries:
                raise DataError(f"{url}: gave up after failure {failures} ({error})") from error
            log.warning("%s: %s; trying again", url, error)
            time.sleep(patience.pause_s * 2 ** (failures - 1))
    part.finish()


class _Part:
    """What has arrived of a file, and a note of which version of which address it belongs to."""

    def __init__(self, url: str, target: Path) -> None:
        self.url = url
        self.file = target.with_name(f"{target.name}.part")
        self._target = target
        self._note = target.with_name(f"{target.name}.part.from")

    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    def version(self) -> str | None:
        """Return the version (ETag or date) of what has arrived, if it can be continued."""
        if not (self.file.is_file() and self._note.is_file()):
            return None
        url, _, version = self._note.read_text(encoding="utf-8").partition("\n")
        return version if url == self.url and version else None

    def begin(self, version: str) -> None:
        """Forget what has arrived, and note which version is now to come."""
        self.file.unlink(missing_ok=True)
        with atomic_file(self._note) as partial:
            partial.write_text(f"{self.url}\n{version}", encoding="utf-8")

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        self.file.replace(self._target)
        self._note.unlink(missing_ok=True)


def _transfer(part: _Part, timeout_s: float, max_bytes: int) -> None:
    headers = {"Accept-Encoding": "identity"}
    if version := part.version():
        headers |= {"Range": f"bytes={part.size()}-", "If-Range": version}
    with requests.get(part.url, headers=headers, stream=True, timeout=timeout_s) as response:
        start = _start(part, response)
        declared = response.headers.get("Content-Length", "")
        length = int(declared) if declared.isdecimal() else 0
        if start + length > max_bytes:
            part.forget()
            raise ArchiveError(f"{part.url}: {start + length} bytes; at most {max_bytes} allowed")
        with (
            part.file.open("ab") as file,
            tqdm(
                total=start + length if length else None,
                initial=start,
                desc=part.file.stem,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            # The raw stream: a .tar.gz that is served as "encoded by gzip" shall stay one.
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > max_bytes:
                    part.forget()
                    raise ArchiveError(f"{part.url}: goes on after the {max_bytes} bytes allowed")
    if length and part.size() != start + length:
        raise _BrokenOffError(f"{part.size()} of {start + length} bytes arrived")


def _start(part: _Part, response: requests.Response) -> int:
    """Look at the answer's head and return the byte from which the content goes on."""
    if response.status_code in _WORTH_A_RETRY:
        raise _BrokenOffError(f"the server answered {response.status_code} {response.reason}")
    if response.status_code == _RANGE_NOT_SATISFIABLE:
        part.forget()
        raise _BrokenOffError("the server has no more than what has arrived; starting afresh")
    if not response.ok:
        raise DataError(f"{part.url}: the server answered {response.status_code} {response.reason}")
    size = part.size()
    if response.status_code == _PARTIAL_CONTENT:
        found = response.headers.get("Content-Range", "")
        if found.startswith(f"bytes {size}-"):
            return size
        part.forget()
        raise _BrokenOffError(f"the server went on at {found!r}, not at {size}; starting afresh")
    headers = response.headers
    etag = headers.get("ETag", "")
    # A weak ETag may not be used to resume; without any version two files could be mixed.
    part.begin(headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag)
    return 0
