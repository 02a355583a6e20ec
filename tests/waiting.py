"""Wait for something that another thread or process does."""

import time
from collections.abc import Callable


def wait_for(is_so: Callable[[], object], patience_s: float = 60) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: If it isn't in time.
    """
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
