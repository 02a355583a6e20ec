"""As much of an MLflow server as a run needs, which can be made to fail in every way."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API = "/api/2.0/mlflow/"
INFO = {"run_id": "1" * 32, "experiment_id": "1", "status": "RUNNING", "start_time": 1}
INFO |= {"artifact_uri": "/nowhere", "lifecycle_stage": "active"}
RUN = {"info": INFO, "data": {}}
ANSWERS = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "pconv"}},
    "runs/create": {"run": RUN},
    "runs/get": {"run": RUN},
    "runs/update": {"run_info": INFO},
}


class Fake:
    """The server's mood, and what it was sent.

    Attributes:
        mood: ``well``, or how it fails: ``500``, ``hangs``, ``trickles``, ``nonsense``, ``cuts``.
        turns_after: Number of requests that are answered well before the mood shows.
        batches: What ``log-batch`` was sent.
    """

    def __init__(self, mood: str = "well", turns_after: int = 0) -> None:
        self.mood, self.turns_after = mood, turns_after
        self.requests = 0
        self.batches: list[dict[str, Any]] = []
        self.url = ""
        self.released = threading.Event()  # so that no thread outlives the test

    def metrics(self, name: str) -> dict[int, float]:
        """Return the values of a metric that arrived, by step."""
        sent = [metric for batch in self.batches for metric in batch.get("metrics", [])]
        return {int(m.get("step", 0)): m["value"] for m in sent if m["key"] == name}


@contextmanager
def fake_server(fake: Fake, port: int = 0) -> Iterator[Fake]:
    """Run the server in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        do_PUT = do_PATCH = do_POST

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.requests += 1
            mood = fake.mood if fake.requests > fake.turns_after else "well"
            getattr(self, f"_{mood}")(body)

        def _well(self, body: bytes) -> None:
            name = self.path.partition("?")[0].removeprefix(API)
            if name == "runs/log-batch":
                fake.batches.append(json.loads(body))
            self._send(200, json.dumps(ANSWERS.get(name, {})).encode())

        def _500(self, body: bytes) -> None:
            self._send(500, b"out of order")

        def _nonsense(self, body: bytes) -> None:
            self._send(200, b"<html>Welcome to the router</html>")

        def _cuts(self, body: bytes) -> None:
            self.connection.close()

        def _hangs(self, body: bytes) -> None:
            fake.released.wait(120)

        def _trickles(self, body: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            deadline = time.monotonic() + 120
            while not fake.released.wait(0.2) and time.monotonic() < deadline:
                self.wfile.write(b" ")

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # the client went away

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield fake
        finally:
            fake.released.set()
            server.shutdown()
            thread.join()
