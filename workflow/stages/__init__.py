"""One module a stage, run as ``python -m workflow.stages.NAME``."""

import os

# How long OpenMP's threads spin while they wait; read when torch is loaded, so it must stand
# before every import of a stage. The default is milliseconds: where another process wants a core
# too, training then ran thirty times slower. So short a spin loses nothing on an idle machine
# (`benchmarks/spinning.py`), and no result depends on it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# The widest instructions that convolutions on an x86 CPU use. AVX-512 adds up in another order than
# AVX2, so trainings would end with other weights where there is AVX-512. README says what it costs.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
