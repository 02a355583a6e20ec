"""Where the numbers come from: weights, versions and hardware.

Only what is the same in every clone on one machine: no commit, no date, no run id. A page that
named them would change with every commit, though no number did.
"""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pconv.weights_header import read_about
from workflow.networks import CHECKPOINTS, NETWORKS, network_file

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "numba",
    "pandas",
    "matplotlib",
)
_CPU_FILE = Path("/proc/cpuinfo")


def weights_about(models: Path) -> dict[str, dict[str, str]]:
    """Return what the header of every weights file says, by method.

    Of a network that was measured on another machine the header may have come alone, as a file of
    its own (`header_file`).

    Raises:
        WeightsError: If a file is damaged.
    """
    about = {}
    for method in (f"{network}-{end}" for network in NETWORKS for end in CHECKPOINTS):
        weights = network_file(method, models)
        if weights.is_file():
            about[method] = read_about(weights)
        elif header_file(weights).is_file():
            about[method] = json.loads(header_file(weights).read_text())
    return about


def header_file(weights: Path) -> Path:
    """Return where the header of weights lies that did not come along."""
    return weights.with_suffix(".header.json")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make numbers and pictures."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # another build of OpenCV, say
    return found


def hardware() -> dict[str, str]:
    """Return the processor and, if there is one, the GPU."""
    import torch  # here, as it takes seconds, and who wants hashes only needs none of it

    found = {"Processor": f"{_cpu_model()}, {os.cpu_count()} logical cores"}
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def _cpu_model() -> str:
    if _CPU_FILE.is_file():
        for line in _CPU_FILE.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
