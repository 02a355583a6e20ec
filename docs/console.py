"""Run the commands of a page and put what they print below them.

    python -m docs.console docs/experiments.md

Every line that starts with `$ ` in a block of ```console is run, in order, in one fresh copy of the
project with the preset `tiny`; a line that ends in a backslash goes on. MLflow keeps nothing.
The folder of that copy is written as /home/me/project.
"""

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.project_copy import clone, environment

BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SOMEBODY = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
SOMEBODY |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a page, each with the output that stands below it."""
    return [found for block in BLOCK.findall(text) for found in COMMAND.findall(block)]


def new_project(base: Path) -> Path:
    """Make the copy in which a page's commands run, on a branch whose name git's set-up can't say.

    Args:
        base: A folder for it and for what the commands put beside it.
    """
    folder = clone(base / "project")
    run(folder, "git symbolic-ref HEAD refs/heads/main")
    return folder


def run(folder: Path, command: str) -> str:
    """Return what a command prints in a folder.

    Raises:
        RuntimeError: If it fails.
    """
    # One process a stage: on this little work, starting another costs more than it saves.
    variables = environment(folder) | SOMEBODY | {"PCONV_WORKERS": "1", "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command}\nexit status {done.returncode}\n{done.stdout}")
    text = done.stdout.replace(str(folder.parent), "/home/me").strip()
    return "".join(f"{line.rstrip()}\n" for line in text.split("\n")) if text else ""


def with_outputs(text: str, output_of: Callable[[str], str]) -> str:
    """Return a page with the outputs of its commands, asked for in their order."""

    def block(found: re.Match[str]) -> str:
        return COMMAND.sub(lambda match: f"$ {match[1]}\n{output_of(match[1])}", found[0])

    return BLOCK.sub(block, text)


def main() -> None:
    """Rewrite a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    with tempfile.TemporaryDirectory() as base:
        folder = new_project(Path(base))
        text = with_outputs(page.read_text(), lambda command: run(folder, command))
    page.write_text(text)


if __name__ == "__main__":
    main()
