"""Checkpoints: whole, the newest two, and nobody else's."""

import logging
import pickle
from pathlib import Path

import pytest
import torch

from pconv.checkpoints import CheckpointFolder, clear_checkpoints


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder."""
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("*.pt"))


def saved(folder: Path, *steps: int, identity: str = "mine") -> CheckpointFolder:
    """Save a small state at some steps."""
    checkpoints = CheckpointFolder(folder, identity)
    for step in steps:
        checkpoints.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    return checkpoints


class TestSave:
    """`CheckpointFolder.save`."""

    def test_keeps_two(self, tmp_path: Path) -> None:
        """The newest two stay, and nothing unfinished beside them."""
        saved(tmp_path, 1, 5, 7)
        assert steps_in(tmp_path) == [5, 7]
        assert len(list(tmp_path.iterdir())) == 2

    def test_removes_later_foreign(self, tmp_path: Path) -> None:
        """Checkpoints of a longer, foreign run do not survive the first of this one."""
        saved(tmp_path, 800, 900, identity="theirs")
        saved(tmp_path, 3)
        assert steps_in(tmp_path) == [3]


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
        assert CheckpointFolder(tmp_path / "missing", "mine").newest() is None
        assert CheckpointFolder(tmp_path, "mine").newest_path() is None

    def test_foreign(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Another run's is not resumed, said so, and left until this run has its own."""
        saved(tmp_path, 4, identity="theirs")
        assert CheckpointFolder(tmp_path, "mine").newest() is None
        assert "step-000000004.pt: belongs to other params, data or code" in caplog.text
        assert steps_in(tmp_path) == [4]

    @pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
    def test_damaged(self, kept: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A cut file is passed over for the one before it, and both are named."""
        checkpoints = saved(tmp_path, 1, 2)
        newest = tmp_path / "step-000000002.pt"
        content = newest.read_bytes()
        newest.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
        with caplog.at_level(logging.INFO):
            state = checkpoints.newest()
        assert state is not None
        assert state["step"] == 1
        assert f"{newest}: damaged" in caplog.text
        assert "resuming from" in caplog.text

    def test_all_damaged(self, tmp_path: Path) -> None:
        """With no whole one the run starts anew."""
        checkpoints = saved(tmp_path, 1, 2)
        for path in tmp_path.glob("*.pt"):
            path.write_bytes(b"PK\x03\x04 and no more")
        assert checkpoints.newest() is None

    def test_runs_no_code(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A pickle that would run code when loaded is refused."""

        class Trap:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return Path.touch, (tmp_path / "trapped",)

        with (tmp_path / "step-000000001.pt").open("wb") as file:
            pickle.dump({"identity": "mine", "state": Trap()}, file, protocol=2)
        assert CheckpointFolder(tmp_path, "mine").newest() is None
        assert "damaged" in caplog.text
        assert not (tmp_path / "trapped").exists()

    def test_other_content(self, tmp_path: Path) -> None:
        """A torch file that is no checkpoint is passed over."""
        torch.save(torch.zeros(3), tmp_path / "step-000000001.pt")
        assert CheckpointFolder(tmp_path, "mine").newest() is None


class TestClearCheckpoints:
    """`clear_checkpoints`."""

    def test_values(self, tmp_path: Path) -> None:
        """Checkpoints go, other files stay; a missing folder is no error."""
        saved(tmp_path, 1)
        (tmp_path / "timing.jsonl").touch()
        clear_checkpoints(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["timing.jsonl"]
        clear_checkpoints(tmp_path / "missing")
