"""The training logs as the report reads them."""

from pathlib import Path

import pytest

from pconv.errors import DataError
from tests.workflow.reporting.project import Project
from workflow.reporting.curves import read_curves


class TestReadCurves:
    """The training logs."""

    def test_two_networks(self, project: Project) -> None:
        """The plain network's columns stand beside the first one's."""
        log = (project.root / "models/pconv/log.jsonl").read_text()
        (project.root / "models/plain").mkdir()
        (project.root / "models/plain/log.jsonl").write_text(log.splitlines()[0] + "\n")
        curves = read_curves(project.inputs.models)
        assert curves["plain_train_total"].dropna().tolist() == [3]
        assert len(curves) == 3

    def test_logged_twice(self, project: Project) -> None:
        """Of an epoch that a resumed training logged twice the later line stands."""
        path = project.root / "models/pconv/log.jsonl"
        path.write_text(path.read_text() + '{"epoch": 2, "total": 9}\n')
        curves = read_curves(project.inputs.models)
        assert curves["epoch"].tolist() == [1, 2, 3]
        assert curves["train_total"].tolist() == [3, 9, 1]

    @pytest.mark.parametrize("line", ["{", "[1]", '{"total": 1}', '{"epoch": 4, "total": "x"}'])
    def test_damaged_raises(self, project: Project, line: str) -> None:
        """A damaged line is named by its number."""
        path = project.root / "models/pconv/log.jsonl"
        path.write_text(path.read_text() + line + "\n")
        with pytest.raises(DataError, match=r"log\.jsonl: line 4 is no record of an epoch"):
            read_curves(project.inputs.models)

    def test_none_raises(self, tmp_path: Path) -> None:
        """Without a log there is nothing to draw."""
        with pytest.raises(DataError, match=r"no \*/log\.jsonl"):
            read_curves(tmp_path)
