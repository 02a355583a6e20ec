"""Bad parameter files: every stage refuses them before any work, in one line."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.hostile.commands import check_refused, module, stage
from tests.hostile.conftest import STAGES, Note, small_params

AREA = "Parameters"
GOOD = yaml.safe_dump(small_params(), sort_keys=False)
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in pairwise("abcdefghi")
)


def edited(section: str, key: str, value: object) -> str:
    """Return a good file with one value replaced or added."""
    content = small_params()
    content[section][key] = value
    return yaml.safe_dump(content, sort_keys=False)


# Each: what is wrong, the file, and words that the one line must hold.
BAD_FILES: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("unknown key", edited("train", "epochz", 3), ("train.epochz", "did you mean epochs?")),
    ("unknown section", GOOD.replace("masks:", "mask:"), ("mask", "did you mean masks?")),
    ("missing key", GOOD.replace("  levels: 2\n", ""), ("train.levels", "missing")),
    ("wrong type", edited("augment", "images", "many"), ("augment.images", "'many'", "integer")),
    ("wrong type", edited("train", "anneal", "yes"), ("train.anneal", "'yes'", "boolean")),
    ("wrong type", edited("masks", "kinds", "walk"), ("masks.kinds", "'walk'", "list")),
    ("wrong type", edited("masks", "kinds", ["walk", 3]), ("masks.kinds", "3")),
    ("wrong type", edited("train", "batch_size", None), ("train.batch_size", "None")),
    ("wrong type", edited("train", "batch_size", 4.0), ("train.batch_size", "4.0", "integer")),
    ("out of range", edited("augment", "images", 0), ("augment.images", "greater than 0")),
    ("out of range", edited("augment", "flip_share", 1.1), ("augment.flip_share", "1.1")),
    ("out of range", edited("download", "seed", 2**32), ("download.seed", str(2**32))),
    ("out of range", edited("train", "seed", -1), ("train.seed", "-1")),
    ("out of range", edited("masks", "hole_share_min", 0.9), ("hole_share_min is 0.9",)),
    ("out of range", edited("augment", "images", 10**30), ("augment.images", "less than")),
    ("out of range", edited("train", "width", 10**9), ("train.width", "less than")),
    ("infinite or no number", edited("train", "hole_weight", float("inf")), ("hole_weight",)),
    ("infinite or no number", edited("train", "learning_rate", float("inf")), ("learning_rate",)),
    ("infinite or no number", edited("train", "tv_weight", float("nan")), ("train.tv_weight",)),
    (
        "a number in quotes",
        GOOD.replace("learning_rate: 0.002", "learning_rate: '1e-4'", 1),
        ("train.learning_rate", "'1e-4'", "write 1e-4"),
    ),
    ("key given twice", GOOD + "masks:\n  seed: 1\n", ("'masks' stands here twice",)),
    ("key given twice", GOOD.replace("  width: 2\n", "  width: 2\n  width: 3\n"), ("'width'",)),
    ("empty file", "", ("holds nothing",)),
    ("empty file", "# nothing but this\n", ("holds nothing",)),
    ("tabs", GOOD.replace("  width", "\twidth"), ("not valid YAML", r"'\t'")),
    ("YAML bomb", BOMB, ("aliases",)),
    ("YAML bomb", "[" * 50_000, ("params.yaml",)),
    ("a hundred thousand bytes and more", "#" * 200_000, ("over 100000 bytes",)),
    ("a tag that would run code", "!!python/object/apply:os.system ['touch ran']", ("python",)),
    ("no UTF-8", GOOD.encode("utf-16"), ("UTF-8",)),
    ("no UTF-8", b"\x00\xff\xfe", ("UTF-8",)),
    ("control characters", GOOD + "x: \x07\n", ("not valid YAML",)),
    ("a list, a word, a key that is no text", "- 1\n", ("holds list",)),
    ("a list, a word, a key that is no text", "sample\n", ("holds str",)),
    ("a list, a word, a key that is no text", "1: 2\n? [a]\n: 3\n", ("params.yaml",)),
    ("a section that is no mapping", "train: 3\n", ("train", "found 3")),
]


@pytest.mark.parametrize(
    ("what", "content", "words"), BAD_FILES, ids=[f"{n}-{b[0]}" for n, b in enumerate(BAD_FILES)]
)
def test_bad_file(
    what: str,
    content: str | bytes,
    words: tuple[str, ...],
    tmp_path: Path,
    unchanged: Callable[[], None],
    note: Note,
) -> None:
    """The reader and every stage refuse the file with the same line, and touch nothing."""
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "params.yaml").write_bytes(data)
    unchanged()
    answers = [module("workflow.check"), *(stage(name) for name in STAGES)]
    for answer in answers:
        check_refused(answer, "params.yaml", *words)
    note(AREA, what, "refused, one line, status 2", times=len(answers))


def test_missing(tmp_path: Path, unchanged: Callable[[], None], note: Note) -> None:
    """Without a file the line says what makes one; a folder in its place is told."""
    unchanged()
    answers = [stage(name) for name in STAGES]
    for answer in answers:
        check_refused(answer, "params.yaml", "use PRESET=sample")
    note(AREA, "no file", "refused, one line, status 2", times=len(answers))


def test_folder_in_its_place(tmp_path: Path, unchanged: Callable[[], None], note: Note) -> None:
    """A folder called params.yaml is told."""
    (tmp_path / "params.yaml").mkdir()
    unchanged()
    answers = [stage(name) for name in STAGES]
    for answer in answers:
        check_refused(answer, "params.yaml")
    note(AREA, "no file", "refused, one line, status 2", times=len(answers))


def test_bad_preset(tmp_path: Path, unchanged: Callable[[], None], note: Note) -> None:
    """`use` checks a preset before params.yaml is replaced."""
    (tmp_path / "params.yaml").write_text(GOOD)
    (tmp_path / "mine.yaml").write_text(edited("train", "epochz", 3))
    unchanged()
    check_refused(module("workflow.presets", "mine.yaml"), "mine.yaml", "train.epochz")
    check_refused(module("workflow.presets", "papr"), "papr", "no such preset")
    note(AREA, "unknown key", "refused, one line, status 2", times=2)
