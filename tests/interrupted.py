"""Kill a run, workers and all, at a chosen moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60


def kill_when(
    condition: Callable[[], bool], code: str, *, workers: int, patience_s: float = PATIENCE_S
) -> int:
    """Run ``code`` with so many workers, ``kill -9`` it once ``condition`` holds, or at last.

    Returns:
        The exit status: ``-signal.SIGKILL`` if it was still running when it was killed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PCONV_WORKERS": str(workers)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + patience_s
    try:
        while process.poll() is None and not condition() and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
