"""Shards: every item once, in any number of processes."""

import argparse
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pconv.errors import DataError, ParameterError
from workflow.shard_files import shard_files
from workflow.shards import (
    Shard,
    add_shard_options,
    chosen_shards,
    for_each_shard,
    shard_argument,
)

TWO = [Shard(0, 2), Shard(1, 2)]


def test_shard_files(tmp_path: Path) -> None:
    """Files of finished shards are found, those that another machine left unfinished are not."""
    for name in ("0001/a.png", "0000/b.png", "10000/c.png", ".0000.partial-pod-1-9-fa0a504c/d.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in shard_files(tmp_path, "*.png")]
    assert found == ["0000/b.png", "0001/a.png", "10000/c.png"]


def parsed(*arguments: str) -> list[Shard]:
    """Return the shards that a stage's command line chooses."""
    parser = argparse.ArgumentParser()
    add_shard_options(parser)
    return chosen_shards(parser.parse_args(arguments))


def write_name(folder: Path, shard: Shard) -> None:
    """Leave a file named after the shard."""
    (folder / shard.name).touch()


def make_folder(folder: Path, shard: Shard) -> None:
    """Leave a folder named after the shard, with a file in it."""
    (folder / shard.name).mkdir(exist_ok=True)
    (folder / shard.name / "item").touch()


def make_and_lose(folder: Path, shard: Shard) -> None:
    """Leave a folder named after the shard, but for the second."""
    if shard.index != 1:
        make_folder(folder, shard)


def die(folder: Path, shard: Shard) -> None:
    """End the process as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(folder: Path, shard: Shard) -> None:
    """Fail as a stage does on bad data."""
    raise DataError(f"{shard.name}: bad")


class TestShard:
    """Which items a shard owns."""

    @given(total=st.integers(0, 300), count=st.integers(1, 20))
    def test_conservation(self, total: int, count: int) -> None:
        """The shards together own every item exactly once, and differ by one item at most."""
        owned = [Shard(index, count).items(total) for index in range(count)]
        assert Counter(item for items in owned for item in items) == Counter(range(total))
        assert max(map(len, owned)) - min(map(len, owned)) <= 1


class TestChosenShards:
    """The command line."""

    def test_values(self) -> None:
        """--shards alone means all of them, --shard one."""
        assert parsed("--shards", "3") == [Shard(0, 3), Shard(1, 3), Shard(2, 3)]
        assert parsed("--shards", "3", "--shard", "1/3") == [Shard(1, 3)]

    @pytest.mark.parametrize("arguments", [["--shards", "0"], ["--shards", "3", "--shard", "1/4"]])
    def test_raises(self, arguments: list[str]) -> None:
        """Counts that can't be or disagree are refused."""
        with pytest.raises(ParameterError, match="--shard"):
            parsed(*arguments)

    @pytest.mark.parametrize("text", ["", "3", "3/3", "-1/3", "a/b", "1/2/3", "²/3"])
    def test_raises_on_text(self, text: str) -> None:
        """Anything but i/S is refused by the parser."""
        with pytest.raises(argparse.ArgumentTypeError, match="wanted i/S"):
            shard_argument(text)


class TestForEachShard:
    """One process or several."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_values(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
        """Every shard is made."""
        monkeypatch.setenv("PCONV_WORKERS", workers)
        shards = [Shard(index, 5) for index in range(5)]
        for_each_shard(partial(write_name, tmp_path), shards, what="test", folders=[])
        assert sorted(path.name for path in tmp_path.iterdir()) == [s.name for s in shards]

    def test_killed_worker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A killed worker ends the stage with its name; nothing hangs."""
        monkeypatch.setenv("PCONV_WORKERS", "2")
        with pytest.raises(DataError, match="masks: a worker process was killed"):
            for_each_shard(partial(die, tmp_path), TWO, what="masks", folders=[])

    def test_error_of_a_worker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker's own error reaches the caller as it is."""
        monkeypatch.setenv("PCONV_WORKERS", "2")
        with pytest.raises(DataError, match=r"000[01]: bad"):
            for_each_shard(partial(refuse, tmp_path), TWO, what="masks", folders=[])

    @pytest.mark.parametrize(
        ("shards", "left"),
        [
            (TWO, ["0000", "0001", "notes", "tables"]),
            ([Shard(0, 1)], ["0000", "notes", "tables"]),
            ([Shard(1, 2)], ["0000", "0001", "notes", "tables"]),
            ([Shard(1, 4)], ["0000", "0001", "0002", "notes", "tables"]),
        ],
    )
    def test_other_shards(self, tmp_path: Path, shards: list[Shard], left: list[str]) -> None:
        """Shards push out those that their count has not, and touch no other."""
        for name in ("0000", "0001", "0002", "0011", "tables"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "old").touch()
        (tmp_path / "notes").touch()
        for_each_shard(partial(make_folder, tmp_path), shards, what="test", folders=[tmp_path])
        assert sorted(path.name for path in tmp_path.iterdir()) == left

    def test_lost_shard(self, tmp_path: Path) -> None:
        """A shard that another program took away is missed."""
        shards = [Shard(0, 3), Shard(1, 3), Shard(2, 3)]
        with pytest.raises(DataError, match="0001: made, and gone; does another engine run"):
            for_each_shard(
                partial(make_and_lose, tmp_path), shards, what="test", folders=[tmp_path]
            )

    def test_other_shards_after_an_error(self, tmp_path: Path) -> None:
        """As long as a shard is missing, what was there before stays."""
        (tmp_path / "0005").mkdir()
        with pytest.raises(DataError, match="bad"):
            for_each_shard(partial(refuse, tmp_path), TWO, what="test", folders=[tmp_path])
        assert (tmp_path / "0005").is_dir()
