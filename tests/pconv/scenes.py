"""A photo with a hole in the current folder, and the command in this process."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from pconv.cli import app

KNOWN = np.ones((40, 50), bool)
KNOWN[10:20, 15:30] = False


def write_scene(photo: str, mask: str, seed: int = 0) -> np.ndarray:
    """Write a photo of noise and a mask; return the photo."""
    image = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name, pixels in ((photo, image), (mask, KNOWN)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)
    return image


def pconv(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))
