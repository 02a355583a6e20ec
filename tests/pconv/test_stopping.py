"""Stopping between two steps."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pconv.stopping import EXIT_OUT_OF_TIME, StopRequest, exit_on_sigterm


class TestExitOnSigterm:
    """`exit_on_sigterm`."""

    def test_values(self) -> None:
        """The signal leaves the block as Ctrl-C does; then the handler is that of before."""
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended, exit_on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before

    def test_second(self) -> None:
        """A second signal does not break off the cleaning that the first began."""
        cleaned: list[bool] = []
        with pytest.raises(SystemExit), exit_on_sigterm():
            self.clean(cleaned)
        assert cleaned

    @staticmethod
    def clean(cleaned: list[bool]) -> None:
        """Be told to end, and again while cleaning."""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)

    def test_elsewhere(self) -> None:
        """In another thread no handler can be set, and an own one, or none, stays."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.enter).result()
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with exit_on_sigterm():
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)

    @staticmethod
    def enter() -> None:
        """Enter and leave the block."""
        with exit_on_sigterm():
            pass


class TestStopRequest:
    """`StopRequest`."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal(self, number: signal.Signals) -> None:
        """A signal asks for a stop, whose error says which, with the shell's exit status."""
        with StopRequest() as stop:
            assert not stop.came
            os.kill(os.getpid(), number)
            assert stop.came
        error = stop.error("here.pt", 7)
        assert error.exit_status == 128 + number
        assert f"{number.name} at step 7; here.pt is saved" in str(error)

    def test_second_signal(self) -> None:
        """The second one meets the handler of before: an impatient user can end it at once."""
        # What a shell starts in the background inherits that SIGINT is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with StopRequest():
                os.kill(os.getpid(), signal.SIGINT)
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_handlers_come_back(self) -> None:
        """After the block all handlers are as before."""
        before = signal.getsignal(signal.SIGTERM)
        with StopRequest():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    def test_time(self) -> None:
        """When the time is up it asks for a stop; without a limit it never is."""
        with StopRequest(after_s=0) as stop:
            assert stop.came
            assert stop.error("", 1).exit_status == EXIT_OUT_OF_TIME
        with StopRequest(after_s=1000) as stop:
            assert not stop.came
        with StopRequest() as stop:
            assert not stop.came

    def test_another_process(self) -> None:
        """Where neither happened here, it was another of several processes."""
        with StopRequest(after_s=1000) as stop:
            assert "another process was asked to stop at step 1" in str(stop.error("", 1))

    def test_in_a_thread(self) -> None:
        """Outside the main thread, where Python allows no handlers, only the time counts."""
        found = []

        def work() -> None:
            with StopRequest(after_s=0) as stop:
                found.append(stop.came)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [True]
