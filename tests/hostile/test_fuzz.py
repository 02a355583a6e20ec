"""Damaged files of every kind, drawn by Hypothesis: refused or read, never anything else."""

import tempfile
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.conftest import Note
from tests.hostile.record import is_long
from tests.hostile.targets import TARGETS

AREA = "Damaged files, drawn by Hypothesis"
EXAMPLES = 3000 if is_long() else 60

# Each: where (as a share of the length), how many bytes go, and what comes in their place.
damages = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=6
)


@lru_cache
def seeds(name: str) -> list[bytes]:
    """Return the whole files that a reader's tests begin with."""
    with tempfile.TemporaryDirectory() as folder:
        return TARGETS[name].seeds(Path(folder))


def damaged(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Return a file with some of its bytes exchanged, removed or added."""
    for share, length, new in changes:
        place = round(share * len(content))
        content = content[:place] + new + content[place + length :]
    return content


@pytest.mark.parametrize("name", TARGETS)
def test_damaged(name: str, note: Note) -> None:
    """A reader refuses what it can't read with an error of ours, and reads the rest."""
    ends = {"refused": 0, "read": 0}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(0, len(seeds(name)) - 1), damages)
    def read(number: int, changes: list[tuple[float, int, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            refused = TARGETS[name].refuses_or_reads(
                damaged(seeds(name)[number], changes), Path(folder)
            )
        ends["refused" if refused else "read"] += 1

    read()
    for end, times in ends.items():
        note(AREA, name, end, times=times)


@pytest.mark.parametrize("name", TARGETS)
def test_whole(name: str, tmp_path: Path) -> None:
    """The readers take a whole file of each kind: what they refuse above is refused for damage."""
    taken = 0
    for number, content in enumerate(seeds(name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        taken += not TARGETS[name].refuses_or_reads(content, folder)
    assert taken
