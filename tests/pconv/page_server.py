"""A server of the page for tests: in this process, on a free port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from pconv.page.server import Settings, make_app

PATIENCE = 120
"""Seconds that tests of the page wait at most; a busy machine is no failure."""


@contextmanager
def page_server(temporary: Path, **settings: Any) -> Iterator[str]:
    """Serve the page and yield its address; afterwards no temporary file may be left."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(Settings(**settings), temporary)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not list(temporary.iterdir()), "a temporary file is left"
