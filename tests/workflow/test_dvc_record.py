"""What DVC recorded: read whole, or not at all."""

from pathlib import Path

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import dump_yaml

from tests.project_copy import ROOT
from workflow.dvc_record import recorded_section, recorded_stages

OWN = ROOT / "dvc.lock"


def test_own() -> None:
    """The project's own record is whole, the stage without outputs among it."""
    stages = recorded_stages(OWN)
    assert stages is not None
    assert stages == yaml.safe_load(OWN.read_text())["stages"]
    assert recorded_section(stages["train"], "train")["epochs"] == 4
    assert recorded_section(stages["check"], "check") is None


@pytest.mark.parametrize("start", range(20))
def test_cut(tmp_path: Path, start: int) -> None:
    """Of a record that is cut short, what passes for whole is at least no file that stops DVC."""
    text, path, whole = OWN.read_text(), tmp_path / "dvc.lock", 0
    for length in range(997 * start, len(text), 20 * 997):
        path.write_text(text[:length])
        if recorded_stages(path) is not None:
            whole += 1
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(path.read_text()))
    assert whole <= 1  # a cut falls between two stages, or into a number, seldom


def test_small_numbers(tmp_path: Path) -> None:
    """A number that DVC writes without a point, 1e-05, is a number."""
    path = tmp_path / "dvc.lock"
    stage = {"cmd": "python", "params": {"params.yaml": {"train": {"learning_rate": 1e-5}}}}
    dump_yaml(path, {"schema": "2.0", "stages": {"train": stage}})
    assert "1e-05" in path.read_text()
    stages = recorded_stages(path)
    assert stages is not None
    assert recorded_section(stages["train"], "train") == {"learning_rate": 1e-5}


@pytest.mark.parametrize("content", [None, "", "stages: 3", "stages: {a: {outs: []}}", "{", "[]"])
def test_none(tmp_path: Path, content: str | None) -> None:
    """What is no record is none."""
    if content is not None:
        (tmp_path / "dvc.lock").write_text(content)
    assert recorded_stages(tmp_path / "dvc.lock") is None
