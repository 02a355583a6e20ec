"""A transfer that breaks off goes on where it stopped, from a server of our own."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pconv.errors import ArchiveError, DataError
from workflow.sources.transfer import Patience, fetch, is_url, name_in

CONTENT = np.random.default_rng(0).bytes(700_000)
PATIENCE = Patience(retries=3, pause_s=0.001, timeout_s=5)


@dataclass
class Behaviour:
    """How the server answers, and what it was asked for."""

    content: bytes = CONTENT
    version: str = '"v1"'
    ranges: bool = True
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)  # stop after so many bytes, one an answer
    statuses: list[int] = field(default_factory=list)  # answer with these first
    asked: list[str] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)  # go on so much too late, one an answer

    def part(self, header: str, if_range: str) -> tuple[int, int]:
        """Status and first byte of the answer to a ``Range`` header."""
        match = re.fullmatch(r"bytes=(\d+)-", header)
        if not (match and self.ranges and if_range == self.version):
            return 200, 0
        start = int(match[1])
        return (206, start) if start < len(self.content) else (416, len(self.content))


@contextmanager
def served(behaviour: Behaviour) -> Iterator[str]:
    """Run a server on this machine and yield the address of its file."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            behaviour.asked.append(asked)
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            status, start = behaviour.part(asked, self.headers.get("If-Range", ""))
            if status == 206 and behaviour.shifts:
                start += behaviour.shifts.pop(0)
            rest = behaviour.content[start:]
            self.send_response(status)
            if behaviour.says_length:
                self.send_header("Content-Length", str(len(rest)))
            if behaviour.version:
                self.send_header("ETag", behaviour.version)
            if status == 206:
                last = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {start}-{last - 1}/{last}")
            self.end_headers()
            self.wfile.write(rest[: behaviour.cuts.pop(0)] if behaviour.cuts else rest)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/files/train_img.zip"
        finally:
            server.shutdown()
            thread.join()


def whole(folder: Path) -> bool:
    """Tell whether the file is there as it should be, and nothing of the way to it."""
    names = [path.name for path in folder.iterdir()]
    found = hashlib.sha256((folder / "train_img.zip").read_bytes()).digest()
    return names == ["train_img.zip"] and found == hashlib.sha256(CONTENT).digest()


class TestFetch:
    """The contracts of ``fetch``."""

    def test_values(self, tmp_path: Path) -> None:
        """The file arrives whole, in a folder made for it."""
        behaviour = Behaviour()
        with served(behaviour) as url:
            fetch(url, tmp_path / "downloads" / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path / "downloads")
        assert behaviour.asked == [""]

    def test_resume(self, tmp_path: Path) -> None:
        """After each break only what is missing is asked for, however many breaks there are."""
        behaviour = Behaviour(cuts=[100_000, 50_000, 1, 200_000, 7])
        with served(behaviour) as url:
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)
        starts = [0, 100_000, 150_000, 150_001, 350_001, 350_008]
        assert behaviour.asked == [f"bytes={start}-" if start else "" for start in starts]

    def test_resume_in_a_later_run(self, tmp_path: Path) -> None:
        """What arrived before the program ended is not fetched again."""
        behaviour = Behaviour(cuts=[300_000])
        with served(behaviour) as url:
            with pytest.raises(DataError, match="gave up after failure 1"):
                fetch(url, tmp_path / "train_img.zip", Patience(0, 0.001, 5), 10**6)
            assert not (tmp_path / "train_img.zip").exists()
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)
        assert behaviour.asked == ["", "bytes=300000-"]

    def test_another_version(self, tmp_path: Path) -> None:
        """Two versions of a file are never mixed: a new one is fetched from its start."""
        behaviour = Behaviour(content=b"old" * 100_000, version='"v0"', cuts=[200_000])
        with served(behaviour) as url:
            with pytest.raises(DataError):
                fetch(url, tmp_path / "train_img.zip", Patience(0, 0.001, 5), 10**6)
            behaviour.content, behaviour.version = CONTENT, '"v1"'
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)

    def test_another_place(self, tmp_path: Path) -> None:
        """A server that goes on elsewhere than asked for leaves no hole in the file."""
        with served(Behaviour(cuts=[200_000], shifts=[10])) as url:
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)

    def test_weak_version(self, tmp_path: Path) -> None:
        """A weak version names no bytes, so nothing is gone on with by it."""
        behaviour = Behaviour(version='W/"v1"', cuts=[200_000])
        with served(behaviour) as url:
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)
        assert behaviour.asked == ["", ""]

    @pytest.mark.parametrize("behaviour", [Behaviour(ranges=False), Behaviour(version="")])
    def test_no_ranges(self, tmp_path: Path, behaviour: Behaviour) -> None:
        """A server that can't resume, or doesn't say which version it has, starts again."""
        behaviour.cuts, behaviour.asked = [300_000, 400_000], []
        with served(behaviour) as url:
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)

    def test_busy(self, tmp_path: Path) -> None:
        """A busy server is asked again."""
        behaviour = Behaviour(statuses=[503, 429, 500])
        with served(behaviour) as url:
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert whole(tmp_path)
        assert len(behaviour.asked) == 4

    def test_not_there(self, tmp_path: Path) -> None:
        """A server that says there is no such file is not asked again."""
        behaviour = Behaviour(statuses=[404])
        with served(behaviour) as url, pytest.raises(DataError, match="answered 404"):
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)
        assert len(behaviour.asked) == 1

    def test_nobody_answers(self, tmp_path: Path) -> None:
        """Where no server is, it gives up after the retries and says so."""
        with served(Behaviour()) as url:
            pass
        with pytest.raises(DataError, match="gave up after failure 4"):
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 10**6)

    def test_too_long(self, tmp_path: Path) -> None:
        """A file over the limit is refused by what it declares, before it is fetched."""
        with served(Behaviour()) as url, pytest.raises(ArchiveError, match="at most 699999"):
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 699_999)
        assert list(tmp_path.iterdir()) == []

    def test_endless(self, tmp_path: Path) -> None:
        """Nor is one that does not say how long it is; the next run does not go on from it."""
        server = Behaviour(says_length=False)
        with served(server) as url, pytest.raises(ArchiveError, match="goes on after the 300000"):
            fetch(url, tmp_path / "train_img.zip", PATIENCE, 300_000)
        assert not list(tmp_path.iterdir())


class TestNames:
    """The contracts of ``is_url`` and ``name_in``."""

    def test_is_url(self) -> None:
        """Addresses of the web are addresses, everything else is a path."""
        assert is_url("HTTPS://example.org/a.zip")
        assert not is_url("downloads/train_img.zip")
        assert not is_url("file:///etc/passwd")

    def test_values(self) -> None:
        """The name is decoded, and the query does not belong to it."""
        url = "https://example.org/x/new_valid_img%201.zip?download=1"
        assert name_in(url) == "new_valid_img 1.zip"

    @pytest.mark.parametrize("end", ["", "..", "a%2f..", "%00"])
    def test_raises(self, end: str) -> None:
        """An address that names no file is refused."""
        with pytest.raises(DataError, match="names no file"):
            name_in(f"https://example.org/{end}")
