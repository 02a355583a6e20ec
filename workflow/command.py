"""How every command of the pipeline starts and how it fails."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pconv.errors import PConvError
from pconv.standard_output import flushed_output
from pconv.stopping import exit_on_sigterm

EXIT_BAD_INPUT = 2


def run_command(main: Callable[[], None]) -> None:
    """Run ``main``; an expected error becomes its message and exit status 2, without traceback.

    Errors of the system are expected too: a full disk, a folder that may not be written. SIGTERM,
    as a cluster sends it, ends it as Ctrl-C does: what is half done is cleaned away first.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        with exit_on_sigterm(), refusing_in_one_line():
            main()
    except KeyboardInterrupt:
        # All is cleaned away. A second one, while Python ends, would leave a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.exit(130)


@contextmanager
def refusing_in_one_line() -> Iterator[None]:
    """Make of an expected error its message and exit status 2."""
    try:
        with flushed_output():
            yield
    except (PConvError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(EXIT_BAD_INPUT)


def use_this_python() -> None:
    """Have `python` in a command be the one that runs this, also where no environment is active."""
    here, path = Path(sys.executable).parent, os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{here}{os.pathsep}{path}"
