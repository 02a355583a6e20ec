"""Hostile archives: the stage `download` refuses them by name, and nothing is left of them."""

import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import pictures
from tests.hostile.commands import BAD_INPUT, stage
from tests.hostile.conftest import Note, small_params, write_params
from tests.workflow.test_archives import KINDS, packed, tar_entry

AREA = "Archives"
REFUSED = "refused by name, one line, status 2"
PHOTO = pictures.encoded(pictures.smooth(), "PNG")
TRAIN = packed("zip", [(f"train_img/{n}.png", PHOTO) for n in range(3)])


def validation(*more: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    """Return what the archive of validation photos holds, and more."""
    mask = pictures.encoded(pictures.known(), "PNG")
    root = "valid_img/data_png"
    return [
        (f"{root}/valid_img/0.png", pictures.encoded(pictures.smooth(seed=9), "PNG")),
        (f"{root}/error_concealment_valid/0/0_0.png", mask),
        (f"{root}/object_removal_valid/0/0_0.png", mask),
        *more,
    ]


def zip_of_a_link() -> bytes:
    """Return a zip whose member is a symbolic link."""
    content = bytearray(packed("zip", [("0.png", b"/etc/passwd")]))
    place = content.index(b"PK\x01\x02")
    content[place + 38 : place + 42] = ((stat.S_IFLNK | 0o777) << 16).to_bytes(4, "little")
    content[place + 5] = 3  # made on Unix, or the mode would not count
    return bytes(content)


def cut(kind: str, tenths: int) -> bytes:
    """Return the first tenths of an archive; the zeros that fill a tar's last block don't count."""
    content = packed(kind, validation())
    return content[: len(content.rstrip(b"\0")) * tenths // 10]


HOSTILE: list[tuple[str, bytes]] = [
    *[
        (what, packed(kind, validation((name, PHOTO))))
        for kind in KINDS
        for what, name in [
            ("a path upwards", "../../outside.png"),
            ("an absolute path", "/tmp/outside.png"),
            ("a drive letter", "C:\\outside.png"),
            ("names that collide", "valid_img/data_png/valid_img/0.PNG"),
            ("a name of control characters", "valid_img/\x07.png"),
            ("a name too long", "x" * 200 + ".png"),
            ("folders too deep", "d/" * 40 + "0.png"),
        ]
    ],
    *[("more bytes than allowed", packed(kind, [("0.png", bytes(3_000_000))])) for kind in KINDS],
    *[
        ("more files than allowed", packed(kind, [(f"{n}", b"") for n in range(300)]))
        for kind in KINDS
    ],
    *[
        ("links and devices", tar_entry("0.png", kind, link="/etc/passwd"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    ],
    ("links and devices", zip_of_a_link()),
    ("a header of gigabytes", tar_entry("x", tarfile.XHDTYPE, size=2**32)),
    ("no archive", b"<!DOCTYPE html>not found"),
    ("no archive", b""),
    *[("cut at every tenth", cut(kind, n)) for kind in KINDS for n in range(10)],
    ("nothing of what is looked for", packed("zip", [("readme.txt", b"hello")])),
    ("nothing of what is looked for", packed("zip", [])),
]


@pytest.mark.parametrize(
    ("what", "content"), HOSTILE, ids=[f"{n}-{one[0]}" for n, one in enumerate(HOSTILE)]
)
def test_download(
    what: str, content: bytes, project: Path, unchanged: Callable[[], None], note: Note
) -> None:
    """The stage names the archive and why; the raw data of before stays, and nothing else."""
    params = small_params()
    params["download"] |= {
        "source": "icme",
        "icme_train": ["train.zip"],
        "icme_valid": ["valid.bin"],
        "max_files": 200,
        "max_bytes": 2_000_000,
        "max_file_bytes": 1_000_000,
    }
    write_params(project, params)
    (project / "train.zip").write_bytes(TRAIN)
    (project / "valid.bin").write_bytes(content)
    unchanged()
    answer = stage("download")
    assert answer.status == BAD_INPUT, answer.said
    assert "Traceback" not in answer.said
    assert len(answer.errors) == 1, answer.said
    assert "valid.bin" in answer.said or "icme_valid" in answer.said or "wanted one" in answer.said
    note(AREA, what, REFUSED)


def test_good_one(project: Path) -> None:
    """The same archive without the spoilt member is taken: the tests above test what they say."""
    params = small_params()
    params["download"] |= {"source": "icme", "icme_train": ["a"], "icme_valid": ["b"]}
    write_params(project, params)
    (project / "a").write_bytes(TRAIN)
    (project / "b").write_bytes(packed("tar.gz", validation()))
    answer = stage("download")
    assert answer.status == 0, answer.said
    assert (project / "data/raw/valid/ec/0/0_0.png").is_file()
