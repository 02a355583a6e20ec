"""One module a stage, run as ``python -m workflow.stages.NAME``."""

import os
import signal
import sys
from types import TracebackType

# How long OpenMP's threads spin while they wait; read when torch is loaded, so it must stand
# before every import of a stage. The default is milliseconds: where another process wants a core
# too, training then ran thirty times slower. So short a spin loses nothing on an idle machine
# (`benchmarks/spinning.py`), and no result depends on it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# The widest instructions that convolutions on an x86 CPU use. AVX-512 adds up in another order than
# AVX2, so trainings would end with other weights where there is AVX-512. README says what it costs.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def _end_quietly(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """End as Ctrl-C ends any program where it comes while a stage's imports still run.

    Later `workflow.command.run_command` does.
    """
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


sys.excepthook = _end_quietly
