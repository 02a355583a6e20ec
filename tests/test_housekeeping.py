"""Facts that stand in two places and must agree."""

import ast
import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workflow.graph import load_stages

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def test_version() -> None:
    """CITATION.cff names the version of pyproject.toml."""
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_lock_names_no_address() -> None:
    """The lock file pins versions and hashes, and leaves the place they come from to the user."""
    assert "://" not in LOCK


def test_lock_pins_what_is_wanted() -> None:
    """Every dependency of pyproject.toml, of the extras too, is pinned within its bounds."""
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.MULTILINE))
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names]
    for wanted in map(Requirement, PROJECT["dependencies"] + extras):
        if wanted.name != PROJECT["name"]:
            assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_readme_lists_the_stages() -> None:
    """The README's table of stages is that of dvc.yaml, in its order."""
    readme = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| ([a-z]+) \| `", readme, re.MULTILINE)
    assert listed == [stage.name for stage in load_stages(ROOT / "dvc.yaml")]


def test_help_keeps_its_lines() -> None:
    """Where `--help` shows a module's docstring, a command in it stays on a line of its own."""
    for path in [*ROOT.glob("workflow/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        commands = re.findall(r"^ *(?:\w+=\S+ )?python -m", docstring, re.MULTILINE)
        if commands and re.search(r"description=__doc__(?!\.)", text):
            assert "formatter_class=argparse.RawTextHelpFormatter" in text, path


def test_stage_numbers_differ() -> None:
    """No two stages draw with one seed: the numbers they add to it are all different."""
    files = [file for folder in ("pconv", "workflow") for file in (ROOT / folder).rglob("*.py")]
    code = "\n".join(file.read_text() for file in files)
    numbers = re.findall(r"^\w*STAGE_NUMBER = (\d+)", code, re.MULTILINE)
    assert len(numbers) >= 5
    assert len(set(numbers)) == len(numbers)


def test_usage_reports_are_off() -> None:
    """DVC's and MLflow's usage reports are off in what the project runs."""
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()
    assert "MLFLOW_DISABLE_TELEMETRY := true" in (ROOT / "Makefile").read_text()
