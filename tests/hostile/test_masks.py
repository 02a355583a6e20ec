"""Bad masks: refused by name wherever one is read, or accepted where the program says it does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import pictures
from tests.hostile.commands import Answer, check_refused, pconv, stage, tree_hash
from tests.hostile.conftest import Note, small_params, write_params

AREA = "Masks"
REFUSED = "refused by name, one line, status 2"
KNOWN = pictures.known()
GREY = np.where(KNOWN, 200, 30).astype(np.uint8)
COLOUR = np.where(KNOWN[..., None], 255, np.array([255, 0, 0])).astype(np.uint8)


def mostly_hole() -> np.ndarray:
    """Return a mask that means the opposite: white where the hole is."""
    return ~KNOWN


BAD: dict[str, tuple[str, bytes]] = {  # file name and content, by what is wrong
    "grey": ("bad.png", pictures.encoded(GREY, "PNG")),
    "values 0 and 1": ("bad.png", pictures.encoded(KNOWN.astype(np.uint8), "PNG")),
    "inverted": ("bad.png", pictures.encoded(mostly_hole(), "PNG")),
    "of another size": ("bad.png", pictures.encoded(pictures.known(30, 32), "PNG")),
    "turned by a quarter": ("bad.png", pictures.encoded(np.ascontiguousarray(KNOWN.T), "PNG")),
    "all hole": ("bad.png", pictures.encoded(np.zeros_like(KNOWN), "PNG")),
    "in colour": ("bad.png", pictures.encoded(COLOUR, "PNG")),
    "damaged by JPEG": ("bad.jpg", pictures.encoded(GREY, "JPEG", quality=30)),
    "cut in half": ("bad.bmp", pictures.encoded(GREY, "BMP")[:400]),
    "zero bytes": ("bad.png", b""),
    "text": ("bad.png", b"no mask"),
    "a decompression bomb": ("bad.png", pictures.bomb(60_000, 60_000)),
}


def fill(mask: str) -> Answer:
    """Fill the photo by a mask."""
    return pconv("fill", "photo.png", "-m", mask, "-o", "out/a.png", "--method", "telea")


def compare(mask: str) -> Answer:
    """Compare two methods by a mask."""
    return pconv("compare", "photo.png", "-m", mask, "-o", "out/b.png", "--methods", "mean,telea")


def measure(mask: str) -> Answer:
    """Measure two methods by a mask."""
    return pconv("measure", "photo.png", "-m", mask, "-o", "out/c.csv", "--methods", "mean,telea")


class TestCommands:
    """`pconv fill`, `pconv compare` and `pconv measure`."""

    @pytest.fixture(autouse=True)
    def _photo(self) -> None:
        Path("photo.png").write_bytes(pictures.encoded(pictures.smooth(), "PNG"))

    @pytest.mark.parametrize("command", [fill, compare, measure])
    @pytest.mark.parametrize("what", BAD)
    def test_refused(
        self,
        what: str,
        command: Callable[[str], Answer],
        unchanged: Callable[[], None],
        note: Note,
    ) -> None:
        """Every mask that is no mask of this photo is refused."""
        name, content = BAD[what]
        Path(name).write_bytes(content)
        unchanged()
        check_refused(command(name), name)
        note(AREA, what, REFUSED)

    @pytest.mark.parametrize("command", [fill, compare, measure])
    def test_missing(
        self, command: Callable[[str], Answer], unchanged: Callable[[], None], note: Note
    ) -> None:
        """A mask that is not there is named."""
        unchanged()
        check_refused(command("none.png"), "none.png")
        note(AREA, "missing", REFUSED)

    def test_all_known(self, note: Note) -> None:
        """A mask without a hole leaves the photo as it is."""
        Path("mask.png").write_bytes(pictures.encoded(np.ones_like(KNOWN), "PNG"))
        assert fill("mask.png").status == 0
        with Image.open("photo.png") as photo, Image.open("out/a.png") as filled:
            assert np.array_equal(np.asarray(photo), np.asarray(filled))
        note(AREA, "all known", "accepted: the photo stays as it is")

    def test_more_than_photos(self, note: Note) -> None:
        """Of many masks the one of the photo's name is taken; if none is, the photo is named."""
        mask = pictures.encoded(KNOWN, "PNG")
        for name in ("photo", "other", "third"):
            Path("masks").mkdir(exist_ok=True)
            Path(f"masks/{name}.png").write_bytes(mask)
        assert fill("masks").status == 0
        Path("masks/photo.png").unlink()
        check_refused(fill("masks"), "photo.png", "no mask of that name")
        note(AREA, "more masks than photos", "the photo's own is taken; without it refused", 2)


