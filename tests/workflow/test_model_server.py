"""The network served by `mlflow models serve`: a real process, a real request, a fill."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pconv import inpaint
from tests.model_server import base64_png, model_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning"),  # MLflow's and SQLAlchemy's own
]


def test_fill(tmp_path: Path) -> None:
    """`mlflow models serve` fills as the library does, and says what a request lacks."""
    image = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    mask = np.ones((40, 36), bool)
    mask[10:20, 5:15] = False
    good = {"image": base64_png(image), "mask": base64_png(mask.astype(np.uint8) * 255)}
    with model_server(tmp_path) as served:
        answer = served.fill(good, good)
        assert answer.status_code == 200, answer.text
        wanted = inpaint(image, mask, weights=served.weights)
        for row in answer.json()["predictions"]:
            filled = np.asarray(Image.open(BytesIO(base64.b64decode(row["image"]))))
            assert np.array_equal(filled[mask], image[mask])
            assert np.array_equal(filled, wanted)

        for bad, words in [
            ({**good, "image": base64.b64encode(b"text").decode()}, "row 0: image: not a readable"),
            ({**good, "mask": base64_png(mask[:9].astype(np.uint8))}, "row 0: the mask has shape"),
            ({**good, "mask": base64_png(np.zeros((40, 36), np.uint8))}, "no known pixel"),
            ({"image": good["image"]}, "mask"),
        ]:
            answer = served.fill(bad)
            assert answer.status_code == 400, answer.text
            assert words in answer.json()["message"]
