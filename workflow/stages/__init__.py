"""One module a stage, run as ``python -m workflow.stages.NAME``."""

import os

# Read by OpenMP when torch is loaded, so it must stand before every import of a stage. By default
# waiting threads spin; where another process wants a core too, training then ran ten times
# slower. No result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
