"""The hash under which DVC records files and folders."""

import shutil
from pathlib import Path

import pytest

from pconv.errors import DataError
from tests.workflow.reporting.project import Project
from workflow.dvc_hash import dvc_hash


class TestDvcHash:
    """`dvc_hash`."""

    def test_values(self, project: Project) -> None:
        """Files and folders hash to what DVC records for them."""
        localfs = pytest.importorskip("dvc_objects.fs.local")
        build = pytest.importorskip("dvc_data.hashfile.build").build
        database = pytest.importorskip("dvc_data.hashfile.db").HashFileDB
        files = localfs.LocalFileSystem()
        odb = database(files, str(project.root / "cache"))
        (project.root / "raw/.snakemake_timestamp").touch()
        unfinished = project.root / "raw/.a.partial-1"
        unfinished.mkdir()
        (unfinished / "b.png").touch()
        ours = dvc_hash(project.root / "raw")
        (project.root / "raw/.snakemake_timestamp").unlink()
        shutil.rmtree(unfinished)
        for name, found in (("raw", ours), ("sample.csv", None)):
            path = project.root / name
            _, _, built = build(odb, str(path), files, "md5", dry_run=True)
            assert (found or dvc_hash(path)) == built.hash_info.value

    def test_raises(self, tmp_path: Path) -> None:
        """What is not there has no hash."""
        with pytest.raises(DataError, match="not found"):
            dvc_hash(tmp_path / "nothing")
