"""Image inpainting with partial convolutions.

>>> filled = pconv.inpaint(photo, mask)    # a picture and its holes; the network that ships
>>> network = pconv.load_weights()         # that network itself, a torch module

Images are RGB, in 0 to 1 in tensors (for ``metrics`` in 0 to 255) and in 0 to 255 in arrays of
uint8; in masks 1, or True, is a known pixel and 0 a hole. The modules:

- ``inpainting``: fill the holes of anybody's picture, of any size
- ``baselines``: the classical methods, behind one call
- ``layers``: the partial convolution
- ``unet``: the network, partial or plain, and `composite`, which puts known pixels back
- ``weights``: weights files: save, load, begin a training with one
- ``weights_source``: which file is meant: the weights that ship, an MLflow model, …
- ``export``: the network as ONNX
- ``losses``: the five terms of the loss and their total
- ``features``: VGG-16 for two of the terms
- ``metrics``: PSNR, SSIM and L1, whole or in the hole
- ``measuring``: these of fills of one's own photographs, as ``pconv measure`` prints them
- ``masks``: masks drawn at random: walks, strokes, rectangles, blocks, outlines
- ``mask_shapes``: more masks: brushes, borders, a given share of holes, given ones varied
- ``augment``: training images from photographs
- ``images``: image and mask files as arrays
- ``photo_files``: photographs with 16 bits, alpha and metadata
- ``resizing``: other sizes of images and masks
- ``dataset``, ``plan``, ``training``: the pipeline's packed images, and its training on them
- ``errors``: what is raised
"""

# Names are loaded when first used: importing one module of the library does not run the others,
# so a pipeline stage depends on the modules it names and on nothing else.

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pconv import augment as augment
    from pconv import baselines as baselines
    from pconv import dataset as dataset
    from pconv import errors as errors
    from pconv import export as export
    from pconv import features as features
    from pconv import images as images
    from pconv import inpainting as inpainting
    from pconv import layers as layers
    from pconv import losses as losses
    from pconv import mask_shapes as mask_shapes
    from pconv import masks as masks
    from pconv import measuring as measuring
    from pconv import metrics as metrics
    from pconv import photo_files as photo_files
    from pconv import plan as plan
    from pconv import resizing as resizing
    from pconv import training as training
    from pconv import unet as unet
    from pconv import weights as weights
    from pconv import weights_source as weights_source
    from pconv.features import vgg16_features
    from pconv.inpainting import Inpainter, inpaint, inpaint_batch
    from pconv.layers import PartialConv2d
    from pconv.losses import InpaintingLoss, LossWeights
    from pconv.unet import PConvUNet, composite
    from pconv.weights import load_weights, save_weights

    __version__: str

__all__ = [
    "Inpainter",
    "InpaintingLoss",
    "LossWeights",
    "PConvUNet",
    "PartialConv2d",
    "composite",
    "inpaint",
    "inpaint_batch",
    "load_weights",
    "save_weights",
    "vgg16_features",
]

_MODULE_OF = {
    "Inpainter": "inpainting",
    "InpaintingLoss": "losses",
    "LossWeights": "losses",
    "PConvUNet": "unet",
    "PartialConv2d": "layers",
    "composite": "unet",
    "inpaint": "inpainting",
    "inpaint_batch": "inpainting",
    "load_weights": "weights",
    "save_weights": "weights",
    "vgg16_features": "features",
}

_MODULES = [
    "augment",
    "baselines",
    "dataset",
    "errors",
    "export",
    "features",
    "images",
    "inpainting",
    "layers",
    "losses",
    "mask_shapes",
    "masks",
    "measuring",
    "metrics",
    "photo_files",
    "plan",
    "resizing",
    "training",
    "unet",
    "weights",
    "weights_source",
]

if not TYPE_CHECKING:  # to a type checker, every name would be one of the package

    def __getattr__(name: str) -> Any:
        """Load a public name, or a submodule such as ``pconv.masks``, at its first use."""
        if name == "__version__":
            return import_module("importlib.metadata").version("pconv")
        if name in _MODULE_OF:
            return getattr(import_module(f"pconv.{_MODULE_OF[name]}"), name)
        if name.startswith("_"):
            raise AttributeError(f"module 'pconv' has no attribute {name!r}")
        try:
            return import_module(f"pconv.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"pconv.{name}":
                raise
            raise AttributeError(f"module 'pconv' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    """Return the public names and the modules that a user of the library needs."""
    return sorted([*__all__, *_MODULES])
