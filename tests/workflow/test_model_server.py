"""The network served by `mlflow models serve`: a real process, a real request, a fill."""

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from pconv import inpaint
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow import tracking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::Warning"),  # MLflow's and SQLAlchemy's own
]

PATIENCE = 300  # seconds; a busy machine is no failure


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that are registered as version 1 of the model ``tiny``."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, PConvUNet(width=2, levels=3), {"size_px": "32"})
    with tracking.open_run("f" * 64, "tiny") as run:
        run.log_model(path, "tiny", "for a test", {})
    return path


@pytest.fixture
def served(weights: Path) -> Iterator[str]:
    """The address of a server process of the model, ended with all its children afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", "models:/tiny/1", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    # The command starts uvicorn by its name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = weights.with_name("server.log")
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        with suppress(requests.ConnectionError):
            if requests.get(url, timeout=60).ok:
                return
        time.sleep(0.2)
    pytest.fail(log.read_text())


def base64_png(pixels: np.ndarray) -> str:
    """Return the pixels as a PNG file in base64."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_fill(weights: Path, served: str) -> None:
    """`mlflow models serve` fills as the library does, and says what a request lacks."""
    image = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    mask = np.ones((40, 36), bool)
    mask[10:20, 5:15] = False
    good = {"image": base64_png(image), "mask": base64_png(mask.astype(np.uint8) * 255)}

    def ask(*rows: dict[str, str]) -> requests.Response:
        return requests.post(served, json={"dataframe_records": rows}, timeout=PATIENCE)

    answer = ask(good, good)
    assert answer.status_code == 200, answer.text
    wanted = inpaint(image, mask, weights=weights)
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
        answer = ask(bad)
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["message"]
