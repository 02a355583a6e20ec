"""Stopping: a long run between two steps, by a signal or when its time is up; a command at once."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pconv.errors import TrainingError

EXIT_OUT_OF_TIME = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run it again


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does: what is half done is cleaned away first."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # an own handler, or to be ignored
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one would break off the cleaning
        sys.exit(128 + number)

    old = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


class TrainingStopped(TrainingError):
    """A run that was stopped, left a checkpoint, and goes on when started again.

    Attributes:
        exit_status: What a command line should exit with.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopRequest:
    """Knows whether SIGTERM or SIGINT came, or the time is up, while its block runs.

    The first signal asks for an orderly stop. It also brings the old handlers back, so a second
    one ends the process at once.

    Args:
        after_s: Seconds until the time is up; None for never.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, after_s: float | None = None) -> None:
        self._deadline = None if after_s is None else time.monotonic() + after_s
        self._signal: int | None = None
        self._old: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        # Python allows handlers in the main thread only; elsewhere the caller has its own.
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def came(self) -> bool:
        """Whether to stop."""
        return self.signalled or self._is_late()

    @property
    def signalled(self) -> bool:
        """Whether a signal asked for it, not the time alone."""
        return self._signal is not None

    def error(self, checkpoint: str, step: int) -> TrainingStopped:
        """Return the error that says why the run stopped, and that it can go on."""
        if self._signal is not None:
            why, status = signal.Signals(self._signal).name, 128 + self._signal
        else:
            why = "its time was up" if self._is_late() else "another process was asked to stop"
            status = EXIT_OUT_OF_TIME
        return TrainingStopped(
            f"not finished: {why} at step {step}; {checkpoint} is saved, run the same command "
            "again to go on",
            status,
        )

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._old = {}
