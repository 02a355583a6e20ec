"""The page (`pconv app`) as a process of its own, asked for what it should not give."""

import http.client
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from tests.hostile import pictures
from tests.hostile.conftest import Note
from tests.hostile.record import is_long
from tests.hostile.running_page import RunningPage, running_page
from tests.hostile.test_model_server import BODIES, PATHS
from tests.listening import listening

AREA = "The page (`pconv app`)"
MIB = 1 << 20
HUGE_MIB = 2000 if is_long() else 500  # the page takes 400 MB
GROWTH_MIB = 100
AT_ONCE = 100
PATIENCE_S = 300
OWN_FILES = ["/server.py", "/../server.py", "//etc/passwd", "/page.js%00.html", "/..\\server.py"]

pytestmark = pytest.mark.slow


def refused(answer: requests.Response) -> bool:
    """Return whether an answer is a refusal in one sentence that tells nothing of this machine."""
    said = answer.json()["error"]
    is_sentence = "\n" not in said and "/tmp" not in said and "Traceback" not in said
    return 400 <= answer.status_code < 500 and is_sentence


def memory_mib(page: RunningPage) -> float:
    """Return the resident memory of the server."""
    return psutil.Process(page.process.pid).memory_info().rss / MIB


def fill(page: RunningPage, photo: bytes, mask: bytes) -> requests.Response:
    """Ask for a fill, again and again while the page says that it is busy."""
    files = {"photo": ("photo.png", photo), "mask": ("mask.png", mask)}
    words = {"method": "telea"}
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = requests.post(f"{page.url}/fill", files=files, data=words, timeout=PATIENCE_S)
        if answer.status_code != 503 or time.monotonic() > until:
            return answer
        time.sleep(0.2)


def endless_form(mib: int) -> Iterator[bytes]:
    """Yield a form with a photograph of so many MiB."""
    yield b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    for _ in range(mib):
        yield bytes(MIB)


def test_page(tmp_path: Path, note: Note) -> None:
    """Nothing but its own files and fills is given, memory stays, and no file is left behind."""
    mask = pictures.encoded(Image.fromarray(pictures.known()), "PNG")
    with running_page(tmp_path) as page:
        for kind, body in BODIES.items():
            headers = {"Content-Type": kind}
            answer = requests.post(
                f"{page.url}/fill", data=body, headers=headers, timeout=PATIENCE_S
            )
            assert refused(answer), (kind, answer.text)
        note(AREA, "bodies of wrong kinds", "refused, status 4xx", times=len(BODIES))

        for path in PATHS + OWN_FILES:  # a client library would tidy the path up
            connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=PATIENCE_S)
            connection.request("GET", path)
            assert connection.getresponse().status == 404
            connection.close()
        note(AREA, "paths that lead elsewhere", "status 404", times=len(PATHS + OWN_FILES))

        unreadable = pictures.unreadable()
        for content in unreadable.values():
            assert refused(fill(page, content, mask))
        note(AREA, "no photograph or a bomb", "refused, status 4xx", times=len(unreadable))

        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            answer = requests.post(f"{page.url}/fill", headers=headers, timeout=PATIENCE_S)
            assert answer.status_code == 403, answer.text
        note(AREA, "requests that another site's page sends", "status 403", times=2)

        before = memory_mib(page)
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with suppress(requests.ConnectionError):  # cut off while it is sent
            answer = requests.post(
                f"{page.url}/fill",
                data=endless_form(HUGE_MIB),
                headers=headers,
                timeout=PATIENCE_S,
            )
            assert answer.status_code == 413, answer.text
        growth = memory_mib(page) - before
        assert growth < GROWTH_MIB
        note(AREA, f"an upload of {HUGE_MIB} MiB", f"cut off; {growth:.0f} MiB more held after it")

        photos = [pictures.smooth(seed=number) for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as users:
            files = [pictures.encoded(photo, "PNG") for photo in photos]
            answers = list(users.map(lambda file: fill(page, file, mask), files))
        for photo, answer in zip(photos, answers, strict=True):
            assert answer.status_code == 200, answer.text
            filled = np.asarray(Image.open(io.BytesIO(answer.content)))
            assert (filled[pictures.known()] == photo[pictures.known()]).all()
        growth = memory_mib(page) - before
        assert growth < GROWTH_MIB
        note(AREA, "requests at once", "all filled, none mixed up", times=AT_ONCE)

        found = listening(psutil.Process(page.process.pid))
        assert {address for _, address in found} == {"127.0.0.1"}
        note(AREA, "the addresses that it listens on", "loopback alone")
    assert not list(page.temporary.iterdir())
    assert list(tmp_path.iterdir()) == [page.temporary]
