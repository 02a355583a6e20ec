"""The record and the table that is made of it."""

from pathlib import Path

from tests.hostile.record import FILE, Attempt, read, write
from tests.hostile.table import END, START, tables, written_into


def test_last_run_counts(tmp_path: Path) -> None:
    """A test that ran twice is in the record with its last run; all it tried is there."""
    file = tmp_path / "logs/record.jsonl"
    write("a", [Attempt("Masks", "grey", "lost", lost=1)], file)
    write("b", [Attempt("Masks", "grey", "refused"), Attempt("Masks", "text", "refused")], file)
    write("a", [Attempt("Masks", "grey", "refused", times=3)], file)
    found = read(file)
    assert sum(attempt.times for attempt in found) == 5
    assert sum(attempt.lost for attempt in found) == 0


def test_one_record(tmp_path: Path) -> None:
    """Each test has a current folder of its own; the record of all of them lies elsewhere."""
    assert Path.cwd() == tmp_path
    assert FILE.is_absolute()
    assert not FILE.is_relative_to(tmp_path)


def test_values() -> None:
    """Equal attempts become one row; how each ended is counted, and so is what was lost."""
    attempts = [
        Attempt("Masks", "grey", "refused", times=3),
        Attempt("Masks", "grey", "accepted"),
        Attempt("Disk", "full|empty", "said", times=2, lost=1),
    ]
    text = tables(attempts)
    assert "6 attempts in all; lost: 1." in text
    assert "| grey | 4 | refused (3); accepted (1) | 0 |" in text
    assert "| full\\|empty | 2 | said | 1 |" in text
    assert text.index("### Disk") < text.index("### Masks")


def test_page() -> None:
    """Only what lies between the marks is exchanged, however often."""
    page = f"# Title\n\n{START}\nold\n{END}\n\nafter\n"
    once = written_into(page, "new")
    assert once == f"# Title\n\n{START}\n\nnew\n\n{END}\n\nafter\n"
    assert written_into(once, "new") == once
