"""The program's commands, run in this process, and what each of them must do with bad input."""

import contextlib
import hashlib
import io
import shlex
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from typer.testing import CliRunner

from pconv.cli import app
from workflow import fills
from workflow.graph import load_stages

ROOT = Path(__file__).parents[2]
BAD_INPUT = 2
COMMANDS = {stage.name: stage.command for stage in load_stages(ROOT / "dvc.yaml")}


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it said to standard error."""

    status: int
    said: str

    @property
    def errors(self) -> list[str]:
        """The lines that begin with the name of an error."""
        return [line for line in self.said.splitlines() if line.split(": ")[0].endswith("Error")]


def pconv(*arguments: str | Path) -> Answer:
    """Run the command ``pconv``."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        said += "".join(traceback.format_exception(result.exception))
    return Answer(result.exit_code, said)


def stage(name: str, *options: str) -> Answer:
    """Run a stage in the current folder by dvc.yaml's command for it, with options added."""
    return module(*shlex.split(COMMANDS[name])[2:], *options)


def module(name: str, *arguments: str) -> Answer:
    """Run a module of the pipeline as ``python -m`` does."""
    fills._load.cache_clear()  # it knows weights by a path that the next test uses for others
    said, argv = io.StringIO(), sys.argv
    sys.argv = [name, *arguments]
    status = 0
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = import_module(name)
            code.run_command(getattr(code, "main", None) or code._main)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        said.write(traceback.format_exc())
        status = 1
    finally:
        sys.argv = argv
    return Answer(status, said.getvalue())


def tree_hash(folder: Path) -> str:
    """Return a hash of the names and contents of all that lies in a folder, hidden files too."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(f"{path.relative_to(folder)}\0".encode("utf-8", "surrogateescape"))
        if path.is_symlink():
            total.update(str(path.readlink()).encode())
        elif path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def check_refused(answer: Answer, *names: str) -> None:
    """Check that a command ended with status 2 and one line that names what is wrong.

    Raises:
        AssertionError: If it did not.
    """
    assert answer.status == BAD_INPUT, answer.said
    assert "Traceback" not in answer.said, answer.said
    assert len(answer.errors) == 1, answer.said
    for name in names:
        assert name in answer.errors[0], answer.errors[0]
