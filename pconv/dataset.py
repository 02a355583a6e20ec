"""The training set: decoded once into one memory map, then drawn batch by batch.

Decoding 7700 PNG files takes longer than an epoch on a fast GPU, so it happens once. The
packed arrays are plain ``.npy`` files; they are used again as long as the names and bytes of the
files they were made from, and their own bytes, are the same.

Which image meets which mask in which batch follows from (seed, epoch) alone: not from the number
of processes, nor from where a run was stopped.
"""

import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pconv.atomic import atomic_file
from pconv.errors import DataError
from pconv.images import Mask, Pixels, read_image, read_mask

log = logging.getLogger(__name__)

STAGE_NUMBER = 4  # of training, in the seeds of its draws
_IMAGE_ORDER, _MASK_ORDER = 0, 1
_HASH_BYTES = 1 << 24
# What the network, its gradients and its activations need is far more than a share of this size.
_SHARE_OF_FREE_MEMORY = 0.25
_PICKED_BATCHES = 8


@dataclass(frozen=True)
class ImageSet:
    """Images and masks of one size.

    Attributes:
        images: RGB, uint8, ``(N, H, W, 3)``.
        masks: True where known, ``(M, H, W)``; M and N may differ.
    """

    images: Pixels
    masks: Mask

    def __post_init__(self) -> None:
        """Refuse what can't be trained on.

        Raises:
            DataError: If either is empty, or the masks are of another size than the images.
        """
        for name, array in (("images", self.images), ("masks", self.masks)):
            if len(array) == 0:
                raise DataError(f"no {name}: an empty data set can't be trained on")
        if self.images.shape[1:3] != self.masks.shape[1:]:
            raise DataError(
                f"the masks are {_size(self.masks)} pixels but the images {_size(self.images)}; "
                "a mask must be as large as the image it damages"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shapes and contents."""
        return hashlib.sha256((_digest(self.images) + _digest(self.masks)).encode()).hexdigest()


def pack_images(files: Sequence[Path], packed: Path) -> Pixels:
    """Decode image files into one array, or map the one made before.

    Args:
        files: Image files of one size, in the order wanted.
        packed: The ``.npy`` file to make; a ``.json`` of the same stem says what it was made of.

    Returns:
        A read-only memory map, uint8, ``(N, H, W, 3)``.

    Raises:
        DataError: If there are no files, or they differ in size.
        ImageError: If a file is unreadable.
    """
    return _pack(files, packed, read_image, "images")


def pack_masks(files: Sequence[Path], packed: Path) -> Mask:
    """Decode mask files likewise: bool, True where known, ``(M, H, W)``.

    Raises:
        DataError: If there are no files, or they differ in size.
        MaskError: If a file is unreadable or not binary.
    """
    return _pack(files, packed, read_mask, "masks")


@dataclass(frozen=True)
class Batches:
    """Which images and masks make up each batch.

    An epoch is a new permutation of the images. The few that do not fill a last batch sit out
    that epoch. The masks are permuted too, repeated or cut to the number of images.
    """

    images: int
    masks: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse a batch that can't be filled.

        Raises:
            DataError: If there are fewer images than a batch has.
        """
        if self.images < self.batch_size:
            raise DataError(
                f"{self.images} training images do not fill a batch of {self.batch_size}; "
                "make more images or the batch smaller"
            )

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return self.images // self.batch_size

    def of_epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the image and mask numbers of one epoch, shape ``(steps, batch_size, 2)``."""
        images = self._rng(epoch, _IMAGE_ORDER).permutation(self.images)
        masks = self._rng(epoch, _MASK_ORDER).permutation(self.masks)
        pairs = np.stack([images, np.resize(masks, self.images)], axis=1)
        return pairs[: self.steps * self.batch_size].reshape(self.steps, self.batch_size, 2)

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, STAGE_NUMBER, epoch, purpose])


class Loader:
    """Fetches batches to a device: from the device's own memory where the set fits.

    Elsewhere a thread gathers the next batch from the memory map while the step runs.

    Attributes:
        waited_s: Seconds that the steps have waited for batches so far.
    """

    def __init__(self, data: ImageSet, device: torch.device) -> None:
        self.waited_s = 0.0
        self._data = data
        self._device = device
        self._resident = _to_device(data, device) if _fits(data, device) else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def batches(self, numbers: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches that lie on the device.

        Args:
            numbers: Image and mask numbers, ``(steps, B, 2)``.

        Yields:
            Images, uint8 ``(B, H, W, 3)``, and masks, bool ``(B, H, W)``.
        """
        if self._resident is None:
            coming = self._gathered(numbers)
        else:
            coming = self._picked(*self._resident, numbers)
        asked = time.perf_counter()
        for batch in coming:
            self.waited_s += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    def _picked(
        self, images: Tensor, masks: Tensor, numbers: NDArray[np.int64]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        # Several batches at a time: picking one takes the host longer than it takes the GPU.
        sent = self._send(torch.from_numpy(numbers.transpose(2, 0, 1).copy()))
        for of_images, of_masks in torch.split(sent, _PICKED_BATCHES, dim=1):
            yield from zip(images[of_images], masks[of_masks], strict=True)

    def _gathered(self, numbers: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
        for batch in numbers:
            ahead.append(self._thread.submit(self._gather, batch))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        for last in ahead:
            yield last.result()

    def _gather(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self._data.images[numbers[:, 0]])
        masks = torch.from_numpy(self._data.masks[numbers[:, 1]])
        return self._send(images), self._send(masks)

    def _send(self, tensor: Tensor) -> Tensor:
        # Only from pinned memory is a copy to the GPU asynchronous.
        source = tensor.pin_memory() if self._device.type == "cuda" else tensor
        return source.to(self._device, non_blocking=True)


def as_network_input(
    images: Tensor, masks: Tensor, *, channels_last: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn stored pixels into what the network takes.

    Args:
        images: uint8, ``(B, H, W, 3)``.
        masks: bool, ``(B, H, W)``.
        channels_last: Keep the memory order of the pixels; else channels become planes.

    Returns:
        Images, float32 0..1, ``(B, 3, H, W)``, and masks, float32 0 or 1, ``(B, 1, H, W)``.
    """
    order = torch.channels_last if channels_last else torch.contiguous_format
    images_01 = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=order).div_(255)
    return images_01, masks.unsqueeze(1).to(torch.float32)


def _pack(
    files: Sequence[Path], packed: Path, read: Callable[[Path], NDArray[Any]], what: str
) -> NDArray[Any]:
    if not files:
        raise DataError(f"no {what} were found; wanted at least one file")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = _source_digest(files, pool)
        note = packed.with_suffix(".json")
        reused = _reopen(packed, note, sources)
        if reused is not None:
            return reused
        with atomic_file(packed) as unfinished:
            _decode(files, unfinished, read, pool, what)
            # Only now: if these files can't be decoded, what was packed before is still good.
            note.unlink(missing_ok=True)
    array = np.load(packed, mmap_mode="r", allow_pickle=False)
    with atomic_file(note) as unfinished:
        unfinished.write_text(json.dumps({"sources": sources, "sha256": _digest(array)}) + "\n")
    return array


def _source_digest(files: Sequence[Path], pool: ThreadPoolExecutor) -> str:
    """Names and bytes: two 1-bit PNG files of different masks often have the same length."""
    total = hashlib.sha256()
    for file, digest in zip(files, pool.map(_file_digest, files), strict=True):
        total.update(f"{file.name}\0".encode() + digest)
    return total.hexdigest()


def _file_digest(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror})") from error


def _reopen(packed: Path, note: Path, sources: str) -> NDArray[Any] | None:
    """Return the array made before if it is of the same files and undamaged."""
    try:
        made_of = json.loads(note.read_text())
        if made_of["sources"] != sources:
            log.info("%s: made of other files; packing anew", packed)
            return None
        array: NDArray[Any] = np.lib.format.open_memmap(packed, mode="r")
        if made_of["sha256"] == _digest(array):
            return array
    except FileNotFoundError:
        return None
    # NumPy reads a header as Python, and lets the tokenizer's error through.
    except (OSError, ValueError, KeyError, TypeError, TokenError) as error:
        log.warning("%s: not readable (%s); packing anew", packed, error)
        return None
    log.warning("%s: damaged; packing anew", packed)
    return None


def _decode(
    files: Sequence[Path],
    packed: Path,
    read: Callable[[Path], NDArray[Any]],
    pool: ThreadPoolExecutor,
    what: str,
) -> None:
    first = read(files[0])
    array = np.lib.format.open_memmap(
        packed, mode="w+", dtype=first.dtype, shape=(len(files), *first.shape)
    )
    _reserve(packed)
    store = partial(_store, array=array, files=files, read=read)
    for _ in tqdm(
        pool.map(store, range(len(files))), f"decode {what}", total=len(files), disable=None
    ):
        pass
    array.flush()


def _reserve(path: Path) -> None:
    """Take the file's whole length on the disk now, or fail with an error that can be told.

    A page of a memory map that finds the disk full kills the process without a word (SIGBUS).
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _store(
    index: int, array: NDArray[Any], files: Sequence[Path], read: Callable[[Path], NDArray[Any]]
) -> None:
    pixels = read(files[index])
    if pixels.shape != array.shape[1:]:
        raise DataError(
            f"{files[index]}: {_size(pixels[None])} pixels, but {files[0]} has {_size(array)}; "
            "all of one data set must be of one size"
        )
    array[index] = pixels


def _digest(array: NDArray[Any]) -> str:
    """SHA-256 over type, shape and contents, a slice of items at a time."""
    total = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    items = max(1, _HASH_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), items):
        total.update(np.ascontiguousarray(array[start : start + items]).data)
    return total.hexdigest()


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[2]}x{array.shape[1]}"


def _fits(data: ImageSet, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return data.images.nbytes + data.masks.nbytes < free * _SHARE_OF_FREE_MEMORY


def _to_device(data: ImageSet, device: torch.device) -> tuple[Tensor, Tensor]:
    # The copy makes the array writable, without which torch warns.
    images, masks = (torch.from_numpy(np.array(part)) for part in (data.images, data.masks))
    return images.to(device), masks.to(device)
