"""Files and folders appear whole or not at all."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pconv.atomic import atomic_file, atomic_folder, remove_leftovers

DEAD_PID = 2**22 + 1  # above the largest process number Linux gives out
THIS_HOST = os.uname().nodename


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


class TestAtomicFile:
    """The contracts of ``atomic_file``."""

    @pytest.mark.parametrize("durable", [False, True])
    def test_values(self, tmp_path: Path, durable: bool) -> None:
        """What was written stands under the final name, in a folder made for it, and alone."""
        path = tmp_path / "deep" / "file.txt"
        with atomic_file(path, durable=durable) as partial:
            partial.write_text("whole")
            assert not path.exists()
            assert partial.parent == path.parent
        assert path.read_text() == "whole"
        assert names(path.parent) == ["file.txt"]

    def test_failure_leaves_the_old_file(self, tmp_path: Path) -> None:
        """An error while writing leaves what was there before and nothing else."""
        path = tmp_path / "file.txt"
        path.write_text("old")
        with pytest.raises(UnicodeEncodeError), atomic_file(path) as partial:
            partial.write_text("half of the n\ud800", encoding="utf-8")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file.txt"]

    def test_interrupted(self, tmp_path: Path) -> None:
        """Nor does Ctrl-C leave half a file."""

        def write_half(partial: Path) -> None:
            partial.write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "file.txt") as partial:
            write_half(partial)
        assert names(tmp_path) == []

    def test_nothing_written(self, tmp_path: Path) -> None:
        """A block that writes nothing is an error, not an empty file."""
        with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "file.txt"):
            pass
        assert names(tmp_path) == []

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
    def test_mode(self, tmp_path: Path, mode: int) -> None:
        """A file that is replaced keeps its mode, so what only its owner could read stays so."""
        path = tmp_path / "file.txt"
        path.touch()
        path.chmod(mode)
        with atomic_file(path) as partial:
            partial.write_text("whole")
        assert path.read_text() == "whole"
        assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_error_names_target(self, tmp_path: Path) -> None:
        """An error of the disk names the file that was wanted, not the temporary one."""
        path, folder = tmp_path / "file.txt", tmp_path / "folder"
        folder.mkdir()
        # As of a read-only folder, into which root may write all the same.
        with pytest.raises(PermissionError) as caught, atomic_file(path) as partial:
            raise PermissionError(errno.EACCES, "Permission denied", str(partial))
        assert str(caught.value).endswith(f": {str(path)!r}")
        with pytest.raises(IsADirectoryError) as failed, atomic_file(folder) as partial:
            partial.touch()
        assert str(failed.value).endswith(f": {str(folder)!r}")

    def test_error_without_number(self, tmp_path: Path) -> None:
        """An error that is not the disk's, as an encoder's, keeps its words."""
        with pytest.raises(OSError, match=r"^encoder error -2$"), atomic_file(tmp_path / "a.png"):
            raise OSError("encoder error -2")

    def test_long_name(self, tmp_path: Path) -> None:
        """A name as long as the file system takes is written, and so is one that is not UTF-8."""
        for name in ("é" * 125 + ".png", os.fsdecode(b"a\xe9.png")):
            with atomic_file(tmp_path / name) as partial:
                partial.write_text("whole")
            assert (tmp_path / name).read_text() == "whole"


class TestAtomicFolder:
    """The contracts of ``atomic_folder``."""

    def test_values(self, tmp_path: Path) -> None:
        """The new folder takes the place of the old one, of which nothing is left."""
        path = tmp_path / "out"
        path.mkdir()
        (path / "stale.txt").write_text("old")
        with atomic_folder(path) as partial:
            (partial / "fresh.txt").write_text("new")
            assert names(path) == ["stale.txt"]
        assert names(path) == ["fresh.txt"]
        assert names(tmp_path) == ["out"]

    def test_failure_leaves_the_old_folder(self, tmp_path: Path) -> None:
        """An error while filling leaves what was there before and nothing else."""
        path = tmp_path / "out"
        path.mkdir()
        with pytest.raises(UnicodeEncodeError), atomic_folder(path) as partial:
            (partial / "fresh.txt").write_text("new\ud800", encoding="utf-8")
        assert names(tmp_path) == ["out"]
        assert names(path) == []

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        """A file where the folder should be is an error and survives."""
        path = tmp_path / "out"
        path.write_text("a file")
        with pytest.raises(NotADirectoryError), atomic_folder(path):
            pass
        assert path.read_text() == "a file"

    def test_killed(self, tmp_path: Path) -> None:
        """After ``kill -9`` nothing looks finished, and a rerun removes what was left."""
        path = tmp_path / "out"
        script = textwrap.dedent(f"""
            import time
            from pathlib import Path
            from pconv.atomic import atomic_folder
            with atomic_folder(Path({str(path)!r})) as partial:
                (partial / "half.txt").write_text("half")
                print("ready", flush=True)
                time.sleep(60)
        """)
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGKILL)
        assert not path.exists()
        assert len(names(tmp_path)) == 1
        with atomic_folder(path) as partial:
            (partial / "whole.txt").write_text("whole")
        assert names(tmp_path) == ["out"]
        assert names(path) == ["whole.txt"]

    def test_at_once(self, tmp_path: Path) -> None:
        """Many that finish at once leave one whole folder and no other."""
        path = tmp_path / "out"

        def make(number: int) -> None:
            with atomic_folder(path) as partial:
                (partial / "first").write_text(str(number))
                (partial / "second").write_text(str(number))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make, range(40)))
        assert names(tmp_path) == ["out"]
        assert (path / "first").read_text() == (path / "second").read_text()


class TestReplacedFolder:
    """A folder that `atomic_folder` puts in the place of another."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A folder with content."""
        path = tmp_path / "folder"
        path.mkdir()
        (path / "old.txt").write_text("old")
        return path

    def replace(self, path: Path) -> None:
        """Replace it."""
        with atomic_folder(path) as partial:
            (partial / "new.txt").write_text("new")

    def test_removed_last(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the one before is removed, which takes long, the new one is there already."""
        there: list[list[str]] = []
        remove = shutil.rmtree

        def spy(folder: Path, ignore_errors: bool) -> None:
            there.append(names(path))
            remove(folder, ignore_errors=ignore_errors)

        monkeypatch.setattr("pconv.atomic.shutil.rmtree", spy)
        self.replace(path)
        assert set(map(tuple, there)) == {("new.txt",)}

    def test_interrupted_removal(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signal while the one before is removed leaves nothing of it."""
        remove, calls = shutil.rmtree, []

        def interrupted(folder: Path, ignore_errors: bool) -> None:
            calls.append(folder)
            if len(calls) == 1:
                raise SystemExit(128 + signal.SIGTERM)
            remove(folder, ignore_errors=ignore_errors)

        monkeypatch.setattr("pconv.atomic.shutil.rmtree", interrupted)
        with pytest.raises(SystemExit):
            self.replace(path)
        assert names(path.parent) == [path.name]
        assert names(path) == ["new.txt"]

    def test_interrupted_replacing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signal when the one before is moved away and the new one not there puts it back."""
        rename, moved = Path.rename, []

        def interrupted(source: Path, target: Path) -> Path:
            if moved == [path]:
                moved.append(source)
                raise KeyboardInterrupt
            renamed = rename(source, target)
            moved.append(source)
            return renamed

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.replace(path)
        assert names(path.parent) == [path.name]
        assert names(path) == ["old.txt"]


class TestRemoveLeftovers:
    """The contracts of ``remove_leftovers``."""

    def test_values(self, tmp_path: Path) -> None:
        """Only what a dead process of this host left is deleted, files and folders alike."""
        kept = [
            f".out.partial-{THIS_HOST}-{os.getpid()}-00000000",  # still being written
            f".out.partial-elsewhere-{DEAD_PID}-00000000",  # another machine's
            "out.txt",
        ]
        for name in kept:
            (tmp_path / name).touch()
        (tmp_path / f".out.partial-{THIS_HOST}-{DEAD_PID}-00000000").touch()
        folder = tmp_path / f".out.partial-{THIS_HOST}-{DEAD_PID}-00000001"
        folder.mkdir()
        (folder / "half.txt").touch()
        remove_leftovers(tmp_path)
        assert names(tmp_path) == sorted(kept)

    def test_of_another_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What another user's process, which may not be sent a signal, is writing is left alone."""

        def refuse(*_: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "kill", refuse)
        (tmp_path / f".out.partial-{THIS_HOST}-{DEAD_PID}-00000000").touch()
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 1

    def test_of_a_zombie(self, tmp_path: Path) -> None:
        """A process that is dead but not yet waited for writes no more."""
        with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            (tmp_path / f".out.partial-{THIS_HOST}-{process.pid}-00000000").touch()
            remove_leftovers(tmp_path)
        assert names(tmp_path) == []
