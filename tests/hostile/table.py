"""Make the tables of ``docs/reliability.md`` from the record of `make hostile`.

python -m tests.hostile.table
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.record import FILE, Attempt, read

PAGE = Path("docs/reliability.md")
START, END = "<!-- made by tests.hostile.table: begin -->", "<!-- end -->"


def tables(attempts: Sequence[Attempt]) -> str:
    """Return the record as Markdown: a table an area, a row for each thing tried."""
    areas = dict.fromkeys(sorted(attempt.area for attempt in attempts))
    parts = [_summary(attempts)]
    for area in areas:
        rows = _rows([attempt for attempt in attempts if attempt.area == area])
        parts.append(f"### {area}\n\n| tried | times | what happened | lost |\n|---|--:|---|--:|")
        parts[-1] += "".join(f"\n{row}" for row in rows)
    return "\n\n".join(parts)


def written_into(page: str, text: str) -> str:
    """Return the page with the text between its two marks."""
    before, rest = page.split(START)
    return f"{before}{START}\n\n{text}\n\n{END}{rest.split(END)[1]}"


def _summary(attempts: Sequence[Attempt]) -> str:
    times = sum(attempt.times for attempt in attempts)
    lost = sum(attempt.lost for attempt in attempts)
    return f"{times} attempts in all; lost: {lost or 'nothing'}."


def _rows(attempts: Sequence[Attempt]) -> list[str]:
    rows = []
    for tried in dict.fromkeys(attempt.tried for attempt in attempts):
        those = [attempt for attempt in attempts if attempt.tried == tried]
        ends: Counter[str] = Counter()
        for attempt in those:
            ends[attempt.happened] += attempt.times
        words = "; ".join(
            end if len(ends) == 1 else f"{end} ({count})" for end, count in ends.most_common()
        )
        lost = sum(attempt.lost for attempt in those)
        cells = (_cell(tried), str(sum(ends.values())), _cell(words), str(lost))
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, default=FILE)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    page = options.page.read_text(encoding="utf-8")
    text = written_into(page, tables(read(options.record)))
    options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