def into_folder(project: Path, name: str, content: bytes) -> str:
    """Let the masks stage read a folder of masks with a bad one among good ones."""
    params = small_params()
    params["masks"] |= {"kinds": ["folder"], "folder": "given"}
    params["sample"] |= {"pairs_per_generated_kind": 0}
    write_params(project, params)
    (project / "given").mkdir()
    (project / f"given/{name}").write_bytes(content)
    return "given"


def into_download(project: Path, name: str, content: bytes) -> str:
    """Let the download stage read photos with one bad mask among good ones."""
    params = small_params()
    params["download"] |= {"source": "folder", "folder_train": "photos", "folder_valid": "valid"}
    params["download"] |= {"folder_ec": "ec", "folder_or": ""}
    write_params(project, params)
    for folder, numbers in (("photos", range(4)), ("valid", range(10, 12))):
        (project / folder).mkdir()
        for number in numbers:
            photo = pictures.encoded(pictures.smooth(seed=number), "PNG")
            (project / folder / f"{number}.png").write_bytes(photo)
    (project / "ec/10").mkdir(parents=True)
    for number in range(3):
        (project / f"ec/10/10_{number}.png").write_bytes(pictures.encoded(KNOWN, "PNG"))
    (project / f"ec/10/10_bad{Path(name).suffix}").write_bytes(content)
    return "10_bad"


def into_place(*folders: str) -> Callable[[Path, str, bytes], str]:
    """Put the bad mask in the place of every mask in some folders of the pipeline."""

    def put(project: Path, name: str, content: bytes) -> str:
        for folder in folders:
            for file in sorted(project.glob(folder)):
                file.write_bytes(content)
        return ".png"

    return put


VALID = into_place("data/raw/valid/ec/*/*.png", "data/raw/valid/or/*/*.png")
GENERATED = into_place("data/masks/valid/*/*.png")
PLACES = {
    "download": into_download,
    "masks": into_folder,
    "train": into_place("data/masks/train/*/*.png"),
    "train (held-out)": into_place("data/masks/held_out/*/*.png"),
    "sample": VALID,
    "sample (generated)": GENERATED,
    "evaluate": VALID,
    "evaluate (generated)": GENERATED,
}
# Foreign masks come as JPEG, or smoothed: where they enter the pipeline they are made black and
# white at the middle, and a mask that has no hole at all is dropped by the stage `sample`.
ACCEPTED = {
    "download": {"grey", "damaged by JPEG", "all hole", "inverted", "values 0 and 1"},
    "masks": {"grey", "damaged by JPEG", "of another size", "turned by a quarter"},
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("what", BAD)
def test_stage(what: str, where: str, project: Path, note: Note) -> None:
    """Each stage that reads masks refuses a bad one by name, and leaves all as it was."""
    words = PLACES[where](project, *BAD[what])
    name = where.split()[0]
    before = tree_hash(project)
    answer = stage(name)
    if answer.status == 0 and what in ACCEPTED.get(name, ()):
        note(AREA, what, f"accepted by `{name}`, as it says")
        return
    assert answer.status == 2, answer.said
    assert "Traceback" not in answer.said
    assert len(answer.errors) == 1, answer.said
    assert words in answer.said
    assert tree_hash(project) == before, f"{name} left something behind"
    note(AREA, what, REFUSED)
