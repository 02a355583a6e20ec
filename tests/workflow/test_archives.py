"""Archives are hostile: nothing is written outside the target, nothing hangs, all is named."""

import gzip
import io
import stat
import struct
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pconv.errors import ArchiveError
from workflow.sources.archives import Limits, archive_kind, unpack

LIMITS = Limits(max_files=50, max_bytes=100_000, max_file_bytes=50_000)
KINDS = ["zip", "tar", "tar.gz"]
Members = list[tuple[str, bytes]]


def packed(kind: str, members: Members) -> bytes:
    """An archive of a kind with plain files of these names and contents."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "tar.gz" else "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def tar_entry(name: str, kind: bytes, *, size: int = 0, link: str = "") -> bytes:
    """A tar archive with one member that is no plain file."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, link
    return entry.tobuf() + bytes(1024)


def unpack_bytes(content: bytes, folder: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    """Unpack into ``folder/inside`` and return what is there; nothing else may appear."""
    (folder / "inside").mkdir()
    (folder / "archive").write_bytes(content)
    try:
        unpack(folder / "archive", folder / "inside", limits)
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["archive", "inside"]
    return {
        path.relative_to(folder / "inside").as_posix(): path.read_bytes()
        for path in (folder / "inside").rglob("*")
        if path.is_file()
    }


class TestArchiveKind:
    """The contracts of ``archive_kind``."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_values(self, tmp_path: Path, kind: str) -> None:
        """An archive is known by its bytes, whatever it is called."""
        path = tmp_path / "new_valid_img 1.bin"
        path.write_bytes(packed(kind, [("a", b"1")]))
        assert archive_kind(path) == kind.removesuffix(".gz")

    @pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b", b"PK"])
    def test_others(self, tmp_path: Path, content: bytes) -> None:
        """A web page, an empty or a broken file is no archive; neither is a missing one."""
        path = tmp_path / "train_img.zip"
        path.write_bytes(content)
        assert archive_kind(path) is None
        assert archive_kind(tmp_path / "missing.zip") is None


class TestUnpack:
    """The contracts of ``unpack``."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_values(self, tmp_path: Path, kind: str) -> None:
        """Every file comes out with its content; Windows separators and ``./`` are understood."""
        members = [("a/0.jpg", b"zero"), ("./a/1.jpg", b""), ("a\\b\\2.jpg", b"2" * 20_000)]
        found = unpack_bytes(packed(kind, members), tmp_path)
        assert found == {"a/0.jpg": b"zero", "a/1.jpg": b"", "a/b/2.jpg": b"2" * 20_000}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            (["/etc/passwd"], "absolute"),
            (["C:\\boot.ini"], "absolute"),
            (["\\\\server\\share"], "absolute"),
            (["../outside"], r"'\.\.'"),
            (["a/../../outside"], r"'\.\.'"),
            (["a\\..\\..\\outside"], r"'\.\.'"),
            (["a/0.JPG", "A/0.jpg"], "collides"),
            (["a/\u00e9.jpg", "a/e\u0301.jpg"], "collides"),
            (["a", "a/b"], "collides"),
            (["a/b", "A"], "collides"),
            (["a/\x07.jpg"], "control characters"),
            (["x" * 129], "longer than 128 bytes"),
            (["d/" * 40 + "x"], "folders deep"),
        ],
    )
    def test_bad_names(self, tmp_path: Path, kind: str, names: list[str], reason: str) -> None:
        """A name that could overwrite, escape or mislead refuses the archive by that name."""
        content = packed(kind, [(name, b"x") for name in names])
        with pytest.raises(ArchiveError, match=f"refused because of its member .*{reason}"):
            unpack_bytes(content, tmp_path)

    @pytest.mark.parametrize("kind", KINDS)
    def test_limits(self, tmp_path: Path, kind: str) -> None:
        """Too many files, too many bytes and too large a file are each refused."""
        cases = {
            "files": [(f"{number}", b"") for number in range(51)],
            "bytes": [(f"{number}", bytes(30_000)) for number in range(4)],
            "file": [("large.jpg", bytes(50_001))],
        }
        reasons = {"files": "50 files", "bytes": "over 100000 bytes", "file": "50001 bytes"}
        for name, members in cases.items():
            (tmp_path / name).mkdir()
            with pytest.raises(ArchiveError, match=reasons[name]):
                unpack_bytes(packed(kind, members), tmp_path / name)

    @pytest.mark.parametrize(
        "kind",
        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    )
    def test_links_and_devices_in_tar(self, tmp_path: Path, kind: bytes) -> None:
        """Only plain files and folders are taken from a tar."""
        with pytest.raises(ArchiveError, match=r"'0\.jpg': it is a link, a device or sparse"):
            unpack_bytes(tar_entry("0.jpg", kind, link="/etc/passwd"), tmp_path)

    @pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
    def test_links_and_devices_in_zip(self, tmp_path: Path, mode: int) -> None:
        """Only plain files and folders are taken from a zip."""
        entry = zipfile.ZipInfo("0.jpg")
        entry.external_attr = (mode | 0o777) << 16
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(entry, "/etc/passwd")
        with pytest.raises(ArchiveError, match=r"'0\.jpg': it is a link or a device"):
            unpack_bytes(buffer.getvalue(), tmp_path)

    def test_encrypted(self, tmp_path: Path) -> None:
        """An encrypted member is refused by name."""
        content = bytearray(packed("zip", [("0.jpg", b"x")]))
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
        with pytest.raises(ArchiveError, match=r"'0\.jpg': it is encrypted"):
            unpack_bytes(bytes(content), tmp_path)

    def test_more_than_declared(self, tmp_path: Path) -> None:
        """A zip bomb that declares 10 bytes and holds 40000 is refused, and little is written."""
        content = bytearray(packed("zip", [("bomb.jpg", bytes(40_000))]))
        directory = content.index(b"PK\x01\x02")
        struct.pack_into("<I", content, 22, 10)
        struct.pack_into("<I", content, directory + 24, 10)
        with pytest.raises(ArchiveError, match=r"bomb\.jpg"):
            unpack_bytes(bytes(content), tmp_path)
        assert sum(path.stat().st_size for path in (tmp_path / "inside").iterdir()) <= 10

    def test_less_than_declared(self, tmp_path: Path) -> None:
        """A truncated tar is an error, not a shorter photo."""
        content = packed("tar", [("0.jpg", bytes(5000))])[:3000]
        with pytest.raises(ArchiveError, match=r"damaged|declares 5000"):
            unpack_bytes(content, tmp_path)

    def test_many_entries_are_not_even_listed(self, tmp_path: Path) -> None:
        """A directory of too many entries is refused before objects are made of them."""
        content = packed("zip", [("a", b"")]) + b"PK\x01\x02" * 60
        with pytest.raises(ArchiveError, match="more than the 50 files"):
            unpack_bytes(content, tmp_path)

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_endless_header(self, tmp_path: Path, kind: bytes) -> None:
        """A tar header that claims gigabytes is refused before it is read."""
        content = gzip.compress(tar_entry("x", kind, size=2**32) + bytes(2**21))
        with pytest.raises(ArchiveError, match="a header of"):
            unpack_bytes(content, tmp_path, replace(LIMITS, max_bytes=2**33))

    def test_many_headers(self, tmp_path: Path) -> None:
        """Headers that announce headers are refused before they fill the memory, one by one."""
        header = tar_entry("x", tarfile.XHDTYPE, size=2**19)[: tarfile.BLOCKSIZE] + bytes(2**19)
        content = gzip.compress(header * 3 + tar_entry("0.jpg", tarfile.REGTYPE))
        with pytest.raises(ArchiveError, match="a header of"):
            unpack_bytes(content, tmp_path, replace(LIMITS, max_bytes=2**30))

    def test_long_names(self, tmp_path: Path) -> None:
        """Headers that long names need are none of those, however many members have one."""
        names = [f"{'folder' * 15}/{'photo' * 12}{number}.jpg" for number in range(40)]
        content = packed("tar", [(name, b"pixels") for name in names])
        assert unpack_bytes(content, tmp_path) == dict.fromkeys(names, b"pixels")

    def test_backwards(self, tmp_path: Path) -> None:
        """A member of negative size does not send the reader round in circles."""
        entry = bytearray(tarfile.TarInfo("0.jpg").tobuf())
        entry[124:136] = b"\xff" * 4 + (-2048).to_bytes(8, "big", signed=True)
        entry[148:156] = b" " * 8
        entry[148:156] = f"{sum(entry):06o}\0 ".encode()
        with pytest.raises(ArchiveError):
            unpack_bytes(bytes(entry) * 4, tmp_path)

    @pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + bytes(99)])
    def test_no_archive(self, tmp_path: Path, content: bytes) -> None:
        """A file that is no archive, or only begins as one, is named."""
        with pytest.raises(ArchiveError, match=r"no archive|can't be unpacked"):
            unpack_bytes(content, tmp_path)

    @settings(deadline=None, max_examples=150)
    @given(st.data(), st.sampled_from(KINDS))
    def test_fuzz(self, data: st.DataObject, kind: str) -> None:
        """Whatever bytes are changed: files below the target, or a named error."""
        content = bytearray(packed(kind, [("a/0.jpg", b"zero" * 50), ("b.jpg", b"1")]))
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        if kind == "tar":  # a right checksum lets the changes through to the reader
            content[148:156] = b" " * 8
            content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
        with tempfile.TemporaryDirectory() as folder, suppress(ArchiveError):
            unpack_bytes(bytes(content), Path(folder))

    # zipfile cuts names at a NUL, so two of the drawn ones may become one: all the better.
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.text(max_size=12), max_size=4, unique=True), st.sampled_from(KINDS))
    @example(names=["", "\0"], kind="zip")
    def test_fuzz_names(self, names: list[str], kind: str) -> None:
        """Whatever the members are called: files below the target, or a named error."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                content = packed(kind, [(name, b"x") for name in names])
            except ValueError:
                return  # a name that Python can't pack
            with suppress(ArchiveError):
                unpack_bytes(content, Path(folder))
