import argparse
import re
import sys

import pytest

from benchmarks import masks
from benchmarks.arguments import positive, whole
from tests.project_copy import ROOT


class TestWhole:
    """`whole`."""

    def test_values(self) -> None:
        """Numbers within the limits are read."""
        assert [whole("1"), whole("0", least=0), whole("100", most=100)] == [1, 0, 100]

    @pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
    def test_raises(self, text: str) -> None:
        """What is none, or below the least, is refused with what was found and is wanted."""
        words = f"^{re.escape(repr(text))}; wanted a whole number from 1 on$"
        with pytest.raises(argparse.ArgumentTypeError, match=words):
            whole(text)

    def test_raises_beyond(self) -> None:
        """So is what is above the most."""
        with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1 to 100"):
            whole("101", most=100)


class TestPositive:
    """`positive`."""

    def test_values(self) -> None:
        """Numbers above 0 are read."""
        assert positive("0.5") == 0.5

    @pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many"])
    def test_raises(self, text: str) -> None:
        """What is none, or nothing, is refused with what was found and is wanted."""
        with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}'; wanted a number above 0"):
            positive(text)


@pytest.mark.parametrize("words", [["--items", "0"], ["--items", "8", "-1"], ["--rounds", "0"]])
def test_told(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark of nothing ends with status 2 and a line that names the option."""
    monkeypatch.setattr(sys, "argv", ["benchmarks.masks", *words])
    with pytest.raises(SystemExit) as end:
        masks.main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {words[0]}: '{words[-1]}'; wanted a whole number from 1 on" in error


def test_in_all() -> None:
    """No benchmark takes a number unchecked."""
    for path in ROOT.glob("benchmarks/**/*.py"):
        assert not re.search(r"type=(int|float)\b", path.read_text()), path
