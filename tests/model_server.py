"""A process of `mlflow models serve`, and what a request to it is made of."""

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow.mlflow_run import open_run

PATIENCE_S = 300  # a busy machine is no failure


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: Its address.
        process: The leader of its processes.
        weights: The file that it serves.
    """

    url: str
    process: subprocess.Popen[bytes]
    weights: Path

    def fill(self, *rows: dict[str, str]) -> requests.Response:
        """Ask for the fills of some rows, each an ``image`` and a ``mask``."""
        records = {"dataframe_records": rows}
        return requests.post(f"{self.url}/invocations", json=records, timeout=PATIENCE_S)


@contextmanager
def model_server(folder: Path) -> Iterator[Served]:
    """Register a small network as version 1 of ``tiny`` and serve it, all within a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        # The command starts uvicorn by its name.
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.chdir(folder)
        torch.manual_seed(0)
        weights = folder / "tiny.safetensors"
        save_weights(weights, PConvUNet(width=2, levels=3), {"size_px": "32"})
        with open_run("f" * 64, "tiny") as run:
            run.log_model(weights, "tiny", "for a test", {})
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        command += ["-m", "models:/tiny/1", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        log = folder / "server.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}/ping", server, log)
            yield Served(f"http://127.0.0.1:{port}", server, weights)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + PATIENCE_S
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
