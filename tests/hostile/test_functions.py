"""Wrong arguments to the public functions: an error of ours, and the arguments unharmed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pconv
from pconv.errors import PConvError
from pconv.images import write_image, write_mask
from pconv.losses import InpaintingLoss, LossWeights
from pconv.masks import blocks, random_walk, rectangles, silhouettes, strokes
from pconv.metrics import image_metrics
from pconv.photo_files import Photo, write_photo
from pconv.weights import save_weights
from tests.hostile import pictures
from tests.hostile.conftest import Note

AREA = "Functions of the library"
PHOTO, KNOWN = pictures.smooth(), pictures.known()
IMAGES = torch.zeros(1, 3, 16, 16)
MASKS = torch.ones(1, 1, 16, 16)
NETWORK = pconv.PConvUNet(width=1, levels=1)


def inpaint(picture: object, mask: object, **options: object) -> object:
    """Fill without a network."""
    return pconv.inpaint(picture, mask, **({"method": "telea"} | options))


def rng() -> np.random.Generator:
    """Return a source of randomness."""
    return np.random.default_rng(0)


def broken_network() -> pconv.PConvUNet:
    """Return a network with a weight that is no number."""
    network = pconv.PConvUNet(width=1, levels=1)
    next(network.parameters()).data.view(-1)[0] = float("nan")
    return network


WRONG: dict[str, Callable[[], object]] = {
    "inpaint: no picture": lambda: inpaint(None, KNOWN),
    "inpaint: a list": lambda: inpaint([[0, 1]], KNOWN),
    "inpaint: a path": lambda: inpaint("photo.png", KNOWN),
    "inpaint: a tensor": lambda: inpaint(IMAGES, KNOWN),
    "inpaint: no pixel": lambda: inpaint(PHOTO[:0], KNOWN[:0]),
    "inpaint: five channels": lambda: inpaint(np.zeros((24, 32, 5), np.uint8), KNOWN),
    "inpaint: channels first": lambda: inpaint(PHOTO.transpose(2, 0, 1), KNOWN),
    "inpaint: int64": lambda: inpaint(PHOTO.astype(np.int64), KNOWN),
    "inpaint: objects": lambda: inpaint(PHOTO.astype(object), KNOWN),
    "inpaint: complex": lambda: inpaint(PHOTO / 255 + 0j, KNOWN),
    "inpaint: over 1": lambda: inpaint(PHOTO.astype(np.float32), KNOWN),
    "inpaint: below 0": lambda: inpaint(PHOTO / 255 - 0.5, KNOWN),
    "inpaint: nan": lambda: inpaint(PHOTO / 255 + np.nan, KNOWN),
    "inpaint: inf": lambda: inpaint(PHOTO / 255 + np.inf, KNOWN),
    "inpaint: a palette image": lambda: inpaint(Image.fromarray(PHOTO).convert("P"), KNOWN),
    "inpaint: a CMYK image": lambda: inpaint(Image.fromarray(PHOTO).convert("CMYK"), KNOWN),
    "inpaint: no mask": lambda: inpaint(PHOTO, None),
    "inpaint: a mask of words": lambda: inpaint(PHOTO, np.full(KNOWN.shape, "x")),
    "inpaint: a mask of objects": lambda: inpaint(PHOTO, KNOWN.astype(object)),
    "inpaint: a grey mask": lambda: inpaint(PHOTO, np.where(KNOWN, 200, 30).astype(np.uint8)),
    "inpaint: a mask with nan": lambda: inpaint(PHOTO, np.where(KNOWN, 1, np.nan)),
    "inpaint: a negative mask": lambda: inpaint(PHOTO, KNOWN.astype(np.int8) * -1),
    "inpaint: an RGB mask": lambda: inpaint(PHOTO, PHOTO),
    "inpaint: a mask of another size": lambda: inpaint(PHOTO, KNOWN[1:]),
    "inpaint: an inverted mask": lambda: inpaint(PHOTO, ~KNOWN),
    "inpaint: all hole": lambda: inpaint(PHOTO, np.zeros_like(KNOWN), allow_large_holes=True),
    "inpaint: an unknown method": lambda: inpaint(PHOTO, KNOWN, method="talea"),
    "inpaint: an unknown device": lambda: inpaint(
        PHOTO, KNOWN, method="pconv", weights=NETWORK, device="gpu7"
    ),
    "inpaint: a device without memory": lambda: inpaint(
        PHOTO, KNOWN, method="pconv", weights=NETWORK, device="meta"
    ),
    "inpaint: max_side 0": lambda: inpaint(PHOTO, KNOWN, max_side=0),
    "inpaint: window_px 1": lambda: inpaint(PHOTO, KNOWN, window_px=1),
    "inpaint: weights that are not there": lambda: inpaint(
        PHOTO, KNOWN, method="pconv", weights="none.safetensors"
    ),
    "inpaint_batch: more masks": lambda: pconv.inpaint_batch(
        [PHOTO], [KNOWN, KNOWN], method="telea"
    ),
    "PConvUNet: width 0": lambda: pconv.PConvUNet(width=0),
    "PConvUNet: width True": lambda: pconv.PConvUNet(width=True),
    "PConvUNet: width 1.5": lambda: pconv.PConvUNet(width=1.5),
    "PConvUNet: levels 17": lambda: pconv.PConvUNet(levels=17),
    "PConvUNet: image and mask differ": lambda: NETWORK(IMAGES, MASKS[..., 1:]),
    "PConvUNet: four channels": lambda: NETWORK(torch.zeros(1, 4, 16, 16), MASKS),
    "PConvUNet: a mask of three channels": lambda: NETWORK(IMAGES, MASKS.repeat(1, 3, 1, 1)),
    "PConvUNet: three dimensions": lambda: NETWORK(IMAGES[0], MASKS[0]),
    "PartialConv2d: sizes differ": lambda: pconv.PartialConv2d(3, 2, 3)(IMAGES, MASKS[..., 1:]),
    "PartialConv2d: batches differ": lambda: pconv.PartialConv2d(3, 2, 3)(
        IMAGES, MASKS.repeat(3, 1, 1, 1)
    ),
    "PartialConv2d: a grey image": lambda: pconv.PartialConv2d(3, 2, 3)(IMAGES[:, :1], MASKS),
    "InpaintingLoss: sizes differ": lambda: InpaintingLoss(
        None, LossWeights(perceptual=0, style=0)
    )(IMAGES, IMAGES[..., 1:], MASKS),
    "image_metrics: sizes differ": lambda: image_metrics(IMAGES, IMAGES[..., 1:], MASKS),
    "random_walk: no pixel": lambda: random_walk(rng(), 0, 8),
    "random_walk: shares that can't be": lambda: random_walk(rng(), 8, 8, hole_share=(0.9, 0.1)),
    "strokes: no pixel": lambda: strokes(rng(), 8, 0),
    "rectangles: no pixel": lambda: rectangles(rng(), -1, 8),
    "blocks: no pixel": lambda: blocks(rng(), 0, 0),
    "silhouettes: no pixel": lambda: silhouettes(rng(), 0, 0),
    "write_image: floats": lambda: write_image(Path("out/a.png"), PHOTO / 255),
    "write_image: grey": lambda: write_image(Path("out/a.png"), PHOTO[..., 0]),
    "write_mask: bytes": lambda: write_mask(Path("out/a.png"), KNOWN.astype(np.uint8)),
    "write_photo: an unknown ending": lambda: write_photo(Path("out/a.gif"), Photo(PHOTO)),
    "write_photo: 16 bits as JPEG": lambda: write_photo(
        Path("out/a.jpg"), Photo(PHOTO.astype(np.uint16))
    ),
    "save_weights: not finite": lambda: save_weights("out/a.safetensors", broken_network()),
}


@pytest.mark.parametrize("what", WRONG)
def test_refused(what: str, tmp_path: Path, note: Note) -> None:
    """A wrong argument is an error of ours that says something; nothing is written."""
    photo, known = PHOTO.copy(), KNOWN.copy()
    with pytest.raises(PConvError) as caught:
        WRONG[what]()
    assert str(caught.value)
    assert np.array_equal(photo, PHOTO)
    assert np.array_equal(known, KNOWN)
    assert list(tmp_path.iterdir()) == []
    note(AREA, what.split(":")[0], "an error of ours, nothing written")
