"""Checkpoints: whole, the newest two, and nobody else's."""

import errno
import logging
import os
import pickle
from pathlib import Path

import pytest
import torch

from pconv.checkpoints import CheckpointFolder

MINE, THEIRS = "0123456789abcdef0123", "fedcba9876543210fedc"


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder."""
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("*.pt"))


def saved(folder: Path, *steps: int, identity: str = MINE) -> CheckpointFolder:
    """Save a small state at some steps."""
    checkpoints = CheckpointFolder(folder, identity)
    for step in steps:
        checkpoints.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    return checkpoints


def vanished(_: CheckpointFolder) -> list[Path]:
    """Look into a folder that is just being deleted."""
    raise FileNotFoundError


class TestSave:
    """`CheckpointFolder.save`."""

    def test_keeps_two(self, tmp_path: Path) -> None:
        """The newest two stay, and nothing unfinished beside them."""
        own = saved(tmp_path, 1, 5, 7).own
        assert steps_in(own) == [5, 7]
        assert len(list(own.iterdir())) == 2

    def test_beside_damaged(self, tmp_path: Path) -> None:
        """A run that began anew keeps what it saves, not the damaged files of later steps."""
        checkpoints = saved(tmp_path, 8, 9)
        for path in checkpoints.own.glob("*.pt"):
            path.write_bytes(b"")
        checkpoints.save(1, {"step": 1})
        assert checkpoints.newest() == {"step": 1}
        assert steps_in(checkpoints.own) == [1]

    def test_of_a_killed_one(self, tmp_path: Path) -> None:
        """What a process killed while saving has left, gigabytes maybe, goes with the next one."""
        checkpoints = CheckpointFolder(tmp_path, MINE)
        checkpoints.own.mkdir()
        # Of a process number above the largest that Linux gives out.
        half = f".step-000000001.pt.partial-{os.uname().nodename}-{2**22 + 1}-00000000"
        (checkpoints.own / half).touch()
        checkpoints.save(1, {})
        assert [path.name for path in checkpoints.own.iterdir()] == ["step-000000001.pt"]

    def test_on_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A power cut takes none: the file is flushed before its rename, its folder after that."""
        flushed: list[list[str]] = []

        def flush(_: int) -> None:
            flushed.append([path.suffix for path in own.iterdir()])

        own = CheckpointFolder(tmp_path, MINE).own
        monkeypatch.setattr(os, "fsync", flush)
        saved(tmp_path, 1)
        assert [suffixes == [".pt"] for suffixes in flushed] == [False, True]

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a full disk the error is the disk's, not torch's, and names the checkpoint."""

        def fail(*_: object) -> None:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            finally:
                raise RuntimeError("unexpected pos 64 vs 0")  # as torch does

        monkeypatch.setattr(torch, "save", fail)
        with pytest.raises(OSError, match=r"No space left on device: .*step-000000001\.pt"):
            saved(tmp_path, 1)

    def test_leaves_foreign(self, tmp_path: Path) -> None:
        """A run that waits to go on keeps its checkpoints while another is trained to its end."""
        theirs = saved(tmp_path, 800, 900, identity=THEIRS)
        saved(tmp_path, 3, 850, 1000).clear()
        state = theirs.newest()
        assert state is not None
        assert state["step"] == 900


class TestNewest:
    """`CheckpointFolder.newest`."""

    def test_values(self, tmp_path: Path) -> None:
        """The newest state comes back as it was."""
        state = saved(tmp_path, 1, 2).newest()
        assert state is not None
        assert state["step"] == 2
        assert torch.equal(state["weights"], torch.full((3,), 2.0))

    def test_none(self, tmp_path: Path) -> None:
        """An empty or missing folder has none."""
        assert CheckpointFolder(tmp_path / "missing", MINE).newest() is None
        assert CheckpointFolder(tmp_path, MINE).newest_path() is None

    def test_foreign(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Another run's is not resumed, and that it is there is told with its size."""
        theirs = saved(tmp_path, 4, 5, identity=THEIRS).own
        for path in theirs.iterdir():
            os.truncate(path, 2_000_000)
        (theirs / "step-000000006.pt").symlink_to("deleted meanwhile")
        assert CheckpointFolder(tmp_path, MINE).newest() is None
        assert f"{theirs}: unfinished, 4 MB, of other params, data or code" in caplog.text
        saved(tmp_path, 1).newest()
        assert caplog.text.count("unfinished") == 1

    def test_of_before(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Those of versions without a folder for each run are told too."""
        torch.save({}, tmp_path / "step-000000800.pt")
        assert CheckpointFolder(tmp_path, MINE).newest() is None
        assert f"{tmp_path}: unfinished" in caplog.text

    @pytest.mark.parametrize("identity", [THEIRS, f"{MINE[:16]}fedc"])
    def test_moved(self, identity: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Nor is one that lies in this run's folder: put there, or its name begins alike."""
        theirs, mine = saved(tmp_path, 4, identity=identity), CheckpointFolder(tmp_path, MINE)
        theirs.own.rename(mine.own)
        assert mine.newest() is None
        assert f"{mine.own / 'step-000000004.pt'}: another run's" in caplog.text

    @pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
    def test_damaged(self, kept: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A cut file is passed over for the one before it, and both are named."""
        checkpoints = saved(tmp_path, 1, 2)
        newest = checkpoints.own / "step-000000002.pt"
        content = newest.read_bytes()
        newest.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
        with caplog.at_level(logging.INFO):
            state = checkpoints.newest()
        assert state is not None
        assert state["step"] == 1
        assert f"{newest}: damaged" in caplog.text
        assert "resuming from" in caplog.text

    def test_all_damaged(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With no whole one the run starts anew, and its own folder is not called another's."""
        checkpoints = saved(tmp_path, 1, 2)
        for path in checkpoints.own.glob("*.pt"):
            path.write_bytes(b"PK\x03\x04 and no more")
        assert checkpoints.newest() is None
        assert caplog.text.count("damaged (") == 2
        assert "unfinished" not in caplog.text

    def test_runs_no_code(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A pickle that would run code when loaded is refused."""

        class Trap:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return Path.touch, (tmp_path / "trapped",)

        mine = CheckpointFolder(tmp_path, MINE)
        mine.own.mkdir()
        with (mine.own / "step-000000001.pt").open("wb") as file:
            pickle.dump({"identity": MINE, "state": Trap()}, file, protocol=2)
        assert mine.newest() is None
        assert "damaged" in caplog.text
        assert "\n" not in caplog.messages[-1]  # torch says more than a log can take
        assert not (tmp_path / "trapped").exists()

    @pytest.mark.parametrize("content", [torch.zeros(3), {}, {"state": {}}])
    def test_other_content(
        self, content: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A torch file that is no checkpoint is passed over."""
        mine = CheckpointFolder(tmp_path, MINE)
        mine.own.mkdir()
        torch.save(content, mine.own / "step-000000001.pt")
        assert mine.newest() is None
        assert "damaged (not a checkpoint of this program)" in caplog.text


class TestClear:
    """`CheckpointFolder.clear`."""

    def test_values(self, tmp_path: Path) -> None:
        """Checkpoints go, other files stay; a missing folder is no error."""
        mine = saved(tmp_path, 1)
        (tmp_path / "timing.jsonl").touch()
        mine.clear()
        assert [path.name for path in tmp_path.iterdir()] == ["timing.jsonl"]
        mine.clear()
        saved(tmp_path, 1)
        with pytest.MonkeyPatch.context() as patch:  # another process was quicker
            patch.setattr(CheckpointFolder, "_files", vanished)
            mine.clear()
        (mine.own / "note.txt").touch()
        mine.clear()
        assert [path.name for path in mine.own.iterdir()] == ["note.txt"]
