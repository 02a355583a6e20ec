"""The network behind `mlflow models serve`, asked for what it should not give."""

import base64
import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests

from tests.hostile import pictures
from tests.hostile.conftest import Note
from tests.hostile.record import is_long
from tests.listening import listening
from tests.model_server import PATIENCE_S, Served, base64_png, model_server

AREA = "The model server (`mlflow models serve`)"
MIB = 1 << 20
HUGE_MIB = 200 if is_long() else 20
AT_ONCE = 100
GROWTH_FACTOR = 12  # the body, its text, its row and MLflow's copies of it; measured: 6 to 8
BODIES = {
    "text/plain": b"fill this",
    "image/jpeg": pictures.encoded(pictures.smooth(), "JPEG"),
    "application/json": b'{"dataframe_records": [',
    "application/json; charset=utf-8": b"[]",
    "text/csv": b"image,mask\nx",
    "application/x-www-form-urlencoded": b"image=x&mask=y",
    "multipart/form-data; boundary=x": b"--x--",
    "application/octet-stream": bytes(range(256)) * 9,
}
PATHS = ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning"),  # MLflow's and SQLAlchemy's own
]


def good_row(seed: int = 0) -> dict[str, str]:
    """Return a row that can be filled."""
    mask = pictures.known().astype(np.uint8) * 255
    return {"image": base64_png(pictures.smooth(seed=seed)), "mask": base64_png(mask)}


def processes(served: Served) -> list[psutil.Process]:
    """Return the server's processes."""
    leader = psutil.Process(served.process.pid)
    return [leader, *leader.children(recursive=True)]


def memory_mib(served: Served) -> float:
    """Return the resident memory of all of them."""
    return sum(process.memory_info().rss for process in processes(served)) / MIB


def test_model_server(tmp_path: Path, note: Note) -> None:
    """Nothing but a row that can be filled is answered with anything but a refusal."""
    with model_server(tmp_path) as served:
        for kind, body in BODIES.items():
            answer = requests.post(
                f"{served.url}/invocations",
                data=body,
                headers={"Content-Type": kind},
                timeout=PATIENCE_S,
            )
            assert 400 <= answer.status_code < 500, (kind, answer.status_code, answer.text)
        note(AREA, "bodies of wrong kinds", "refused, status 4xx", times=len(BODIES))

        for path in PATHS:  # a client library would tidy the path up
            connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 404
            assert b"root:" not in answer.read()
            connection.close()
        note(AREA, "paths that lead out of its folder", "status 404", times=len(PATHS))

        bomb = base64.b64encode(pictures.bomb(60_000, 60_000)).decode()
        answer = served.fill(good_row() | {"image": bomb})
        assert answer.status_code == 400, answer.text
        note(AREA, "a decompression bomb", "refused, status 400")

        before = memory_mib(served)
        answer = served.fill(good_row() | {"image": "A" * (HUGE_MIB * MIB)})
        assert answer.status_code == 400, answer.text[:200]
        growth = memory_mib(served) - before
        assert growth < GROWTH_FACTOR * HUGE_MIB
        kept = f"refused, status 400; {growth:.0f} MiB more held after it"
        note(AREA, f"a row of {HUGE_MIB} MiB", kept)

        rows = [good_row(number) for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as users:
            answers = list(users.map(served.fill, rows))
        assert [answer.status_code for answer in answers] == [200] * AT_ONCE
        assert len({answer.json()["predictions"][0]["image"] for answer in answers}) == AT_ONCE
        note(AREA, "requests at once", "all filled, none mixed up", times=AT_ONCE)

        found = listening(psutil.Process(served.process.pid))
        assert {address for _, address in found} == {"127.0.0.1"}
        note(AREA, "the addresses that it listens on", "loopback alone")
