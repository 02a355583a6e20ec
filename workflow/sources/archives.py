"""Unpack archives that are hostile until proven otherwise.

Every member is judged by its name, kind and size before it is written; the first bad one refuses
the whole archive, by name. Whoever calls gives a temporary folder and removes it on an error.
"""

import gzip
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from pconv.errors import ArchiveError, PConvError
from workflow.sources.names import flaw_in_name, folded

_CHUNK = 1 << 20
_MAX_DEPTH = 32
_TAR_BLOCK = 512
_TAR_MAGIC = (b"ustar", 257)
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_ENTRY = b"PK\x01\x02"
_ZIP_ENCRYPTED = 0x1
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        max_files: Members, folders included.
        max_bytes: Unpacked bytes of all members together.
        max_file_bytes: Unpacked bytes of one member.
    """

    max_files: int
    max_bytes: int
    max_file_bytes: int


def archive_kind(path: Path) -> Literal["zip", "tar"] | None:
    """Tell by its first bytes whether a file is a zip or a tar (gzipped or not) archive."""
    try:
        with path.open("rb") as file:
            head = file.read(_TAR_BLOCK)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unpacked:
                head = unpacked.read(_TAR_BLOCK)
    except (OSError, EOFError, zlib.error):
        return None
    if head.startswith(_ZIP_STARTS):
        return "zip"
    magic, offset = _TAR_MAGIC
    return "tar" if head[offset:].startswith(magic) else None


def unpack(archive: Path, target: Path, limits: Limits) -> None:
    """Unpack a zip, tar or tar.gz file into an existing empty folder.

    Args:
        archive: The file; its name does not matter, its first bytes say what it is.
        target: A temporary folder; nothing is written outside it.
        limits: What is too much.

    Raises:
        ArchiveError: If the archive is damaged, over a limit, or has a member with an absolute
            path, a path upwards, a name that collides with another when case is ignored, more
            bytes than it declares, or that is a link, a device or encrypted.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise ArchiveError(f"{archive}: no archive; wanted a zip, tar or tar.gz file")
    try:
        if kind == "zip":
            _unpack_zip(archive, target, limits)
        else:
            _unpack_tar(archive, target, limits)
    except PConvError:
        raise
    except Exception as error:  # the readers raise whatever a damaged archive leads them to
        raise ArchiveError(
            f"{archive}: can't be unpacked ({type(error).__name__}: {error}); "
            "it may be damaged: fetch it again"
        ) from error


