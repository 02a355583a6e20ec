"""What the trained networks are called as methods, and which weights each name means."""

import filecmp
import re
from pathlib import Path

from pconv.errors import DataError

NETWORKS = ("pconv", "plain")
CHECKPOINTS = ("first", "last")
MIRRORED = "-mirrored"  # ends the name of weights that fill as `pconv.unet.mirrored` says

_NETWORK = re.compile(f"({'|'.join(NETWORKS)})-({'|'.join(CHECKPOINTS)})({MIRRORED})?")


def network_names(models: Path) -> list[str]:
    """Return the trained networks in ``models`` as method names, such as ``pconv-last``.

    A training whose compared epoch is its last has written the same weights twice; they are
    ``last`` only.

    Raises:
        DataError: If there is none.
    """
    first, last = CHECKPOINTS
    names = sorted(
        f"{path.parent.name}-{path.stem}"
        for path in models.glob("*/*.safetensors")
        if path.stem != first or not _equal(path, path.with_stem(last))
    )
    if not names:
        raise DataError(f"{models}: no weights; the stage train makes them")
    return names


def _equal(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)


def is_network(method: str) -> bool:
    """Return whether a method is one of the trained networks."""
    return _NETWORK.fullmatch(method) is not None


def network_file(method: str, models: Path) -> Path:
    """Return the weights behind ``pconv-last``, ``pconv-last-mirrored`` and their like."""
    kind, which = method.removesuffix(MIRRORED).split("-")
    return models / kind / f"{which}.safetensors"
