"""The table of (photo, mask) pairs that are evaluated: its rows, its file, its pictures."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath

from pconv.atomic import atomic_file
from pconv.errors import DataError
from pconv.images import Mask, Pixels, check_mask_size, read_image, read_mask
from pconv.resizing import fit_image, fit_mask
from workflow.mask_kinds import KINDS, RAW_KINDS

MAX_SIZE_PX = 4096  # the largest that masks.size_px may be


@dataclass(frozen=True, slots=True)
class Pair:
    """One photo and the mask it is damaged with.

    Attributes:
        id: The pair's name, made of photo and mask; a draw depends on nothing else.
        photo: Path relative to the raw folder, such as ``valid/gt/3.png``.
        mask: Path relative to the raw folder for the kinds ec and or (``valid/ec/3/3_5.png``),
            to the folder of validation masks for the others (``0001/000123.png``).
        kind: One of ``KINDS``.
        hole_share: Share of hole pixels in the framed mask, above 0 and below 1.
        size_px: Side of the square that photo and mask are framed to.
        place: Where along the photo's longer side the square lies: 0.5 its middle.
    """

    id: str
    photo: str
    mask: str
    kind: str
    hole_share: float
    size_px: int
    place: float = 0.5


_COLUMNS = [field.name for field in fields(Pair)]


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write the pairs as a CSV file, one a row, whole or not at all."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(pair) for pair in pairs)


def read_pairs(path: Path) -> list[Pair]:
    """Read what :func:`write_pairs` wrote.

    Raises:
        DataError: If the file is missing, has other columns, or a row makes no sense.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if table.fieldnames != _COLUMNS:
                raise DataError(
                    f"{path}: found the columns {table.fieldnames}; wanted {_COLUMNS}: "
                    "make the file anew with the sample stage"
                )
            pairs = [_pair(path, table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table of pairs ({error})") from error
    names = Counter(pair.id for pair in pairs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"{path}: the pair {twice[0]!r} stands here twice; delete one of the rows")
    return pairs


def load_pair(pair: Pair, raw: Path, masks: Path) -> tuple[Pixels, Mask]:
    """Read a pair's photo and mask, framed alike to the square the pair asks for.

    Args:
        pair: A row of the table.
        raw: The folder that the download stage made.
        masks: The folder of generated validation masks.

    Returns:
        The photo, uint8 ``(S, S, 3)``, and the mask, bool ``(S, S)``, True where known.

    Raises:
        DataError: If the mask is of another size than it was drawn with, or leaves nothing to
            fill or nothing to fill from.
    """
    photo = read_image(raw / pair.photo)
    path = mask_file(pair, raw, masks)
    mask = read_mask(path)
    check_mask_of(pair, path, mask, lambda: (photo.shape[0], photo.shape[1]))
    size_px, place = pair.size_px, pair.place
    framed = fit_mask(mask, size_px, place)
    if framed.all() or not framed.any():
        found = "no hole" if framed.all() else "no known pixel"
        raise DataError(f"{path}: {found} in the square of {pair.id}; draw the pairs anew")
    return fit_image(photo, size_px, place), framed


def check_mask_of(
    pair: Pair, path: Path, mask: Mask, photo_size: Callable[[], tuple[int, int]]
) -> None:
    """Refuse a mask that its photo, or the network's square, has outgrown.

    Args:
        pair: What the mask is to damage.
        path: Where the mask lies.
        mask: Bool ``(H, W)``.
        photo_size: Returns height and width of the photo; asked only for the kinds ec and or.

    Raises:
        DataError: If the mask is of another size.
    """
    if pair.kind in RAW_KINDS:
        check_mask_size(path, mask, photo_size(), f"its photo {pair.photo} has")
    else:
        square = (pair.size_px, pair.size_px)
        check_mask_size(path, mask, square, "the square it was drawn for has")


def mask_file(pair: Pair, raw: Path, masks: Path) -> Path:
    """Return where the pair's mask lies; its kind says in which of the two folders."""
    return (raw if pair.kind in RAW_KINDS else masks) / pair.mask


def _pair(path: Path, line: int, row: dict[str, str]) -> Pair:
    try:
        if None in row or None in row.values():
            raise ValueError(f"not {len(_COLUMNS)} cells")
        pair = Pair(
            id=row["id"],
            photo=row["photo"],
            mask=row["mask"],
            kind=row["kind"],
            hole_share=float(row["hole_share"]),
            size_px=int(row["size_px"]),
            place=float(row["place"]),
        )
    except ValueError as error:
        raise DataError(f"{path}: line {line}: {error}; wanted a row of the pair table") from error
    for is_right, found, wanted in (
        (pair.kind in KINDS, f"kind {pair.kind!r}", f"one of {KINDS}"),
        (0 < pair.hole_share < 1, f"hole_share {pair.hole_share}", "more than 0, less than 1"),
        (1 <= pair.size_px <= MAX_SIZE_PX, f"size_px {pair.size_px}", f"1 to {MAX_SIZE_PX}"),
        (0 <= pair.place <= 1, f"place {pair.place}", "0 to 1"),
        (_is_inside(pair.photo), f"photo {pair.photo!r}", "a path below the raw folder"),
        (_is_inside(pair.mask), f"mask {pair.mask!r}", "a path below the folder of masks"),
    ):
        if not is_right:
            raise DataError(f"{path}: line {line}: {found}; wanted {wanted}")
    return pair


def _is_inside(name: str) -> bool:
    """Return whether a path stays below the folder that it is relative to."""
    path = PurePath(name)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def subset(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Return ``count`` of the pairs, each kind in proportion, drawn as the table itself was.

    Within a kind the table is in the random order of its draw, so its first rows are a draw too.
    """
    of_kind = {kind: [pair for pair in pairs if pair.kind == kind] for kind in KINDS}
    quotas = largest_remainder({kind: len(some) for kind, some in of_kind.items()}, count)
    return [pair for kind, some in of_kind.items() for pair in some[: quotas[kind]]]


def largest_remainder(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Share ``count`` out in proportion to ``sizes``, in whole numbers that add up to it."""
    total = max(1, sum(sizes.values()))
    quotas = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(count * sizes[name] % total))
    for name in by_remainder[: count - sum(quotas.values())]:
        quotas[name] += 1
    return quotas