class _Gate:
    """Judges the members of one archive, one after the other."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._count = 0
        self._bytes = 0
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def refusal(self, name: str, reason: str) -> ArchiveError:
        """Return the error that refuses the archive because of one member."""
        return ArchiveError(
            f"{self._archive}: refused because of its member {name[:200]!r}: {reason}"
        )

    def admit(self, name: str, size: int, *, folder: bool) -> Path:
        """Return the safe relative path of a member, or refuse the archive."""
        self._weigh(name, size)
        parts = self._parts(name, folder=folder)
        keys = [folded("/".join(parts[: depth + 1])) for depth in range(len(parts))]
        parents = keys if folder else keys[:-1]
        taken = self._files.intersection(parents)
        if not folder:
            taken |= {keys[-1]} & (self._files | self._folders)
        if taken:
            raise self.refusal(name, "its name collides with another's when case is ignored")
        self._folders.update(parents)
        if not folder:
            self._files.add(keys[-1])
        return Path(*parts)

    def _weigh(self, name: str, size: int) -> None:
        self._count += 1
        self._bytes += max(size, 0)
        limits = self._limits
        if self._count > limits.max_files:
            raise self.refusal(name, f"it is more than the {limits.max_files} files allowed")
        if not 0 <= size <= limits.max_file_bytes:
            raise self.refusal(
                name, f"it holds {size} bytes; at most {limits.max_file_bytes} are allowed"
            )
        if self._bytes > limits.max_bytes:
            raise self.refusal(
                name, f"with it the archive holds over {limits.max_bytes} bytes unpacked"
            )

    def _parts(self, name: str, *, folder: bool) -> list[str]:
        # Archives made on Windows may hold backslashes; as separators they can't hide a "..".
        path = name.replace("\\", "/")
        if path.startswith("/") or _DRIVE.match(path):
            raise self.refusal(name, "its path is absolute")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if len(parts) > _MAX_DEPTH:
            raise self.refusal(name, f"it lies more than {_MAX_DEPTH} folders deep")
        for part in parts:
            if flaw := flaw_in_name(part):
                raise self.refusal(name, flaw)
        if not parts and not folder:
            raise self.refusal(name, "it has no name")
        return parts


def _unpack_zip(archive: Path, target: Path, limits: Limits) -> None:
    _check_zip_directory(archive, limits)
    gate = _Gate(archive, limits)
    with zipfile.ZipFile(archive) as file:
        members = [(entry, _admit_zip_entry(gate, entry)) for entry in file.infolist()]
        for entry, path in members:
            if entry.is_dir():
                (target / path).mkdir(parents=True, exist_ok=True)
            else:
                with file.open(entry) as content:
                    _write(gate, content, target / path, entry.filename, entry.file_size)


def _check_zip_directory(archive: Path, limits: Limits) -> None:
    """Count the entries before ``zipfile`` makes an object of each, a gigabyte for a million."""
    entries, tail = 0, b""
    with archive.open("rb") as file:
        while chunk := file.read(_CHUNK):
            entries += (tail + chunk).count(_ZIP_ENTRY)
            tail = chunk[-len(_ZIP_ENTRY) + 1 :]
            if entries > limits.max_files:
                raise ArchiveError(
                    f"{archive}: refused because it holds more than the {limits.max_files} files "
                    "allowed"
                )


def _admit_zip_entry(gate: _Gate, entry: zipfile.ZipInfo) -> Path:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise gate.refusal(entry.filename, "it is a link or a device, not a file")
    if entry.flag_bits & _ZIP_ENCRYPTED:
        raise gate.refusal(entry.filename, "it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise gate.refusal(entry.filename, "its compression is neither stored nor deflated")
    return gate.admit(entry.filename, entry.file_size, folder=entry.is_dir())


def _unpack_tar(archive: Path, target: Path, limits: Limits) -> None:
    gate = _Gate(archive, limits)
    with _decompressed(archive) as stream:
        guarded = cast("IO[bytes]", _TarStream(archive, stream, limits))
        with tarfile.open(fileobj=guarded, mode="r:") as file:
            for entry in file:
                path = _admit_tar_entry(gate, entry)
                if entry.isdir():
                    (target / path).mkdir(parents=True, exist_ok=True)
                elif content := file.extractfile(entry):
                    _write(gate, content, target / path, entry.name, entry.size)


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(archive) if compressed else archive.open("rb") as stream:
        yield stream  # type: ignore[misc]  # GzipFile is read like any other stream


def _admit_tar_entry(gate: _Gate, entry: tarfile.TarInfo) -> Path:
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        raise gate.refusal(entry.name, "it is a link, a device or sparse, not a plain file")
    return gate.admit(entry.name, entry.size, folder=entry.isdir())


class _TarStream:
    """What ``tarfile`` reads from: forward only, in small pieces, and not without end.

    A tar header can declare itself gigabytes long, or send the reader backwards for ever.
    """

    def __init__(self, archive: Path, stream: IO[bytes], limits: Limits) -> None:
        self._archive = archive
        self._stream = stream
        # Each member has a header of a few blocks, and its content is padded to a whole one.
        self._end = limits.max_bytes + 8 * _TAR_BLOCK * (limits.max_files + 8)
        self._header = 0  # bytes of one so far

    def read(self, size: int) -> bytes:
        """Read at most one chunk, and no more than that before the next `seek`.

        ``tarfile`` seeks before each read of a member's content and before each member; what it
        reads in one go, in pieces or not, is a header and those that follow it.
        """
        if size < 0:
            raise ArchiveError(f"{self._archive}: refused because of a header of negative length")
        self._header += size
        if self._header > _CHUNK:
            raise ArchiveError(
                f"{self._archive}: refused because of a header of {self._header} bytes or more; "
                f"at most {_CHUNK} are allowed"
            )
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, position: int) -> None:
        """Skip forward."""
        self._header = 0
        if position < self._stream.tell():
            raise ArchiveError(f"{self._archive}: refused because a member points backwards")
        self._check(position)
        self._stream.seek(position)

    def tell(self) -> int:
        """Return the position in the unpacked stream."""
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._end:
            raise ArchiveError(
                f"{self._archive}: refused because it is over {self._end} bytes unpacked"
            )


def _write(gate: _Gate, content: IO[bytes], path: Path, name: str, declared: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("xb") as file:
        while chunk := content.read(_CHUNK):
            written += len(chunk)
            if written > declared:
                raise gate.refusal(name, f"it holds more than the {declared} bytes it declares")
            file.write(chunk)
    if written != declared:
        raise gate.refusal(name, f"it holds {written} bytes but declares {declared}")
