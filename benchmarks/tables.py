"""Put the kept runs of all benchmarks into their pages.

    python -m benchmarks.tables            # rewrite what stands between the pages' markers
    python -m benchmarks.tables --check    # exit status 2 if a page is not of these results

A place looks like this; what stands in it is made from ``benchmarks/results/NAME.json``:

    <!-- results: NAME -->
    <!-- end -->
"""

import argparse
import sys
from pathlib import Path

from benchmarks.record import read_record
from workflow.places import with_places_filled

PAGES = [Path(__file__).with_name(name) for name in ("README.md", "gpu-notes.md")]
PAGES.append(Path(__file__).parents[1] / "docs" / "scale.md")
RESULTS = Path(__file__).with_name("results")
NOT_MEASURED = "*Not measured yet: the command above fills this place.*"
MARKER = "results"


def filled(page: str, results: Path) -> str:
    """Return a page with every place filled from its result, or said to be empty."""

    def text_of(name: str) -> str:
        path = results / f"{name}.json"
        return read_record(path).markdown() if path.is_file() else NOT_MEASURED

    return with_places_filled(page, MARKER, text_of)


def main() -> None:
    """Rewrite the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    for page in PAGES:
        found = page.read_text()
        wanted = filled(found, RESULTS)
        if not check:
            page.write_text(wanted)
        elif found != wanted:
            sys.stderr.write(
                f"{page}: not of {RESULTS}; `python -m benchmarks.tables` makes it so\n"
            )
            sys.exit(2)


if __name__ == "__main__":
    main()
