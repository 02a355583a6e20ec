"""The readers of foreign bytes, as functions that may refuse but do nothing else.

Each takes the bytes of a file and a folder to work in. It may raise a `PConvError`; whatever else
it raises, or leaves outside the folder's ``inside``, is a bug.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save

from pconv.errors import PConvError
from pconv.images import is_plain_jpeg, read_image, read_mask
from pconv.photo_files import read_photo, write_photo
from pconv.unet import PConvUNet
from pconv.weights import load_weights, save_weights
from pconv.weights_header import read_about
from tests.hostile import pictures
from tests.hostile.conftest import small_params
from tests.workflow.test_archives import KINDS, packed
from workflow.pairs import Pair, read_pairs, write_pairs
from workflow.params import read_params
from workflow.reporting.curves import read_curves
from workflow.reporting.evaluation import read_evaluation
from workflow.sources.archives import Limits, unpack
from workflow.stages.evaluate import COLUMNS

MAX_PIXELS = 1_000_000  # so that a run of the fuzzer spends its time on headers, not on pixels
_LIMITS = Limits(max_files=50, max_bytes=200_000, max_file_bytes=100_000)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: Reads the bytes of a file; the folder is empty, and its own.
        seeds: Whole files to begin with.
    """

    read: Callable[[bytes, Path], object]
    seeds: Callable[[Path], list[bytes]]

    def refuses_or_reads(self, content: bytes, folder: Path) -> bool:
        """Return whether the reader refused; let every error through that is none of ours."""
        try:
            self.read(content, folder)
        except PConvError:
            return True
        return False


def _params(content: bytes, folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_bytes(content)
    read_params(path)


def _image(content: bytes, folder: Path) -> None:
    path = folder / "photo.jpg"
    path.write_bytes(content)
    pixels = read_image(path, max_pixels=MAX_PIXELS)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    is_plain_jpeg(path, max_pixels=MAX_PIXELS)
    photo = read_photo(path, max_pixels=MAX_PIXELS)
    for ending in ("png", "tif"):
        again = folder / f"again.{ending}"
        write_photo(again, photo)
        assert np.array_equal(read_photo(again).pixels, photo.pixels)


def _mask(content: bytes, folder: Path) -> None:
    path = folder / "mask.png"
    path.write_bytes(content)
    assert read_mask(path, grey=True, max_pixels=MAX_PIXELS).dtype == np.bool_
    assert read_mask(path, max_pixels=MAX_PIXELS).dtype == np.bool_


def _archive(content: bytes, folder: Path) -> None:
    (folder / "inside").mkdir()
    (folder / "archive").write_bytes(content)
    try:
        unpack(folder / "archive", folder / "inside", _LIMITS)
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["archive", "inside"]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]


def _sample(content: bytes, folder: Path) -> None:
    path = folder / "sample.csv"
    path.write_bytes(content)
    pairs = read_pairs(path)
    write_pairs(path, pairs)
    assert read_pairs(path) == pairs


def _weights(content: bytes, folder: Path) -> None:
    path = folder / "last.safetensors"
    path.write_bytes(content)
    read_about(path)
    network = load_weights(path)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


def _evaluation(content: bytes, folder: Path) -> None:
    (folder / "0000").mkdir()
    (folder / "0000/pairs.csv").write_bytes(content)
    read_evaluation(folder)


def _log(content: bytes, folder: Path) -> None:
    (folder / "pconv").mkdir()
    (folder / "pconv/log.jsonl").write_bytes(content)
    read_curves(folder)


def _whole_params(folder: Path) -> list[bytes]:
    return [yaml.safe_dump(small_params()).encode()]


def _whole_images(folder: Path) -> list[bytes]:
    return [*pictures.whole_files().values(), *pictures.odd_but_whole().values()][:24]


def _whole_masks(folder: Path) -> list[bytes]:
    known = pictures.known()
    grey = (known * 255).astype(np.uint8)
    return [
        pictures.encoded(known, "PNG"),
        pictures.encoded(grey, "BMP"),
        pictures.encoded(grey, "TIFF"),
        pictures.encoded(grey, "JPEG"),
    ]


def _whole_archives(folder: Path) -> list[bytes]:
    members = [("a/0.jpg", b"zero" * 50), ("b.jpg", b"1")]
    return [packed(kind, members) for kind in KINDS]


def _whole_samples(folder: Path) -> list[bytes]:
    path = folder / "seed.csv"
    pair = Pair("ec-3-3_5", "valid/gt/3.png", "valid/ec/3/3_5.png", "ec", 0.25, 32, 0.5)
    write_pairs(path, [pair, Pair("walk-3-1", "valid/gt/3.png", "0001/1.png", "walk", 0.1, 32)])
    return [path.read_bytes()]


def _whole_weights(folder: Path) -> list[bytes]:
    torch.manual_seed(0)
    save_weights(folder / "seed.safetensors", PConvUNet(width=1, levels=1), {"epoch": "1"})
    return [(folder / "seed.safetensors").read_bytes(), save({"a": torch.ones(2)})]


def _whole_evaluations(folder: Path) -> list[bytes]:
    facts = {"pair": "a", "photo": "b", "kind": "ec", "hole_share": "0.2", "method": "mean"}
    rows = [[facts.get(column, "20.5") for column in COLUMNS]]
    rows.append([*rows[0][:4], "telea", *rows[0][5:-1], ""])
    text = "\n".join([",".join(COLUMNS), *(",".join([*row[:-1], ""]) for row in rows)])
    return [(text + "\n").encode()]


def _whole_logs(folder: Path) -> list[bytes]:
    record = {"epoch": 1, "phase": 1, "hole": 0.25, "total": 1e-3, "valid_hole_psnr": None}
    return [(json.dumps(record) + "\n" + json.dumps(record | {"epoch": 2}) + "\n").encode()]


TARGETS = {
    "params": Target(_params, _whole_params),
    "image": Target(_image, _whole_images),
    "mask": Target(_mask, _whole_masks),
    "archive": Target(_archive, _whole_archives),
    "sample.csv": Target(_sample, _whole_samples),
    "weights": Target(_weights, _whole_weights),
    "pairs.csv": Target(_evaluation, _whole_evaluations),
    "log.jsonl": Target(_log, _whole_logs),
}
