"""The report in one small table: ``python -m workflow.reporting.brief`` prints the README's."""

import argparse
import json
import sys
from pathlib import Path

from pconv.errors import DataError
from workflow.command import run_command
from workflow.mask_kinds import KINDS
from workflow.reporting.names import method_label, pairs_counted
from workflow.reporting.provenance import weights_about

KINDS_LEGEND = (
    "ec: blocks as lost in transmission (error concealment); or: outlines of objects (object "
    "removal); walk, strokes and rectangles are drawn."
)


def hole_psnr_table(metrics: Path, models: Path) -> str:
    """Return a Markdown table of the mean PSNR inside the hole, a row a method, a column a kind.

    Raises:
        DataError: If there is no report yet.
    """
    if not metrics.is_file():
        raise DataError(f"{metrics}: not found; `make repro` makes the report")
    measured = json.loads(metrics.read_text(encoding="utf-8"))
    about = weights_about(models)
    kinds = [kind for kind in KINDS if any(kind in groups for groups in measured.values())]
    columns = [*kinds, "all"]
    most = {
        kind: max((g[kind]["pairs"] for g in measured.values() if kind in g), default=0)
        for kind in columns
    }
    rows = [
        (method_label(method, about), *(_cell(groups.get(kind), most[kind]) for kind in columns))
        for method, groups in measured.items()
    ]
    head = ["PSNR in the hole, dB", *kinds, "all pairs"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(numbers: dict[str, float] | None, most: int) -> str:
    """Return a mean, and of how many pairs it is where other methods have more."""
    if numbers is None:
        return "-"
    fewer = f" ({pairs_counted(int(numbers['pairs']))})" if numbers["pairs"] < most else ""
    return f"{numbers['psnr_hole']:.2f}{fewer}"


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=Path, default=Path("reports/metrics.json"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    sys.stdout.write(hole_psnr_table(options.metrics, options.models) + "\n")


if __name__ == "__main__":
    run_command(_main)
