"""Opens a port of this machine for the page, and a browser on it."""

import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import typer
import uvicorn

from pconv.errors import ParameterError, WeightsError
from pconv.inpainting import Inpainter
from pconv.page.server import Settings, make_app
from pconv.weights_source import VARIABLE, weights_file

_GRACE_SECONDS = 1


def serve(
    *, host: str, port: int, weights: str | None, device: str | None, open_browser: bool
) -> NoReturn:
    """Serve the page until it is interrupted, then end the process.

    Args:
        host: Name or address to listen on.
        port: Port, or 0 for a free one.
        weights: As for `pconv.weights_source.weights_file`.
        device: As for `pconv.inpaint`.
        open_browser: Whether to show the page.

    Raises:
        ParameterError: If the port can't be opened, or there is no such device.
        WeightsError: If weights are named, by ``weights`` or ``PCONV_WEIGHTS``, and can't be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(weights_file(weights)) if weights else None
        _check_network(file, device)
        listener = stack.enter_context(_listener(host, port))
        folder = stack.enter_context(
            TemporaryDirectory(prefix="pconv-page-", ignore_cleanup_errors=True)
        )
        app = make_app(Settings(host, file, device), Path(folder))
        _tell(url := _url(host, listener), host)
        if open_browser:  # a thread, because text browsers keep the terminal until they end
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl+C does
        with suppress(KeyboardInterrupt):
            _Server(config).run(sockets=[listener])
    # A fill that still runs can't be stopped, and Python would wait for its thread.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _check_network(file: Path | None, device: str | None) -> None:
    """Load the network once: what is wrong with weights or device is told now, not at a fill.

    Without any weights there is a page all the same; it says what makes some.
    """
    try:
        Inpainter(weights=file, device=device)
    except WeightsError:
        if file or os.environ.get(VARIABLE):
            raise


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # being cut off is no error
        super().handle_exit(sig, frame)


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ParameterError(
            f"{host}, port {port}: can't listen there ({error}); choose another --port or --host"
        ) from error


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _tell(url: str, host: str) -> None:
    typer.echo(f"The page is at {url} (Ctrl+C ends it)")
    if not _is_loopback(host):
        typer.echo("Everybody who can reach this machine can use it", err=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
