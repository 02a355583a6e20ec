"""Reading what ``torch.save`` wrote, from whoever: nothing in a file is run."""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import torch

# What torch.load raised on 4500 randomly damaged files: its unpickler checks little itself.
UNREADABLE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


def load_torch_file(path: Path, *, mapped: bool = False) -> object:
    """Return what a file of ``torch.save`` holds: tensors, numbers, text, lists, dictionaries.

    Args:
        path: The file, a zip archive or of torch's format of before 2020.
        mapped: Leave the tensors on the disk until they are used, where the format allows it.

    Raises:
        UNREADABLE: One of these errors, if it holds anything else or is damaged.
    """
    with warnings.catch_warnings():
        # Of a pickle's protocol: such a file is then read or refused, and either needs no warning.
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        mmap = mapped and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
