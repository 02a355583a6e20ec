"""One function over many items, in any number of processes."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pconv.atomic import atomic_folder
from pconv.errors import DataError, MaskError, ParameterError
from tests.interrupted import PATIENCE_S
from tests.waiting import wait_for
from workflow.parallel import map_items, worker_count


def refuse(item: int, bad: int) -> int:
    """Double an item, but refuse one of them."""
    if item == bad:
        raise MaskError(f"item {item}")
    return 2 * item


def die(item: int) -> int:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), 9)
    return item


def process_of(item: int) -> int:
    """Return the process that this runs in, after long enough for the others to take an item."""
    time.sleep(0.2)
    return os.getpid()


def sleep(item: int, *, folder: Path) -> None:
    """Leave the name of this process, and take longer than any test waits."""
    (folder / str(os.getpid())).touch()
    time.sleep(10 * PATIENCE_S)


def interrupt(item: int) -> int:
    """Get what Ctrl-C sends to workers too."""
    os.kill(os.getpid(), signal.SIGINT)
    return item


def begin(item: int, *, folder: Path) -> None:
    """Begin a folder, and take longer than any test waits."""
    with atomic_folder(folder / str(item)) as partial:
        sleep(item, folder=partial)


def is_running(process: Path) -> bool:
    """Return whether a process, by its folder in /proc, still runs: a zombie does not."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes for however few items, and hand them over in batches of a few."""
    monkeypatch.setattr("workflow.parallel._ITEMS_WORTH_A_PROCESS", 1)
    monkeypatch.setattr("workflow.parallel._BATCH", 30)
    monkeypatch.setattr("workflow.parallel._CHUNK", 4)
    monkeypatch.setenv("PCONV_WORKERS", "2")


class TestMapItems:
    """The contracts of ``map_items``."""

    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_values(self, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The results come in the order of the items, whatever the worker count."""
        monkeypatch.setenv("PCONV_WORKERS", str(workers))
        found = list(map_items(partial(refuse, bad=-1), range(100), what="numbers"))
        assert found == list(range(0, 200, 2))

    def test_none(self) -> None:
        """No items are no results."""
        assert list(map_items(abs, [], what="numbers")) == []

    def test_errors(self) -> None:
        """An error of one item is the caller's error, with its own type and words."""
        with pytest.raises(MaskError, match="item 37"):
            list(map_items(partial(refuse, bad=37), range(100), what="numbers"))

    def test_killed(self) -> None:
        """A killed worker is an error that says what to do."""
        with pytest.raises(DataError, match=r"numbers: .* was killed.*PCONV_WORKERS"):
            list(map_items(die, range(4), what="numbers"))

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_long(self, workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Long items go to the processes one by one, few as they are."""
        monkeypatch.setattr("workflow.parallel._ITEMS_WORTH_A_PROCESS", 500)
        monkeypatch.setenv("PCONV_WORKERS", workers)
        found = set(map_items(process_of, range(4), what="numbers", long=True))
        assert (os.getpid() in found) == (workers == "1")

    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    def test_parent_killed(self, tmp_path: Path) -> None:
        """When only the parent is killed, its workers do not outlive it."""
        code = (
            "from functools import partial\n"
            "from pathlib import Path\n"
            "from tests.workflow.test_parallel import sleep\n"
            "from workflow.parallel import map_items\n"
            f"make = partial(sleep, folder=Path({str(tmp_path)!r}))\n"
            "list(map_items(make, range(4), what='sleep', long=True))"
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        try:
            wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        finally:
            process.kill()
            process.wait()
        workers = [Path("/proc") / path.name for path in tmp_path.iterdir()]
        wait_for(lambda: not any(is_running(worker) for worker in workers))

    def test_worker_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C is the parent's: a worker goes on until that one ends it, which it does once."""
        monkeypatch.setenv("PCONV_WORKERS", "2")
        try:
            done = list(map_items(interrupt, range(4), what="interrupt", long=True))
        except KeyboardInterrupt:  # pytest would take it for its own
            done = []
        assert done == [0, 1, 2, 3]

    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_parent_told_to_end(self, tmp_path: Path, number: int, workers: int) -> None:
        """Told to end, a command ends its workers too, and all of them leave nothing half done."""
        code = (
            "import signal\n"
            "from functools import partial\n"
            "from pathlib import Path\n"
            "from tests.workflow.test_parallel import begin\n"
            "from workflow.command import run_command\n"
            "from workflow.parallel import map_items\n"
            # What a shell starts in the background inherits that SIGINT is ignored.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"make = partial(begin, folder=Path({str(tmp_path)!r}))\n"
            "run_command(lambda: list(map_items(make, range(9), what='sleep', long=True)))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PCONV_WORKERS": str(workers)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: len(list(tmp_path.glob(".*/*"))) == workers)
            processes = [Path("/proc") / path.name for path in tmp_path.glob(".*/*")]
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 128 + number
        assert list(tmp_path.iterdir()) == []
        assert not any(is_running(worker) for worker in processes)
        assert "Traceback" not in said
        assert "leaked" not in said


class TestWorkerCount:
    """How many processes."""

    def test_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At most one a task, at least one, and as many as asked for."""
        monkeypatch.setenv("PCONV_WORKERS", "3")
        assert [worker_count(n) for n in (0, 1, 2, 9)] == [1, 1, 2, 3]

    @pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
    def test_raises(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Other values are refused by name."""
        monkeypatch.setenv("PCONV_WORKERS", text)
        with pytest.raises(ParameterError, match="PCONV_WORKERS"):
            worker_count(2)
