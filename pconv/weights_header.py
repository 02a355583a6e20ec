"""What the header of a weights file says. Reads it without torch, which takes seconds to import."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pconv.errors import WeightsError

LAYOUT = "1"
ABOUT = "about."  # begins the names of the words that a file's writer gave


def read_about(path: Path | str) -> dict[str, str]:
    """Return what was said of the weights when they were saved.

    Args:
        path: A file that `pconv.weights.save_weights` wrote.

    Raises:
        WeightsError: If the file is missing, damaged or of another kind.
    """
    with opened(path, "np") as (metadata, _):
        words = metadata.items()
        return {key.removeprefix(ABOUT): word for key, word in words if key.startswith(ABOUT)}


@contextmanager
def opened(path: Path | str, framework: str) -> Iterator[tuple[dict[str, str], Any]]:
    """Open a weights file; yield its header's words and the reader of its tensors.

    Args:
        path: A file that `pconv.weights.save_weights` wrote.
        framework: Whose tensors the reader makes: ``pt`` or ``np``.

    Raises:
        WeightsError: If the file is missing, damaged or of another kind.
    """
    try:
        with safe_open(str(path), framework=framework) as file:
            metadata = file.metadata() or {}
            if metadata.get("pconv") != LAYOUT:
                raise WeightsError(
                    f"{path}: a safetensors file, but not one of this project's weights files "
                    f"(its header says pconv={metadata.get('pconv')!r}, wanted {LAYOUT!r})"
                )
            yield metadata, file
    except (SafetensorError, OSError) as error:
        raise WeightsError(_why_unreadable(Path(path), error)) from error


def _why_unreadable(path: Path, error: Exception) -> str:
    """Say why a file can't be read as safetensors."""
    if not path.exists():
        return f"{path}: there is no such weights file"
    if not path.is_file():
        return f"{path}: is {'a folder' if path.is_dir() else 'no file'}; wanted a weights file"
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04" or start[:1] == b"\x80":
        return (
            f"{path}: a pickle (torch.save), not a safetensors file; it is not opened, because "
            "reading it could run code: save the weights with pconv.weights.save_weights"
        )
    return f"{path}: damaged, cut short, or no safetensors file ({error})"
