"""What a benchmark leaves: its tables with command, machine and versions, as Markdown and as JSON.

``python -m benchmarks.MODULE --json benchmarks/results/NAME.json`` keeps a run, and
``python -m benchmarks.tables`` puts it into ``benchmarks/README.md``.
"""

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """One table of text.

    Attributes:
        header: Names of the columns.
        rows: Their cells.
        words: How many columns on the left hold words; the others are numbers, set to the right.
        title: A line above it, or none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    title: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = ["---"] * self.words + ["--:"] * (len(self.header) - self.words)
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows)]
        title = [self.title, ""] if self.title else []
        return "\n".join([*title, *lines])


@dataclass(frozen=True)
class Record:
    """One run of a benchmark.

    Attributes:
        command: The command that makes it again.
        machine: Processor, GPU if there is one, instructions, and how busy the machine was.
        versions: Of Python and of the packages that are measured.
        notes: Sentences above the tables.
        tables: What was measured.
    """

    command: str
    machine: str
    versions: dict[str, str]
    notes: list[str]
    tables: list[Table] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the run as Markdown."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        about = [f"`{self.command}`", f"{self.machine}; {versions}."]
        tables = [table.markdown() for table in self.tables]
        return "\n\n".join([*about, *self.notes, *tables])

    def write(self, path: Path) -> None:
        """Write the run as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read_record(path: Path) -> Record:
    """Read what :meth:`Record.write` wrote."""
    content = json.loads(path.read_text())
    return Record(**content | {"tables": [Table(**table) for table in content["tables"]]})


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a benchmark's command line."""
    parser.add_argument("--json", type=Path, metavar="OUT", help="also keep the run in this file")


def finish(
    module: str,
    tables: list[Table],
    *,
    packages: Sequence[str],
    notes: Sequence[str] = (),
    out: Path | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Print what a benchmark measured, and keep it if the command line asked for that.

    Args:
        module: The benchmark's module.
        tables: What it measured.
        packages: Those whose versions matter.
        notes: Sentences above the tables.
        out: The file to keep it in.
        argv: The words after the module on the command line; those of this process if not given.
    """
    # Here, not above: it loads torch, which the data benchmarks' own processes do without.
    from workflow.reporting.provenance import hardware

    words = _without_json(sys.argv[1:] if argv is None else argv)
    processors = ", ".join([*hardware().values(), _instructions()])
    record = Record(
        command=shlex.join(["python", "-m", module, *words]),
        machine=f"{processors}; load {os.getloadavg()[0]:.1f}",
        versions={"Python": platform.python_version()} | _versions(packages),
        notes=list(notes),
        tables=tables,
    )
    print(record.markdown())
    if out is not None:
        record.write(out)


def _instructions() -> str:
    """Return the widest instructions of this processor, and those that convolutions may use."""
    import torch  # as above

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL")
    return f"{torch.backends.cpu.get_cpu_capability()}, convolutions {limit}"


def _without_json(words: Sequence[str]) -> list[str]:
    """Drop ``--json OUT``: where a run was kept is no part of what it measured."""
    kept = list(words)
    while "--json" in kept:
        at = kept.index("--json")
        del kept[at : at + 2]
    return [word for word in kept if not word.startswith("--json=")]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # another build of OpenCV, say
    return found
