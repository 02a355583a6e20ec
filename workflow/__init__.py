"""The pipeline: files in, files out. Each stage reads files, calls pconv, writes files."""

import signal
import sys
from types import TracebackType


def _end_quietly(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """End as Ctrl-C ends any program where it comes while a command's imports still run.

    Later `workflow.command.run_command` does.
    """
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


sys.excepthook = _end_quietly
