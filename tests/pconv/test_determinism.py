"""The switches of torch are set for a block, and then as they were."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pconv.determinism import reproducible

ROOT = Path(__file__).parents[2]
# By each of torch's two ways; it has no way back from a mixture of them.
SETTINGS = {
    "": True,
    "torch.set_float32_matmul_precision('medium')": True,
    "cudnn.allow_tf32 = False": True,
    "cuda.matmul.fp32_precision = 'tf32'": False,
    "torch.backends.fp32_precision = 'tf32'": False,
    "cudnn.conv.fp32_precision = 'ieee'": False,
    "mkldnn.conv.fp32_precision = 'bf16'": False,
}
# Hence each setting in a process of its own, forked from one that has loaded torch, for seconds.
STATES = f"""
import os
import torch
from torch.backends import cuda, cudnn, mkldnn
from pconv.determinism import reproducible

def state():
    parts = (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, torch.backends)
    return [part.fp32_precision for part in parts]

def by_the_older_way():
    return torch.get_float32_matmul_precision(), cuda.matmul.allow_tf32, cudnn.allow_tf32

def check(setting, is_older):
    exec(setting)
    before = state(), is_older and by_the_older_way()
    for tf32 in (False, True):
        with reproducible(torch.device("cpu"), threads=1, tf32=tf32):
            wanted = "tf32" if tf32 else "ieee"
            assert state()[:5] == [wanted] * 3 + ["ieee"] * 2, state()
            assert by_the_older_way() == ("high" if tf32 else "highest", tf32, tf32)
        assert (state(), is_older and by_the_older_way()) == before, (state(), before)

torch.use_deterministic_algorithms(False)  # loads the compiler: here once
for setting, is_older in {SETTINGS!r}.items():
    if not os.fork():
        check(setting, is_older)
        print("right:", setting, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def checked() -> "subprocess.CompletedProcess[str]":
    """The checks of all settings: on the output those that hold, among errors why one fails."""
    return subprocess.run([sys.executable, "-c", STATES], cwd=ROOT, capture_output=True, text=True)


class TestReproducible:
    """`reproducible`."""

    @pytest.mark.parametrize("setting", SETTINGS)
    def test_precision(self, checked: "subprocess.CompletedProcess[str]", setting: str) -> None:
        """Float32 has the bits that are asked for, whatever was set by either of torch's ways."""
        assert f"right: {setting}" in checked.stdout.splitlines(), checked.stderr

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    def test_device(self, device: str) -> None:
        """The CPU is strict, a GPU tries cuDNN's algorithms out; an error too sets all back."""

        def state() -> list[object]:
            return [
                torch.get_num_threads(),
                torch.are_deterministic_algorithms_enabled(),
                torch.backends.cudnn.benchmark,
                torch.utils.deterministic.fill_uninitialized_memory,
            ]

        def fail() -> None:
            with reproducible(torch.device(device), threads=threads, tf32=False):
                assert state() == [threads, device == "cpu", device == "cuda", False]
                raise KeyError

        before, threads = state(), torch.get_num_threads() + 1
        assert before[1:] == [False, False, True]
        with pytest.raises(KeyError):
            fail()
        assert state() == before

    def test_warn_only(self) -> None:
        """Who wants warnings of what is not deterministic, and no errors, gets them afterwards."""
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with reproducible(torch.device("cpu"), threads=1, tf32=False):
                assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        finally:
            torch.use_deterministic_algorithms(False)
