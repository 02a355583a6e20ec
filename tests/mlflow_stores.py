"""Stores that tests log to: the default one, a file, and a real server with a database."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "services/mlflow_server.sh"
DEADLINE_S = 600

needs_postgres = pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("curl") is None,
    reason="PostgreSQL or curl is not installed (apt-get install -y postgresql curl)",
)
STORES = ["sqlite", pytest.param("server", marks=[pytest.mark.server, needs_postgres])]


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[str]:
    """Yield the address of a store, ``sqlite`` in a folder or ``server``."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/mlflow.db"
    else:
        with server() as (url, _):
            yield url


@contextmanager
def server() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the address of a server of its own, and the variables by which its script finds it."""
    # Not in pytest's folder: PostgreSQL's user wants a path that everyone may enter.
    with tempfile.TemporaryDirectory(prefix="mlflow-") as base:
        Path(base).chmod(0o755)
        port = str(free_port())
        variables = {"MLFLOW_DATA": f"{base}/data", "MLFLOW_PORT": port}
        try:
            control("start", variables)
            yield f"http://127.0.0.1:{port}", variables
        finally:
            control("stop", variables)


def control(
    order: str, variables: dict[str, str], status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the server's script, check how it ends, and return what it said."""
    done = subprocess.run(
        [SCRIPT, order],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
