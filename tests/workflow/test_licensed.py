"""Photographs are chosen by licence, whole and by content."""

import csv
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from pconv.errors import DataError
from workflow.licensed import COLUMNS, PHOTOS_TABLE, choose, copy_chosen, read_sources

STANDIN = Path(os.environ.get("PCONV_STANDIN", "../shared/icme_standin"))
FILES = {"0.jpg": b"free", "1.jpg": b"not free", "2.jpg": b"also free", "3.jpg": b"doubtful"}
ROWS = [
    ("train/0.jpg", "permissive", b"free"),
    ("train/1.jpg", "non-commercial", b"not free"),
    ("train/2.jpg", "permissive", b"also free"),
    ("train/3.jpg", "permissive", b"doubtful"),
    ("train/4.jpg", "non-commercial", b"doubtful"),
    ("val_gt/0.png", "permissive", b"elsewhere"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small table of sources."""
    path = tmp_path / "SOURCES.tsv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "tier"], delimiter="\t", restval="x")
        writer.writeheader()
        for name, tier, content in ROWS:
            digest = hashlib.sha256(content).hexdigest()
            writer.writerow({"file": name, "tier": tier, "file_sha256": digest})
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The photographs under other names, in a zip archive."""
    path = tmp_path / "train_img.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in FILES.items():
            file.writestr(f"train_img/{name}", content)
    return path


class TestChoose:
    """The rows of one tier."""

    def test_values(self, table: Path) -> None:
        """Group and tier both count; content under two licences is judged by the stricter."""
        chosen = choose(read_sources(table), "train", "permissive")
        assert [row["file"] for row in chosen.values()] == ["train/0.jpg", "train/2.jpg"]

    def test_raises(self, table: Path) -> None:
        """A tier that does not exist is answered with those that do."""
        with pytest.raises(DataError, match="'free'; the tiers are: non-commercial, permissive"):
            choose(read_sources(table), "train", "free")
        with pytest.raises(DataError, match="no file of val/ is of the tier"):
            choose(read_sources(table), "val", "permissive")


class TestReadSources:
    """The table."""

    def test_raises(self, tmp_path: Path) -> None:
        """A table without a column, and no table at all, are refused."""
        path = tmp_path / "t.tsv"
        with pytest.raises(DataError, match="not a readable table"):
            read_sources(path)
        path.write_text("file\ttier\n")
        with pytest.raises(DataError, match="no column file_sha256, flickr_url"):
            read_sources(path)


class TestCopyChosen:
    """The folder of chosen photographs."""

    def test_values(self, table: Path, archive: Path, tmp_path: Path) -> None:
        """It holds the chosen bytes and a table that names each one's licence."""
        copy_chosen(archive, choose(read_sources(table), "train", "permissive"), tmp_path / "out")
        found = {path.name: path.read_bytes() for path in (tmp_path / "out/photos").iterdir()}
        assert found == {"0.jpg": b"free", "2.jpg": b"also free"}
        lines = (tmp_path / "out" / PHOTOS_TABLE).read_text().splitlines()
        assert lines[0].split("\t") == list(COLUMNS)
        assert [line.split("\t")[0] for line in lines[1:]] == ["train/0.jpg", "train/2.jpg"]

    def test_folder(self, table: Path, archive: Path, tmp_path: Path) -> None:
        """An unpacked folder does as well."""
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path / "unpacked")
        chosen = choose(read_sources(table), "train", "permissive")
        copy_chosen(tmp_path / "unpacked", chosen, tmp_path / "out")
        assert len(list((tmp_path / "out/photos").iterdir())) == 2

    def test_raises(self, table: Path, archive: Path, tmp_path: Path) -> None:
        """A chosen file that is not there is an error, and nothing is left."""
        chosen = choose(read_sources(table), "val_gt", "permissive")
        with pytest.raises(DataError, match=r"1 chosen files are not there \(first: val_gt/0"):
            copy_chosen(archive, chosen, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.standin
    @pytest.mark.skipif(
        not (STANDIN / "SOURCES.tsv").is_file(), reason="PCONV_STANDIN names no stand-in archives"
    )
    def test_standin(self, tmp_path: Path) -> None:
        """Of the stand-in's 1541 training photographs 992 are permissively licensed."""
        chosen = choose(read_sources(STANDIN / "SOURCES.tsv"), "train", "permissive")
        copy_chosen(STANDIN / "train_img.zip", chosen, tmp_path / "out")
        assert len(list((tmp_path / "out/photos").iterdir())) == len(chosen) == 992
