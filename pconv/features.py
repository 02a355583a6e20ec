"""VGG-16 activations after its first three pooling layers, for the perceptual and style losses.

What the network computes is normalised with ImageNet's mean and deviation here and nowhere else.
(`pconv.metrics.psnr_paper` does so to measure as the paper did.)
"""

import logging
from http.client import HTTPException
from pathlib import Path
from typing import TypeGuard

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pconv.errors import ShapeError, WeightsError
from pconv.torch_files import UNREADABLE, load_torch_file
from pconv.value_range import refuse_arrays, refuse_integers

# Of the training set of the ImageNet weights (Krizhevsky's ILSVRC 2012), for values in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Column D of table 1 of Simonyan & Zisserman 2015 up to pool3: a block's width and convolutions.
_BLOCKS = ((64, 2), (128, 2), (256, 3))

SMALLEST_SIDE_PX = 8
LAYER_COUNT = sum(2 * convolutions + 1 for _, convolutions in _BLOCKS)

logger = logging.getLogger(__name__)


class VGG16Features(nn.Module):
    """VGG-16 up to pool3, frozen, with ImageNet's normalisation in front.

    The classifier (500 MB of the full network) is never built. A fresh object holds no
    values yet: `vgg16_features` makes one that does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # On the meta device nothing is allocated, and the global seed is left alone.
        with torch.device("meta"):
            self.features = _layers()
        self.requires_grad_(False)
        # Not persistent: the state dict is then a plain slice of torchvision's.
        self.register_buffer("mean", _of_channels(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _of_channels(IMAGENET_STD), persistent=False)

    def refuse_empty(self) -> None:
        """Refuse weights without values: torch would compute with whatever memory holds.

        Raises:
            WeightsError: If nothing was loaded.
        """
        if self.features[0].weight.is_meta:
            raise WeightsError(
                "VGG-16 holds no values yet; make it by "
                "pconv.features.vgg16_features('imagenet' | 'random' | FILE)"
            )

    def forward(self, images_01: Tensor) -> list[Tensor]:
        """Return the activations after pool1, pool2 and pool3.

        Args:
            images_01: RGB, floating point, values 0..1, shape ``(B, 3, H, W)``, sides of 8 px or
                more; computed in the weights' precision, or autocast's.

        Returns:
            Shapes ``(B, 64, H/2, W/2)``, ``(B, 128, H/4, W/4)`` and ``(B, 256, H/8, W/8)``,
            sides rounded down.

        Raises:
            ShapeError: If the images have other than three channels or are too small for pool3.
            ImageError: If the images are integers, hence not in 0..1, or no tensor.
            WeightsError: If no weights were loaded.
        """
        self.refuse_empty()
        _check_images(images_01)
        # Images of float64 are as good as any others, but no convolution takes two precisions.
        x = ((images_01 - self.mean) / self.std).to(self.mean.dtype)
        pooled = []
        for place, layer in enumerate(self.features):
            if not isinstance(layer, nn.Conv2d):
                continue
            if isinstance(self.features[place + 2], nn.MaxPool2d):
                x = _pooled(x, layer)
                pooled.append(x)
            else:
                x = F.relu(layer(x), inplace=True)
        return pooled


def _layers() -> nn.Sequential:
    """Return the layers of torchvision's vgg16 up to pool3, under its names.

    Not by torchvision, which takes seconds to start, in each process that evaluates.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, convolutions in _BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _pooled(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return what convolution, ReLU and pooling of 2×2 return.

    A number added to all values, and the cut at zero, leave the largest of four the largest. After
    pooling there is a quarter of them to pass over, forward and backward, and passing over VGG's
    largest maps is what a step on a GPU spends its time on (benchmarks/gpu-notes.md).
    """
    x = F.max_pool2d(F.conv2d(x, conv.weight, padding=conv.padding), 2)
    if conv.bias is not None:
        x = x.add_(conv.bias.to(x.dtype).view(-1, 1, 1))
    return F.relu(x, inplace=True)


def vgg16_features(source: str, seed: int = 0) -> VGG16Features:
    """Return VGG-16's first three blocks with weights from one of three sources.

    Args:
        source: ``"imagenet"`` for torchvision's weights (downloaded once, 528 MB, kept in
            torch's hub folder); ``"random"`` for He's initialisation; otherwise the path of a
            ``.safetensors`` file or of a state dict saved by ``torch.save``. The file may hold
            the whole of torchvision's vgg16 or its convolutions only.
        seed: For ``"random"``: the same seed gives the same weights in every process.

    Returns:
        The network, frozen and in evaluation mode, on the CPU.

    Raises:
        WeightsError: If the file or the download can't be had, or does not hold VGG-16.
    """
    model = VGG16Features()
    if source == "random":
        state = _he_normal(model, seed)
    else:
        found, origin = _download() if source == "imagenet" else _read(Path(source))
        state = _select(found, model, origin)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def _check_images(images: Tensor) -> None:
    refuse_arrays(images=images)
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_SIDE_PX:
        raise ShapeError(
            f"images: shape {tuple(images.shape)}; VGG-16 up to pool3 wants (B, 3, H, W) "
            f"with sides of {SMALLEST_SIDE_PX} px or more"
        )
    refuse_integers("images", images)


def _of_channels(values: tuple[float, ...]) -> Tensor:
    # As the weights, float32 on the CPU, whatever torch's defaults are.
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(3, 1, 1)


def _he_normal(model: VGG16Features, seed: int) -> dict[str, Tensor]:
    """He et al. 2015, eq. 10: deviation sqrt(2 / fan-in), biases zero."""
    generator = torch.Generator("cpu").manual_seed(int(seed))  # torch takes no integer of numpy
    state = {}
    for key, empty in model.state_dict().items():
        values = torch.zeros(empty.shape, dtype=torch.float32, device="cpu")
        if key.endswith("weight"):
            nn.init.kaiming_normal_(values, nonlinearity="relu", generator=generator)
        state[key] = values
    return state


def _download() -> tuple[dict[str, Tensor], str]:
    from torchvision.models import VGG16_Weights  # takes seconds to start

    weights = VGG16_Weights.IMAGENET1K_V1
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    logger.info("VGG-16's ImageNet weights: %s", place)
    try:
        found = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    # Network errors are OSError or HTTPException; a wrong checksum is torch's RuntimeError.
    except (HTTPException, *UNREADABLE) as error:
        raise WeightsError(
            f"VGG-16's ImageNet weights: {error}. Download {weights.url} by other means and put "
            f"it at {place}, or name its path as the source of the VGG-16 weights"
        ) from error
    return dict(found), str(place)


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; the source of the VGG-16 weights is 'imagenet', 'random' "
            "or the path of a file"
        )
    try:
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            # Mapped, the classifier's 500 MB stay on the disk.
            found = load_torch_file(path, mapped=True)
    except (SafetensorError, *UNREADABLE) as error:
        raise WeightsError(
            f"{path}: can't be read as weights ({error}); wanted a .safetensors file or a state "
            "dict saved by torch.save"
        ) from error
    if not _is_state_dict(found):
        raise WeightsError(
            f"{path}: holds something else than a state dict, which maps names to tensors; save "
            "model.state_dict() alone"
        )
    return found, str(path)


def _is_state_dict(found: object) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(found, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    )


def _select(found: dict[str, Tensor], model: VGG16Features, origin: str) -> dict[str, Tensor]:
    """Return copies of the tensors up to pool3, under torchvision's names."""
    wanted = model.state_dict()
    if not any(key.startswith("features.") for key in found):
        found = {f"features.{key}": value for key, value in found.items()}
    _check_keys(found, wanted, origin)
    return {key: found[key].to(torch.float32, copy=True) for key in wanted}


def _check_keys(found: dict[str, Tensor], wanted: dict[str, Tensor], origin: str) -> None:
    advice = "it must hold torchvision's vgg16 (without batch norm) or its 'features'"
    missing = [key for key in wanted if key not in found]
    if missing:
        raise WeightsError(f"{origin}: no {', '.join(missing)}; {advice}")
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            raise WeightsError(
                f"{origin}: {key} has shape {tuple(found[key].shape)}, wanted "
                f"{tuple(tensor.shape)}; {advice}"
            )
        if not found[key].isfinite().all():
            raise WeightsError(f"{origin}: {key} has values that are not finite; {advice}")
    # VGG-19 has all of VGG-16's tensors in front and one layer more before pool3.
    foreign = [key for key in found if key not in wanted and _is_up_to_pool3(key)]
    if foreign:
        raise WeightsError(f"{origin}: {', '.join(foreign)} belong to another network; {advice}")


def _is_up_to_pool3(key: str) -> bool:
    part, _, rest = key.partition(".")
    number = rest.split(".")[0]
    return part == "features" and number.isdigit() and int(number) < LAYER_COUNT
