"""Which of the processor's instructions a stage computes with."""

import os
import subprocess
import sys

CONVOLVE = """
import workflow.stages
import torch
torch.nn.functional.conv2d(torch.rand(1, 32, 32, 32), torch.rand(32, 32, 3, 3))
"""


def report(**environment: str) -> str:
    """Return what oneDNN, which convolves on a CPU, tells of a stage's convolution."""
    unset = {name: word for name, word in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", CONVOLVE],
        env=unset | {"ONEDNN_VERBOSE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "convolution" in done.stdout
    return done.stdout.lower()


def test_the_same_everywhere() -> None:
    """A processor with AVX-512 adds up in the order of one without."""
    assert "avx512" not in report()


def test_unless_told_otherwise() -> None:
    """Whoever names other instructions gets them."""
    assert "sse41" in report(ONEDNN_MAX_CPU_ISA="SSE41")
