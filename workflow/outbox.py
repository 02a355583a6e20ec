"""Messages to a server that may be slow, away or broken, sent in order by a thread of their own.

Who puts a message in never waits. What can't be delivered is tried again while the work goes on,
so that a server which was restarted misses nothing; once the work is done little time is spent on
one that is away.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

RETRY_S = 15.0  # between two attempts while there is still work to do
LAST_RETRY_S = 1.0  # between the two that follow it
STALL_S = 600.0  # without progress, after which a server that trickles is left alone

_PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}

Send = Callable[[], object]


class Outbox:
    """Delivers in order, and tells the first failure only.

    A message that is refused is dropped; one that meets a server that is away is sent again.

    Args:
        first: Sent before all else; where it is refused nothing else is sent.
        tell: Takes the first error.
    """

    def __init__(
        self,
        first: Send,
        tell: Callable[[Exception], None],
    ) -> None:
        self._first, self._tell = first, tell
        self._queue: queue.SimpleQueue[Send | None] = queue.SimpleQueue()
        self._work_is_done = threading.Event()
        self._is_given_up = False
        self._moved_at = 0.0
        self._has_told = self._has_lost = False
        # A daemon, because a server that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)
        self._thread.start()

    def put(self, send: Send) -> None:
        """Send a message after those before it."""
        self._queue.put(send)

    def close(self) -> bool:
        """Wait for what is left, for as long as it moves; return whether all was delivered."""
        self._moved_at = time.monotonic()
        self._work_is_done.set()
        self._queue.put(None)
        while self._thread.is_alive() and time.monotonic() - self._moved_at < STALL_S:
            self._thread.join(0.1)
        if self._thread.is_alive():
            self._is_given_up = True  # its last message may still go through, no other does
            self._lose(TimeoutError(f"nothing was answered for {STALL_S:g} s"))
        elif self._has_told and not self._has_lost:
            log.info("all was delivered after all")
        return not self._has_lost

    def _deliver(self) -> None:
        goes_on = self._sent(self._first) and not self._has_lost
        while goes_on and (send := self._queue.get()) is not None:
            goes_on = self._sent(send)

    def _sent(self, send: Send) -> bool:
        """Send a message, again if need be; return whether the next one's turn has come."""
        attempts_left = 2
        while attempts_left and not self._is_given_up:
            try:
                send()
            except Exception as error:  # a view that fails must never fail the work it shows
                if not may_pass(error):
                    self._lose(error)
                    return True
                self._say(error)
                attempts_left -= self._work_is_done.is_set()
                if attempts_left:
                    self._pause()
            else:
                self._moved_at = time.monotonic()
                return True
        self._has_lost = True
        return False

    def _pause(self) -> None:
        if self._work_is_done.is_set():
            time.sleep(LAST_RETRY_S)
        else:
            self._work_is_done.wait(RETRY_S)

    def _lose(self, error: Exception) -> None:
        self._has_lost = True
        self._say(error)

    def _say(self, error: Exception) -> None:
        if not self._has_told:
            self._has_told = True
            self._tell(error)


def may_pass(error: Exception) -> bool:
    """Return whether an error is that of a server that is away or busy, and may pass by itself.

    Known are those of MLflow, by their codes, of requests, SQLAlchemy and the system.
    """
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in _PASSING
    if isinstance(error, ImportError | FileNotFoundError | PermissionError):
        return False
    status = getattr(getattr(error, "response", None), "status_code", 500)
    is_busy = type(error).__name__ == "OperationalError"  # not to import SQLAlchemy for its name
    return is_busy or (isinstance(error, OSError) and status >= 500)
