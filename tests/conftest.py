"""What all tests share: on CI Hypothesis draws the same examples every time.

Elsewhere each run draws others; what one finds becomes an `@example`, so that CI has it too.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
