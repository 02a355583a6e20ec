"""Standard output that can't be written, as on a full disk, is an error like any other."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def flushed_output() -> Iterator[None]:
    """Write what is printed before the block ends.

    Left to Python it is written at exit, where what goes wrong can't be caught: the status is 120.

    Raises:
        OSError: If it can't be written.
    """
    try:
        yield
    finally:
        try:
            if sys.stdout is not None:  # closed, as >&- does
                sys.stdout.flush()
        except OSError:
            # What is left would fail at exit again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
