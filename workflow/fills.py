"""How a batch of pairs is filled by any method, for the stages that measure and show fills."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pconv import baselines
from pconv.devices import default_device
from pconv.images import Mask, Pixels
from pconv.unet import Fill, UNet, composite, mirrored
from pconv.weights import load_weights
from workflow.networks import MIRRORED, is_network, network_file


def fill_pairs(method: str, models: Path, images: Pixels, masks: Mask) -> Pixels:
    """Fill a batch of damaged pictures.

    Args:
        method: A trained network or one of `pconv.baselines.METHODS`.
        models: The folder of trained networks.
        images: uint8, ``(B, S, S, 3)``.
        masks: True where known, ``(B, S, S)``.

    Returns:
        The pictures with their known pixels kept, uint8, ``(B, S, S, 3)``.
    """
    if is_network(method):
        return to_pixels(network_outputs(method, models, images, masks), images, masks)
    filled = [baselines.fill(method, *pair) for pair in zip(images, masks, strict=True)]
    return np.stack(filled)


@torch.inference_mode()
def network_outputs(method: str, models: Path, images: Pixels, masks: Mask) -> Tensor:
    """Return a network's raw output, float32 ``(B, 3, S, S)``, for a batch as in `fill_pairs`."""
    device = default_device()
    network: Fill = _load(network_file(method, models), str(device))
    if method.endswith(MIRRORED):
        network = mirrored(network)
    return network(images_01(images).to(device), masks_01(masks).to(device)).float()


def to_pixels(output: Tensor, images: Pixels, masks: Mask) -> Pixels:
    """Return raw network output as 8-bit pictures whose known pixels are the image's own."""
    known = masks_01(masks).to(output.device)
    filled = composite(output.clamp(0, 1) * 255, images_01(images).to(output.device) * 255, known)
    return filled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def images_01(images: Pixels) -> Tensor:
    """Return uint8 ``(B, H, W, 3)`` as float32 in 0..1, ``(B, 3, H, W)``."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)


def masks_01(masks: Mask) -> Tensor:
    """Return bool ``(B, H, W)`` as float32, ``(B, 1, H, W)``, 1 where known."""
    return torch.from_numpy(masks)[:, None].float()


@lru_cache(maxsize=8)
def _load(path: Path, device: str) -> UNet:
    # The pictures' own layout in memory: a sixth less time on a CPU.
    return load_weights(path, device).to(memory_format=torch.channels_last)
