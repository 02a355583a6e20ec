"""The source itself: nothing unpickles, nothing is evaluated, no shell sees a user's words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.commands import ROOT
from tests.hostile.conftest import Note

AREA = "The source"
FOLDERS = ("pconv", "workflow", "benchmarks", "docs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {
    "eval": "evaluates text",
    "exec": "runs text",
    "compile": "compiles text",
    "__import__": "imports by text",
    "os.system": "hands text to a shell",
    "os.popen": "hands text to a shell",
    "subprocess.getoutput": "hands text to a shell",
    "subprocess.getstatusoutput": "hands text to a shell",
    "yaml.load": "makes objects from text",
    "yaml.unsafe_load": "makes objects from text",
    "yaml.full_load": "makes objects from text",
    "marshal.loads": "unmarshals",
    "shelve.open": "unpickles",
    "joblib.load": "unpickles",
    "pandas.read_pickle": "unpickles",
    "pickle.load": "unpickles",
    "pickle.loads": "unpickles",
    "pickle.Unpickler": "unpickles",
    "torch.jit.load": "runs what a file holds",
    "torch.hub.load": "runs what a file holds",
    "tempfile.mktemp": "names a file that another may make first",
}
# Arguments that must be there, and those that must not, with the value that makes the difference.
REQUIRED = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
FORBIDDEN_VALUES = {"shell": True, "allow_pickle": True, "verify": False, "trust_remote_code": True}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return what each name means that a module imports, ``os.system`` for ``from os import …``."""
    meant = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            meant |= {a.asname: a.name for a in node.names if a.asname}
            meant |= {(name := a.name.split(".")[0]): name for a in node.names if not a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            meant |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return meant


def sins(source: str) -> Iterator[str]:
    """Yield what in a module's source must not be."""
    tree = ast.parse(source)
    meant = imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = ast.unparse(node.func).partition(".")
        if first == "yaml" and "yaml" not in meant:
            continue  # ruamel's, which knows plain values only
        name = meant.get(first, first) + dot + rest
        given = {
            keyword.arg: keyword.value.value
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        }
        if name in FORBIDDEN:
            yield f"line {node.lineno}: {name} {FORBIDDEN[name]}"
        if name in REQUIRED and given.get(REQUIRED[name][0]) is not REQUIRED[name][1]:
            argument, value = REQUIRED[name]
            yield f"line {node.lineno}: {name} without {argument}={value}"
        for argument, value in FORBIDDEN_VALUES.items():
            if argument in given and given[argument] is value:
                yield f"line {node.lineno}: {name} with {argument}={value}"


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path)",
        "from numpy import load as read\nread(path)",
        "from os import system\nsystem(text)",
        "import pickle as p\np.loads(text)",
        "import os.path\nos.system(text)",
        "subprocess.run(text, shell=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "pickle.loads(text)",
        "requests.get(url, verify=False)",
    ],
)
def test_finds(source: str) -> None:
    """The search finds what it is there to find."""
    assert list(sins(source))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source(path: Path, note: Note) -> None:
    """No module does what could run a stranger's words."""
    assert list(sins(path.read_text(encoding="utf-8"))) == []
    note(AREA, "no unpickling, no eval, no shell, in every module", "none found")


def test_pickle_is_not_imported() -> None:
    """`pickle` is imported for the name of its error alone."""
    users = [path for path in FILES if "import pickle" in path.read_text(encoding="utf-8")]
    for path in users:
        words = [word for word in path.read_text(encoding="utf-8").split() if "pickle." in word]
        assert all("pickle.UnpicklingError" in word for word in words), path


def test_shell_of_snakemake() -> None:
    """The rules' one shell command is that of dvc.yaml and a log's path: no user's words."""
    commands = [
        line.strip()
        for path in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")]
        for line in path.read_text().splitlines()
        if line.strip().startswith(('"{params', "'{params"))
    ]
    assert commands
    for command in commands:
        names = {part.split("}")[0] for part in command.replace("{{", "").split("{")[1:]}
        assert names <= {"params.command", "log"}, command
