"""docs/experiments.md: its commands, in their order, do what stands there.

What a run on another day or machine prints differently is replaced: digits of metrics, hashes,
times, the widths of tables.
"""

import re
from pathlib import Path

import pytest

from docs.console import commands, new_project, run
from tests.project_copy import ROOT

PAGE = (ROOT / "docs/experiments.md").read_text()
COMMANDS = [command for command, _ in commands(PAGE)]
STYLE = next(command for command in COMMANDS if "train.style_weight=60" in command)

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def normal(output: str) -> str:
    """Return an output without what differs between two runs of one command."""
    output = re.sub(r"\b\d\d:\d\d (AM|PM)", "TIME", output)
    output = re.sub(r"\b[0-9a-f]{7}\b", "COMMIT", output)
    output = re.sub(r"-?\b\d+(\.\d+)?(e-\d+)?\b", "N", output)
    output = re.sub(r"-{2,}", "--", output)
    lines = [" ".join(line.split()) for line in output.splitlines()]
    # An experiment stands where its turn came, and two ran at once.
    return "\n".join(sorted(re.sub("[├└]──", "─", line) for line in lines))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Every command of the page with what it printed here."""
    folder = new_project(tmp_path_factory.mktemp("experiments"))
    return [(command, run(folder, command)) for command in COMMANDS]


def output_of(printed: list[tuple[str, str]], words: str, after: str = "") -> str:
    """Return what the first command with these words printed, from another command on."""
    names = [command for command, _ in printed]
    start = names.index(after) if after else 0
    return next(output for command, output in printed[start:] if words in command)


def test_page_is_real(printed: list[tuple[str, str]]) -> None:
    """Below each command stands what it prints."""
    there = {f"{i} {command}": normal(text) for i, (command, text) in enumerate(commands(PAGE))}
    here = {f"{i} {command}": normal(text) for i, (command, text) in enumerate(printed)}
    assert here == there


def test_numbers_are_of_today(printed: list[tuple[str, str]]) -> None:
    """The baseline's metrics are those of the page, but for another processor's last digits."""

    def metrics(found: list[tuple[str, str]]) -> list[float]:
        row = output_of(found, "metrics show").splitlines()[-1]
        return [float(number) for number in re.findall(r"\d+\.\d+", row)]

    assert metrics(printed) == pytest.approx(metrics(commands(PAGE)), rel=1e-2)


def test_only_what_depends_runs(printed: list[tuple[str, str]]) -> None:
    """An experiment with another loss trains, evaluates and reports, and nothing else."""
    ran = re.findall(r"^Running stage '(\w+)'", output_of(printed, STYLE), re.MULTILINE)
    assert ran == ["check", "train", "evaluate", "report"]


def test_diffs_name_what_changed(printed: list[tuple[str, str]]) -> None:
    """The differences name the one parameter, old and new, and metrics that moved."""
    rows = output_of(printed, "params diff", after=STYLE).splitlines()[1:]
    assert [row.split() for row in rows] == [["params.yaml", "train.style_weight", "0.0", "60"]]
    metrics = [row.split() for row in output_of(printed, "metrics diff", after=STYLE).splitlines()]
    by_name = {row[1]: row[2:] for row in metrics[1:]}
    old, new, change = (float(cell) for cell in by_name["all.psnr_hole"])
    assert change == pytest.approx(new - old, abs=1e-3)
    assert change != 0


def test_grid(printed: list[tuple[str, str]]) -> None:
    """Both points of the grid ran and stand in the table with their values of the parameter."""
    assert output_of(printed, "queue status").count("Success") == 2
    table = [row.split("|")[1:-1] for row in output_of(printed, "exp show").splitlines()]
    head = [cell.strip() for cell in table[0]]
    weights = {row[0].split()[-1]: row[head.index("train.tv_weight")].strip() for row in table[2:]}
    assert weights["[tv-1]"] == "0"
    assert weights["[tv-2]"] == "1"


def test_a_clone_has_the_report(printed: list[tuple[str, str]]) -> None:
    """What was pushed and pulled is the report, byte for byte, and nothing is left to run."""
    assert output_of(printed, "dvc pull").split() == ["check:", "always", "changed"]
    assert output_of(printed, "cmp reports/index.html") == "the same bytes\n"


def test_plots_are_drawn(printed: list[tuple[str, str]]) -> None:
    """`dvc plots show` and `diff` name the page that they drew."""
    for words, page in [("plots show", "dvc_plots"), ("plots diff", "dvc_plots_diff")]:
        assert output_of(printed, words) == f"file:///home/me/project/{page}/index.html\n"


def test_a_failing_command_is_told(tmp_path: Path) -> None:
    """The page is not written with the output of a command that fails."""
    with pytest.raises(RuntimeError, match=r"(?s)false\nexit status 1"):
        run(tmp_path, "false")
