"""One function over many items, in any number of processes."""

import os
from functools import partial

import pytest

from pconv.errors import DataError, MaskError
from workflow.parallel import map_items


def refuse(item: int, bad: int) -> int:
    """Double an item, but refuse one of them."""
    if item == bad:
        raise MaskError(f"item {item}")
    return 2 * item


def die(item: int) -> int:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), 9)
    return item


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
