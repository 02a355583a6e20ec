"""What was tried, how often, what happened, what was lost: one JSON line for each test.

Lines are written in the long form only (``make hostile``), to the file that
``PCONV_HOSTILE_RECORD`` names; `tests.hostile.table` makes ``docs/reliability.md`` of them.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FORM = "PCONV_HOSTILE"
# Absolute: each test has a current folder of its own.
FILE = Path(os.environ.get("PCONV_HOSTILE_RECORD", "logs/hostile.jsonl")).absolute()


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried.

    Attributes:
        area: Heading of the table.
        tried: What was done to the program: a row of the table.
        happened: How it ended.
        times: How often.
        lost: How many of these lost or changed something, hung, or ended in a traceback.
    """

    area: str
    tried: str
    happened: str
    times: int = 1
    lost: int = 0


def is_long() -> bool:
    """Return whether the long form runs."""
    return os.environ.get(FORM) == "long"


def write(case: str, attempts: Sequence[Attempt], file: Path = FILE) -> None:
    """Append what one test or command tried, as one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"case": case, "attempts": [asdict(attempt) for attempt in attempts]}
    # In one write, so that tests in other processes can write too.
    with file.open("a", encoding="utf-8") as record:
        record.write(json.dumps(content, ensure_ascii=False) + "\n")


def read(file: Path = FILE) -> list[Attempt]:
    """Return what was tried in the last run of each test."""
    last: dict[str, list[dict[str, object]]] = {}
    with file.open(encoding="utf-8") as record:
        for line in record:
            content = json.loads(line)
            last[content["case"]] = content["attempts"]
    return [Attempt(**attempt) for attempts in last.values() for attempt in attempts]
