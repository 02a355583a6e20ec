"""Tell, before anything is installed, what this Python lacks: `make install` asks.

    python3 workflow/python_check.py

Run by whatever Python there is, so written for older ones too.
"""

from __future__ import annotations  # Python 3.8 knows no tuple[int, int]

import os
import shutil
import sys
import sysconfig
from pathlib import Path

OLDEST = (3, 11)
# From here on there is no wheel of immutables, which Snakemake needs, so it is compiled.
COMPILES_FROM = (3, 14)


def what_is_missing(version: tuple[int, int], can_compile: bool) -> str:
    """Return in one line what is wrong with a Python of this version, or nothing if all is well."""
    found = "this is Python {}.{}".format(*version)
    if version < OLDEST:
        return found + "; wanted 3.11 or later: name one, as in `make install PYTHON=python3.13`"
    if version >= COMPILES_FROM and not can_compile:
        return (
            found + ", for which one package, immutables, has to be compiled: install a C compiler "
            "and Python's headers (Debian: gcc and python3-dev), or name a Python from 3.11 to "
            "3.13, as in `make install PYTHON=python3.13`"
        )
    return ""


def can_compile() -> bool:
    """Return whether there are a C compiler and this Python's headers."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which(compiler.split()[0]) is not None and headers.is_file()


if __name__ == "__main__":
    problem = what_is_missing(sys.version_info[:2], can_compile())
    if problem:
        sys.stderr.write(problem + "\n")
        sys.exit(2)
