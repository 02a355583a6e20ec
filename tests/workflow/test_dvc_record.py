"""What DVC recorded: read whole, or not at all."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import dump_yaml

from tests.project_copy import ROOT
from workflow.dvc_hash import dvc_hash
from workflow.dvc_record import recorded_section, recorded_stages, tell_unrecorded
from workflow.graph import all_outputs, load_stages
from workflow.params import read_params

OWN = ROOT / "dvc.lock"
OWN_PARAMS = ROOT / "presets/tiny.yaml"


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


class TestTellUnrecorded:
    """What is said after a run of Snakemake, of what DVC knows."""

    @pytest.fixture(autouse=True)
    def _project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder whose results, and only those, lie there, all recorded."""
        self.stages, self.params = load_stages(ROOT / "dvc.yaml"), read_params(OWN_PARAMS)
        monkeypatch.chdir(tmp_path)
        now = self.params.model_dump(mode="json")
        results = self.stages[-1].outputs
        for name in results:
            path = Path(name) / "file" if name.endswith("/") else Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        self.record = {
            stage.name: {"cmd": "python", "params": {"params.yaml": {stage.name: now[stage.name]}}}
            for stage in self.stages
        }
        outs = [{"path": name, "md5": dvc_hash(Path(name))} for name in results]
        self.record[self.stages[-1].name]["outs"] = outs
        self.write()

    def write(self) -> None:
        """Write what DVC records."""
        dump_yaml("dvc.lock", {"schema": "2.0", "stages": self.record})

    def told(self, caplog: pytest.LogCaptureFixture, *names: str) -> list[str]:
        """Return what is said after a run that made some of the stages; without names all."""
        made = [s for s in self.stages if s.name in names or not names]
        caplog.clear()
        tell_unrecorded(self.stages, [p for s in made for p in all_outputs(s)], self.params)
        return [record.getMessage() for record in caplog.records]

    def test_quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing where it agrees, nor of a stage that was not to be made, or in part only."""
        assert not self.told(caplog)
        shutil.rmtree("reports")
        self.record["masks"]["params"]["params.yaml"]["masks"]["seed"] += 1
        self.write()
        assert not self.told(caplog, "download", "augment")
        tell_unrecorded(self.stages, ["data/masks/train/0000"], self.params)
        assert not caplog.records

    def test_names(self, caplog: pytest.LogCaptureFixture) -> None:
        """What was not to be made may be older than its data: the command leaves it out."""
        self.record["masks"]["params"]["params.yaml"]["masks"]["seed"] += 1
        self.write()
        (line,) = self.told(caplog, "download", "masks", "sample")
        assert "`dvc commit --force download masks sample`" in line
        (line,) = self.told(caplog)
        assert "`dvc commit --force`" in line

    def test_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """One line for other results, other parameters, no stage and no record."""
        page = Path("reports/index.html")
        page.write_text("other")
        (line,) = self.told(caplog)
        assert line.startswith("dvc.lock does not record")
        assert "`dvc commit --force`" in line
        page.write_text("reports/index.html")
        assert not self.told(caplog)
        self.record["train"]["params"]["params.yaml"]["train"]["epochs"] += 1
        self.record["masks"]["params"]["params.yaml"]["masks"]["seed"] += 1
        self.write()
        assert len(self.told(caplog)) == 1
        del self.record["report"]
        self.write()
        assert len(self.told(caplog)) == 1
        Path("dvc.lock").unlink()
        assert len(self.told(caplog)) == 1
