"""Messages in order, again where it helps, and no waiting for a server that is gone."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from workflow import outbox
from workflow.outbox import Outbox, may_pass


class Refused(Exception):
    """What no second attempt helps against."""


class Server:
    """Takes down what arrives; the first attempts at some messages fail."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.errors: dict[str, list[Exception]] = {}

    def message(self, name: str, *errors: Exception) -> Callable[[], None]:
        """Return a message that arrives once those errors are used up."""
        self.errors[name] = list(errors)

        def send() -> None:
            if self.errors[name]:
                raise self.errors[name].pop(0)
            self.arrived.append(name)

        return send


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.01)
    monkeypatch.setattr(outbox, "LAST_RETRY_S", 0.01)


@pytest.fixture
def told() -> list[Exception]:
    """The errors that were told."""
    return []


@pytest.fixture
def server() -> Iterator[Server]:
    """A server, after which no thread is left."""
    before = threading.active_count()
    yield Server()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


class TestOutbox:
    """`Outbox`."""

    def test_order(self, server: Server, told: list[Exception]) -> None:
        """All arrive, in order, and nothing is told."""
        box = Outbox(server.message("first"), told.append)
        for number in range(100):
            box.put(server.message(str(number)))
        assert box.close()
        assert server.arrived == ["first", *map(str, range(100))]
        assert not told

    def test_passing_errors(self, server: Server, told: list[Exception]) -> None:
        """A server that comes back misses nothing, however often it failed; told once."""
        box = Outbox(server.message("first", *[ConnectionError()] * 5), told.append)
        box.put(server.message("second", *[TimeoutError()] * 3))
        deadline = time.monotonic() + 30
        while len(server.arrived) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert box.close()
        assert server.arrived == ["first", "second"]
        assert len(told) == 1

    def test_refused(self, server: Server, told: list[Exception]) -> None:
        """What is refused is dropped, not tried again; the others arrive."""
        box = Outbox(server.message("first"), told.append)
        box.put(server.message("bad", Refused()))
        box.put(server.message("good"))
        assert not box.close()
        assert server.arrived == ["first", "good"]
        assert [type(error) for error in told] == [Refused]

    def test_first_refused(self, server: Server, told: list[Exception]) -> None:
        """Where the first is refused nothing else is sent."""
        box = Outbox(server.message("first", Refused()), told.append)
        box.put(server.message("second"))
        assert not box.close()
        assert not server.arrived

    def test_away(self, server: Server, told: list[Exception]) -> None:
        """When the work is done, a server that is away is given up after two attempts."""
        box = Outbox(server.message("first"), told.append)
        box.put(server.message("lost", *[ConnectionError()] * 1_000_000))
        box.put(server.message("never tried"))
        assert not box.close()
        assert server.arrived == ["first"]
        assert len(told) == 1

    def test_recovers_at_the_end(self, server: Server, told: list[Exception]) -> None:
        """One failure after the work is done loses nothing."""
        box = Outbox(server.message("first"), told.append)
        is_closing = threading.Event()
        box.put(is_closing.wait)
        box.put(server.message("second", ConnectionError()))
        threading.Timer(0.2, is_closing.set).start()
        assert box.close()
        assert server.arrived == ["first", "second"]

    def test_never_answers(
        self, server: Server, told: list[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that neither answers nor fails is left alone after a while."""
        monkeypatch.setattr(outbox, "STALL_S", 0.3)
        stuck = threading.Event()
        box = Outbox(stuck.wait, told.append)
        started = time.monotonic()
        assert not box.close()
        assert time.monotonic() - started < 30
        assert [type(error) for error in told] == [TimeoutError]
        stuck.set()

    def test_put_does_not_wait(self, server: Server, told: list[Exception]) -> None:
        """Whoever puts a message in goes on at once, though the server is stuck."""
        stuck = threading.Event()
        box = Outbox(stuck.wait, told.append)
        for number in range(1000):
            box.put(server.message(str(number)))
        assert not server.arrived
        stuck.set()
        assert box.close()
        assert len(server.arrived) == 1000


class Answered(OSError):
    """An error of a library that has the server's answer."""

    def __init__(self, status_code: int) -> None:
        self.response = type("Response", (), {"status_code": status_code})


class Coded(Exception):
    """An error of MLflow."""

    def __init__(self, error_code: str) -> None:
        self.error_code = error_code


class OperationalError(Exception):
    """An error that is called as SQLAlchemy's."""


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (Answered(503), True),
        (Answered(403), False),
        (Coded("TEMPORARILY_UNAVAILABLE"), True),
        (Coded("INTERNAL_ERROR"), True),
        (Coded("RESOURCE_DOES_NOT_EXIST"), False),
        (OperationalError(), True),
        (PermissionError(), False),
        (FileNotFoundError(), False),
        (ModuleNotFoundError(), False),
        (TypeError(), False),
    ],
)
def test_may_pass(error: Exception, passes: bool) -> None:
    """Errors of a server that is away or busy may pass; others are there to stay."""
    assert may_pass(error) is passes
