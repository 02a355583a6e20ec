"""`docs/paper.md`: what it names is there."""

import re
from importlib import import_module

import pytest

from tests.project_copy import ROOT

PAGE = (ROOT / "docs/paper.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:pconv|workflow)(?:\.\w+)+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:tests|presets|docs)/[\w/.]+)`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    """Each name is a module, or something in one."""
    module, found = name, []
    while True:
        try:
            thing = import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            found.insert(0, last)
    for attribute in found:
        thing = getattr(thing, attribute)


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    """Each file is there."""
    assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    "item",
    [*(f"eq. {n}" for n in (1, 2, "3 and 4", 5, 6, 7, 8)), "Figure 4", "Table 1", "Table 2"],
)
def test_items(item: str) -> None:
    """Each equation and table of the paper, and its network, has a row."""
    assert re.search(rf"^\| {item}\b", PAGE, re.MULTILINE)
