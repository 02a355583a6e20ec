"""Facts that stand in two places and must agree."""

import re
import tomllib
from pathlib import Path

import yaml

from workflow.graph import load_stages

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version() -> None:
    """CITATION.cff names the version of pyproject.toml."""
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_lock_names_no_address() -> None:
    """The lock file pins versions and hashes, and leaves the place they come from to the user."""
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    wanted = {re.split(r"[<>=\[ ]", name)[0].lower() for name in PROJECT["dependencies"]}
    assert wanted <= pinned


def test_readme_lists_the_stages() -> None:
    """The README's table of stages is that of dvc.yaml, in its order."""
    readme = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| ([a-z]+) \| `", readme, re.MULTILINE)
    assert listed == [stage.name for stage in load_stages(ROOT / "dvc.yaml")]


def test_usage_reports_are_off() -> None:
    """DVC's and MLflow's usage reports are off in what the project runs."""
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()
    assert "MLFLOW_DISABLE_TELEMETRY := true" in (ROOT / "Makefile").read_text()
