"""Numbers on the command lines of benchmarks: bad ones are refused before anything is measured."""

import argparse
import math


def whole(text: str, least: int = 1, most: float = math.inf) -> int:
    """Read a whole number from `least` to `most`."""
    if not text.isdecimal() or not least <= int(text) <= most:
        end = "on" if most == math.inf else f"to {most}"
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a whole number from {least} {end}")
    return int(text)


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a number above 0")
    return value
