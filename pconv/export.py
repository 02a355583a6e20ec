"""The network as an ONNX file, for programs without PyTorch.

The file's inputs are ``image``, values 0..1, ``(B, 3, H, W)``, and ``mask``, 1 where known and 0
in holes, ``(B, 1, H, W)``, both float32 and of any size; its output ``filled`` is the picture with
its known pixels kept, 0..1. Needs ``onnx``, ``onnxscript`` and, for the check, ``onnxruntime``.
"""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pconv.atomic import atomic_file
from pconv.errors import WeightsError
from pconv.unet import UNet, composite
from pconv.weights import load_weights
from pconv.weights_header import read_about

TOLERANCE = 1e-4
CHECKED_SIZES = ((96, 160), (130, 70))
"""Height and width; no multiples of 2^levels, and neither is the size that is traced."""
_TRACED_SIZE = (80, 112)


class _Filled(nn.Module):
    """A network with known pixels put back and values in range."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return composite(self.network(image, mask).clamp(0, 1), image, mask)


def export_onnx(weights: Path, out: Path) -> float | None:
    """Write the network of a weights file as ONNX, and check what it computes.

    Args:
        weights: A weights file.
        out: The ONNX file, written whole or not at all.

    Returns:
        The largest difference between ONNX Runtime and PyTorch at `CHECKED_SIZES`, at most
        `TOLERANCE`; none if ``onnxruntime`` is not installed.

    Raises:
        WeightsError: If the weights can't be read, a package is missing, or the two differ.
    """
    _refuse_without("onnx", "onnxscript")
    model = _Filled(load_weights(weights)).eval()
    with atomic_file(out) as partial:
        partial.touch()  # what can't be written is told now, before the work
        program = torch.onnx.export(
            model,
            _example(*_TRACED_SIZE, batch=2),
            input_names=["image", "mask"],
            output_names=["filled"],
            dynamo=True,
            dynamic_shapes=({axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)},) * 2,
            custom_translation_table={torch.ops.aten.avg_pool2d.default: _window_sum()},
            verbose=False,
        )
        if program is None:
            raise WeightsError(f"{weights}: PyTorch exported nothing")
        program.model.metadata_props.update(read_about(weights))
        program.save(partial, external_data=False)
        return _checked(partial, model) if find_spec("onnxruntime") else None


def _refuse_without(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise WeightsError(
            f"ONNX export needs {' and '.join(missing)}, which is not installed: "
            f"pip install {' '.join(missing)}"
        )


def _window_sum() -> Callable[..., Any]:
    """Return ONNX for sums over windows: PyTorch's exporter forgets that the divisor is 1."""
    op = import_module("onnxscript").opset18

    def window_sum(
        image: Any, kernel_size: Sequence[int], stride: Sequence[int] = (), *_: Any, **__: Any
    ) -> Any:
        mean = op.AveragePool(image, kernel_shape=kernel_size, strides=stride or kernel_size)
        return op.Mul(mean, op.Constant(value_float=float(math.prod(kernel_size))))

    return window_sum


def _checked(path: Path, model: nn.Module) -> float:
    """Return the largest difference to ONNX Runtime's results."""
    session = import_module("onnxruntime").InferenceSession(str(path))
    largest = 0.0
    for size in CHECKED_SIZES:
        image, mask = _example(*size, batch=1)
        with torch.inference_mode():
            wanted = model(image, mask).numpy()
        (found,) = session.run(None, {"image": image.numpy(), "mask": mask.numpy()})
        largest = max(largest, float(np.abs(found - wanted).max()))
    if not largest <= TOLERANCE:
        raise WeightsError(
            f"ONNX Runtime's result differs from PyTorch's by {largest:.2g}, at most {TOLERANCE} "
            "is allowed; the file is not kept"
        )
    return largest


def _example(height: int, width: int, *, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(batch, 3, height, width, generator=generator)
    return image, (torch.rand(batch, 1, height, width, generator=generator) > 0.3).float()
