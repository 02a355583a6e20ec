"""Which source files a stage runs, read off the imports: the code part of its ``deps``.

python -m workflow.code            # say where dvc.yaml differs; exit status 2 if it does
python -m workflow.code --write    # put the right lists into dvc.yaml
"""

import argparse
import ast
import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from pconv.atomic import atomic_file
from pconv.errors import DataError
from workflow.command import run_command
from workflow.graph import DVC_FILE

PACKAGES = ("pconv", "workflow")

# Code that runs in a stage but can't change what it makes, so that editing it makes nothing anew:
# sections.py, params.py and param_errors.py hand on what `params:` already records (no field has a
# default there), tracking.py, mlflow_run.py and mlflow_store.py may be off without changing a byte,
# graph.py, command.py, named.py, recovery.py and stage_params.py only start things or refuse to,
# code.py only says what code a result is of.
WITHOUT_EFFECT = {
    "workflow/code.py",
    "workflow/named.py",
    "workflow/param_errors.py",
    "workflow/params.py",
    "workflow/plain_yaml.py",
    "workflow/sections.py",
    "workflow/recovery.py",
    "workflow/stage_params.py",
    "workflow/mlflow_run.py",
    "workflow/mlflow_store.py",
    "workflow/tracking.py",
    "workflow/graph.py",
    "workflow/command.py",
}


def stage_code(module: str, root: Path = Path()) -> list[str]:
    """Return the project files a module runs, itself included, as sorted relative paths.

    Those are the modules it imports, and the page templates that lie beside them.
    Imports inside functions count; those under ``if TYPE_CHECKING:`` do not. The ``__init__.py``
    of every package on the way is followed too, and counts if it calls something when imported.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is None or path in found or path in WITHOUT_EFFECT:
            continue
        found.add(path)
        waiting += [*_imported(root / path), *_packages_above(name)]
    found = {p for p in found if not p.endswith("__init__.py") or _calls_something(root / p)}
    beside = {Path(path).parent for path in found}
    found |= {t.relative_to(root).as_posix() for d in beside for t in (root / d).glob("*.j2")}
    return sorted(found)


def code_digests(files: Iterable[str], root: Path) -> dict[str, str]:
    """Return the SHA-256 of project files, by their relative paths."""
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files}


def is_code(path: str) -> bool:
    """Return whether a dependency is the project's code, not data."""
    return path.split("/")[0] in PACKAGES


def wrong_code_deps(path: Path = DVC_FILE) -> dict[str, str]:
    """Return, for each stage whose listed code differs from what it runs, the difference."""
    stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    wrong = {}
    for name, entry in stages.items():
        if entry.get("always_changed"):
            continue
        listed = [dep for dep in entry.get("deps", []) if is_code(dep)]
        runs = stage_code(f"workflow.stages.{name}", path.parent)
        if listed != runs:
            wrong[name] = " ".join(d for d in difflib.ndiff(listed, runs) if d[0] in "+-")
    return wrong


def write_code_deps(path: Path = DVC_FILE) -> None:
    """Put each stage's code into its ``deps`` in ``dvc.yaml``, before its data."""
    from ruamel.yaml import YAML  # keeps comments; for those who change the project alone

    editor = YAML()
    editor.width = 100
    editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(path)
    for name, entry in document["stages"].items():
        if "deps" not in entry:
            continue
        data = [dep for dep in entry["deps"] if not is_code(dep)]
        entry["deps"] = stage_code(f"workflow.stages.{name}", path.parent) + data
    with atomic_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        editor.dump(document, file)


def _file_of(module: str, root: Path) -> str | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    base = Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if (root / path).is_file():
            return path.as_posix()
    return None


def _packages_above(module: str) -> list[str]:
    """Return ``a`` and ``a.b`` for ``a.b.c``: what Python runs before it."""
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _calls_something(path: Path) -> bool:
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) for s in statements)


def _imported(path: Path) -> list[str]:
    """Return every module the file may import; ``from a import b`` may mean ``a.b`` or ``a``."""
    modules: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        waiting += ast.iter_child_nodes(node)
    return modules


def _main() -> None:
    parser = argparse.ArgumentParser(description="Compare dvc.yaml with the code its stages run.")
    parser.add_argument("--write", action="store_true", help="put the right lists into dvc.yaml")
    if parser.parse_args().write:
        write_code_deps()
    if wrong := wrong_code_deps():
        lines = [f"{name}: {difference}" for name, difference in wrong.items()]
        raise DataError(
            f"{DVC_FILE}: deps are not the code that runs; `python -m workflow.code --write` "
            "mends it\n" + "\n".join(lines)
        )


if __name__ == "__main__":
    run_command(_main)
