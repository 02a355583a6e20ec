"""The network as a fill of windows, from a file of weights or as it is."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from pconv.bf16 import is_bf16_emulated
from pconv.devices import existing_device
from pconv.errors import ParameterError, WeightsError
from pconv.images import Mask
from pconv.unet import Fill, UNet, mirrored
from pconv.weights import load_weights, unwrapped
from pconv.weights_source import weights_file
from pconv.windows import Floats

log = logging.getLogger(__name__)

# A network may be wrapped; what torch.compile makes of one is typed as a callable.
Weights = str | Path | nn.Module | Fill

_USUAL_SIZE_PX = 256
SMALLEST_WINDOW_PX = 8
_CHANNELS = 3

_lock = threading.Lock()
_in_use: dict[nn.Module, tuple[int, list[nn.Module]]] = {}  # by how many, and what they put back


class NetworkOptions(TypedDict, total=False):
    """How a network is run.

    Attributes:
        half: In bfloat16: faster where the processor has it, many times slower where it has not.
        compile: Through ``torch.compile``: faster, after a minute or more at the first windows, at
            the first batch of several, and so again at each other size of windows. Pictures smaller
            than a window are windows of their own size; after eight graphs (dynamo's recompile
            limit) other sizes are run as without.
        mirror: Take the mean of its fills of the picture's four flips: four times the time, a
            little closer to the truth (`pconv.unet.mirrored`).
    """

    half: bool
    compile: bool
    mirror: bool


class NetworkFill:
    """Fills windows with a network.

    Args:
        network: On its device. It is run in evaluation mode, and then left as it was.
        options: How to run it.

    Attributes:
        trained_at_px: Side of the images that the network was trained on, or else the usual one.

    Raises:
        WeightsError: If it has not three channels on either side.
    """

    def __init__(self, network: UNet, **options: Unpack[NetworkOptions]) -> None:
        sizes = network.hyperparameters()
        if (sizes["in_channels"], sizes["out_channels"]) != (_CHANNELS, _CHANNELS):
            raise WeightsError(
                f"the network takes {sizes['in_channels']} channels and makes "
                f"{sizes['out_channels']}; wanted one for RGB, {_CHANNELS} and {_CHANNELS}"
            )
        told = network.trained_at_px or 0
        self.trained_at_px = told if told >= SMALLEST_WINDOW_PX else _USUAL_SIZE_PX
        first = next(network.parameters())
        self._network, self.device, self._dtype = network, first.device, first.dtype
        # A float16 network is half already, and autocast would mix the two kinds.
        self._half = options.get("half", False) and self._dtype != torch.float16
        if self._half and self.device.type == "cpu" and is_bf16_emulated():
            log.warning(
                "half: bfloat16 is many times slower than float32 here: this CPU has no "
                "instructions for it, or ONEDNN_MAX_CPU_ISA keeps it from using them; leave half "
                "out"
            )
        run: Fill = _compiled(network) if options.get("compile") else network
        self._run = mirrored(run) if options.get("mirror") else run

    @torch.inference_mode()
    def __call__(self, images: Floats, known: Mask) -> Floats:
        """Return raw output, clamped, for windows as in `pconv.windows.WindowFill`."""
        image = torch.from_numpy(images).to(self.device, self._dtype)
        image = image.permute(0, 3, 1, 2).contiguous()
        mask = torch.from_numpy(np.ascontiguousarray(known)).to(self.device)[:, None]
        with (
            _in_evaluation(self._network),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self._half),
        ):
            output = self._run(image, mask)
        return output.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def _compiled(network: UNet) -> Fill:
    """Return a compiled network: a graph for any number of windows, but for one size of them.

    Nearly all windows are of one size, and a graph for all sizes takes longer to compile.
    """
    return partial(_run_at_its_size, torch.compile(network))


def _run_at_its_size(run: Fill, image: Tensor, mask: Tensor) -> Tensor:
    for tensor in (image, mask):
        torch._dynamo.mark_static(tensor, [2, 3])
    return run(image, mask)


@contextmanager
def _in_evaluation(network: nn.Module) -> Iterator[None]:
    """Run a network in evaluation mode, and leave each of its modules as it was.

    In training mode a fill would depend on what else is filled, and change the batch norms. Of
    several threads the first one in changes the mode and the last one out changes it back.
    """
    with _lock:
        users, training = _in_use.get(network, (0, []))
        if not users:
            training = [module for module in network.modules() if module.training]
            network.eval()
        _in_use[network] = users + 1, training
    try:
        yield
    finally:
        with _lock:
            users, training = _in_use.pop(network)
            if users > 1:
                _in_use[network] = users - 1, training
            else:
                for module in training:
                    module.training = True


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
        ParameterError: If there is no such device, or the network is on another one, or the weights
            are something else.
    """
    if isinstance(weights, nn.Module):
        network = unwrapped(weights)
        if isinstance(network, UNet):
            fill = NetworkFill(network, **options)
            if device is not None and existing_device(device) != fill.device:
                raise ParameterError(
                    f"device is {str(device)!r}, while the network given as weights is on "
                    f"{fill.device} and stays there; give no device, or a copy that is where you "
                    "want it: copy.deepcopy(network).to(device)"
                )
            return fill
    if not isinstance(weights, str | Path | None):
        raise ParameterError(
            f"weights is a {type(weights).__name__}; wanted a file, an MLflow URI or a network of "
            "pconv.unet"
        )
    with weights_file(weights) as path:
        stamp = path.stat().st_mtime_ns if path.is_file() else 0
        return _loaded(path.absolute(), stamp, str(existing_device(device)), **options)


@lru_cache(maxsize=2)
def _loaded(path: Path, stamp: int, device: str, **options: Unpack[NetworkOptions]) -> NetworkFill:
    """Load weights; the last two are kept, and ``stamp`` tells an overwritten file apart."""
    network = load_weights(path, device)
    try:
        fill = NetworkFill(network, **options)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    log.debug("%s (%d) on %s, windows of %d px", path, stamp, device, fill.trained_at_px)
    return fill
