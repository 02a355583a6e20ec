"""The network as a fill of windows, from a file of weights or as it is."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch

from pconv.errors import ParameterError, WeightsError
from pconv.unet import Fill, UNet, mirrored
from pconv.weights import load_weights
from pconv.weights_header import read_about
from pconv.weights_source import weights_file
from pconv.windows import Floats, Mask

log = logging.getLogger(__name__)

Weights = str | Path | UNet

_TRAINED_AT = "size_px"  # what a weights file's header calls the side of the training images
_USUAL_SIZE_PX = 256
SMALLEST_WINDOW_PX = 8
_LARGEST_TOLD_PX = 2**16  # of training images: more is no size but damage


class NetworkOptions(TypedDict, total=False):
    """How a network is run.

    Attributes:
        half: In bfloat16: faster where the processor has it.
        compile: Through ``torch.compile``: a minute at first, then faster.
        mirror: Take the mean of its fills of the picture's four flips: four times the time, a
            little closer to the truth (`pconv.unet.mirrored`).
    """

    half: bool
    compile: bool
    mirror: bool


class NetworkFill:
    """Fills windows with a network.

    Args:
        network: In evaluation mode, on its device.
        trained_at_px: Side of the images it was trained on.
        options: How to run it.
    """

    def __init__(
        self, network: UNet, trained_at_px: int, **options: Unpack[NetworkOptions]
    ) -> None:
        self.trained_at_px = trained_at_px
        first = next(network.parameters())
        self.device, self._dtype = first.device, first.dtype
        self._half = options.get("half", False)
        run: Fill = torch.compile(network) if options.get("compile") else network
        self._run = mirrored(run) if options.get("mirror") else run

    @torch.inference_mode()
    def __call__(self, images: Floats, known: Mask) -> Floats:
        """Return raw output, clamped, for windows as in `pconv.windows.WindowFill`."""
        image = torch.from_numpy(images).to(self.device, self._dtype)
        image = image.permute(0, 3, 1, 2).contiguous()
        mask = torch.from_numpy(np.ascontiguousarray(known)).to(self.device)[:, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            output = self._run(image, mask)
        return output.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def network_fill(
    weights: Weights | None,
    device: str | torch.device | None,
    **options: Unpack[NetworkOptions],
) -> NetworkFill:
    """Return a network as a fill of windows; those of the last two files are kept.

    Args:
        weights: As for `pconv.inpainting.inpaint`.
        device: As for `pconv.inpainting.inpaint`.
        options: How to run it.

    Raises:
        WeightsError: If there are no weights, or the file is not one of ours.
        ParameterError: If there is no such device.
    """
    if isinstance(weights, UNet):
        network = weights if device is None else weights.to(_device(device))
        return NetworkFill(network.eval(), _USUAL_SIZE_PX, **options)
    with weights_file(weights) as path:
        stamp = path.stat().st_mtime_ns if path.is_file() else 0
        return _loaded(path.absolute(), stamp, str(_device(device)), **options)


@lru_cache(maxsize=2)
def _loaded(path: Path, stamp: int, device: str, **options: Unpack[NetworkOptions]) -> NetworkFill:
    """Load weights; the last two are kept, and ``stamp`` tells an overwritten file apart."""
    network = load_weights(path, device)
    trained_at = read_about(path).get(_TRAINED_AT, "")
    told = _told_size(path, trained_at) if trained_at.isdecimal() else 0
    size_px = told if told >= SMALLEST_WINDOW_PX else _USUAL_SIZE_PX
    log.debug("%s (%d) on %s, windows of %d px", path, stamp, device, size_px)
    return NetworkFill(network, size_px, **options)


def _told_size(path: Path, digits: str) -> int:
    """Return the size that a header names, in decimal digits."""
    if len(digits) > len(str(_LARGEST_TOLD_PX)) or int(digits) > _LARGEST_TOLD_PX:
        shown = digits if len(digits) <= 20 else f"a number of {len(digits)} digits"
        raise WeightsError(
            f"{path}: damaged: its header says that {_TRAINED_AT} is {shown}, wanted at most "
            f"{_LARGEST_TOLD_PX}; save the weights anew"
        )
    return int(digits)


def _device(name: str | torch.device | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" is a device too, but one without memory
    # torch's own ways to say that it has none, and that it is no device.
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device is {str(name)!r}, which is not here: {reason}") from error
    return device
