"""Image inpainting with partial convolutions.

The names below are loaded when first used: importing one module of the library does not run
the others, so a pipeline stage depends on the modules it names and on nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pconv.inpainting import Inpainter, inpaint, inpaint_batch
    from pconv.layers import PartialConv2d
    from pconv.losses import InpaintingLoss
    from pconv.unet import PConvUNet

__all__ = [
    "Inpainter",
    "InpaintingLoss",
    "PConvUNet",
    "PartialConv2d",
    "inpaint",
    "inpaint_batch",
]

_MODULE_OF = {
    "Inpainter": "pconv.inpainting",
    "InpaintingLoss": "pconv.losses",
    "PConvUNet": "pconv.unet",
    "PartialConv2d": "pconv.layers",
    "inpaint": "pconv.inpainting",
    "inpaint_batch": "pconv.inpainting",
}


def __getattr__(name: str) -> Any:
    """Load a public name, or a submodule such as ``pconv.masks``, at its first use."""
    if name == "__version__":
        return import_module("importlib.metadata").version("pconv")
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    if name.startswith("_"):
        raise AttributeError(f"module 'pconv' has no attribute {name!r}")
    try:
        return import_module(f"pconv.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"pconv.{name}":
            raise
        raise AttributeError(f"module 'pconv' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
