"""One module a stage, run as ``python -m workflow.stages.NAME``."""

import os

# How long OpenMP's threads spin while they wait; read when torch is loaded, so it must stand
# before every import of a stage. The default is milliseconds: where another process wants a core
# too, training then ran thirty times slower. So short a spin loses nothing on an idle machine
# (`benchmarks/spinning.py`), and no result depends on it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
