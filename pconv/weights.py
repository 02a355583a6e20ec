"""Weights as safetensors files that say in their header which network they belong to.

The header holds strings: ``pconv`` (the version of this layout), the network's hyperparameters,
and whatever else is worth knowing of the weights, each under ``about.`` and its name. Nothing is
ever unpickled. The same network and words give the same bytes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from pconv.atomic import atomic_file
from pconv.devices import existing_device
from pconv.errors import ParameterError, WeightsError
from pconv.unet import Fill, UNet, build_unet
from pconv.weights_header import ABOUT, LAYOUT, opened
from pconv.weights_source import weights_file

_SIZES = ("in_channels", "out_channels", "width", "levels")
_TRAINED_AT = "size_px"  # what a header calls the side of the training images
_LARGEST_TOLD_PX = 2**16  # of training images: more is no size but damage
# The precisions of weights, as torch and as safetensors call them.
_KINDS = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
_WRAPPERS = ("_orig_mod", "module")  # where torch.compile and DataParallel keep what they wrap


def save_weights(
    path: Path | str,
    model: nn.Module | Fill,  # as which torch.compile's result is typed
    about: dict[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network's weights, whole or not at all.

    Args:
        path: Where to; an existing file is replaced.
        model: The network, or what `torch.compile`, ``DataParallel`` or the like made of it.
        about: What is worth knowing of the weights: training data, licence, date, scores;
            ``size_px`` is the side of the training images, and of the windows of fills, by default
            what the network knows of it (`UNet.trained_at_px`).
        dtype: Precision of the kernels; ``torch.float16`` halves the file. Biases and batch norms
            stay in float32: they are few, and variances may leave float16's range.

    Raises:
        WeightsError: If a weight is not finite, or not in this precision, or the network is not
            one that :func:`load_weights` could build again, or ``about`` holds something else than
            text, or as ``size_px`` no whole number in digits up to 65536.
        ParameterError: If the precision is none of floating point that `load_weights` reads.
    """
    if dtype not in _KINDS:
        wanted = ", ".join(map(str, _KINDS))
        raise ParameterError(f"dtype is {dtype}, wanted one of {wanted}")
    network = unwrapped(model)
    if not isinstance(network, UNet):
        raise WeightsError(f"{path}: a {type(network).__name__}; wanted a network of pconv.unet")
    _check_names(path, network)
    sizes = {key: str(value) for key, value in network.hyperparameters().items()}
    words = {ABOUT + key: value for key, value in _words(path, network, about).items()}
    tensors = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {name} has values that are not finite in {dtype}")
    data = _in_order(save(tensors, {"pconv": LAYOUT, **sizes, **words}))
    with atomic_file(Path(path)) as partial:
        partial.write_bytes(data)


def load_weights(weights: Path | str | None = None, device: torch.device | str = "cpu") -> UNet:
    """Build the network a weights file belongs to and give it those weights.

    Args:
        weights: A file that :func:`save_weights` wrote, or whatever else
            `pconv.weights_source.weights_file` finds one by: ``last``, the URI of an MLflow model;
            none for what `pconv.inpaint` fills with.
        device: Where the network shall be.

    Returns:
        The network in float32, in evaluation mode; it knows the side of its training images if the
        file tells (`UNet.trained_at_px`). The global random state is not touched.

    Raises:
        WeightsError: If the file is missing, damaged, of another kind or for another network, or
            holds values that are not finite.
        ParameterError: If there is no such device.
    """
    place = existing_device(device)
    with weights_file(weights) as path:
        return _loaded(path, place)


def begin_with(model: UNet, path: Path | str) -> None:
    """Give a network the weights of a file, to train on from them.

    Args:
        model: Like the file's network, but that it may be shown the mask (``mask_channel``) where
            that one is not: what it takes from the mask then begins at zero.
        path: A file that :func:`save_weights` wrote.

    Raises:
        WeightsError: If the file can't be loaded, or its network is another one.
    """
    # A file: no other meaning that a name may have.
    start = _loaded(Path(path), torch.device("cpu"))
    found, wanted = start.hyperparameters(), model.hyperparameters()
    for name, value in wanted.items():
        if found[name] != value and (name, value) != ("mask_channel", True):
            raise WeightsError(
                f"{path}: its network has {name} {found[name]}, the one to be trained {value}; "
                "name other weights, or train a network like the file's"
            )
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    # The mask is the last channel of the two rows that see it.
    tensors = {
        name: F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, shapes[name][1] - tensor.shape[1]))
        if tensor.ndim > 1
        else tensor
        for name, tensor in start.state_dict().items()
    }
    model.load_state_dict(tensors)


def unwrapped(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the network inside what `torch.compile`, ``DataParallel`` or the like made of it."""
    for name in _WRAPPERS:
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module):
            return unwrapped(inner)
    return model


def _loaded(path: Path, device: torch.device) -> UNet:
    with opened(path, "pt") as (metadata, file):
        # Nothing is allocated or drawn at random for weights that the file will bring, however
        # large a network a foreign header may ask for.
        with torch.device("meta"):
            model = _described(path, metadata)
        model.trained_at_px = _trained_at_px(path, metadata)
        _check_tensors(path, model, file)
        wanted = model.state_dict()
        tensors = {
            # A copy, or the network would live in the mapped file and change with it. And not in
            # the dtype of the empty network, which has torch's default one.
            name: file.get_tensor(name).to(
                device, torch.float32 if value.is_floating_point() else value.dtype, copy=True
            )
            for name, value in wanted.items()
        }
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} has values that are not finite; train it anew")
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a weight as it is stored: kernels in ``dtype``, the rest as it is."""
    return value.detach().to(dtype=dtype if value.ndim > 1 else value.dtype).contiguous()


def _in_order(data: bytes) -> bytes:
    """Sort the words in a safetensors header, which come in another order at each call."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _described(path: Path | str, metadata: dict[str, str]) -> UNet:
    """Build the network that a header describes."""
    try:
        sizes = {name: int(metadata[name]) for name in _SIZES}
        kind = metadata["kind"]
        # Files from before there was a choice say nothing of it.
        centre = metadata.get("centre", "half")
        told = metadata.get("mask_channel", str(kind == "plain"))
        mask_channel = {"True": True, "False": False}.get(told, told)
        return build_unet(kind, **sizes, centre=centre, mask_channel=mask_channel)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: its header describes no network of ours: {error}") from error


def _trained_at_px(path: Path | str, metadata: dict[str, str]) -> int | None:
    """Return the side of the training images, if a header tells."""
    digits = metadata.get(ABOUT + _TRAINED_AT, "")
    if not digits.isdecimal():
        return None
    if not _is_size(digits):
        raise WeightsError(
            f"{path}: damaged: its header says that {_TRAINED_AT} is {_shown(digits)}, wanted at "
            f"most {_LARGEST_TOLD_PX}; save the weights anew"
        )
    return int(digits)


def _words(path: Path | str, model: UNet, about: dict[str, str] | None) -> dict[str, str]:
    """Return what a header says of the weights, after a check."""
    words = dict(about or {})
    if model.trained_at_px is not None:
        words.setdefault(_TRAINED_AT, str(model.trained_at_px))
    for name, word in words.items():
        if not (isinstance(name, str) and isinstance(word, str)):
            raise WeightsError(f"{path}: about {name!r} is {word!r}; wanted text")
    if not _is_size(size := words.get(_TRAINED_AT, "0")):
        raise WeightsError(
            f"{path}: {_TRAINED_AT} is {_shown(size)}; wanted the side of the training images, in "
            f"digits, from 0 to {_LARGEST_TOLD_PX}"
        )
    return words


def _is_size(text: str) -> bool:
    # Its length first: int() refuses thousands of digits.
    return (
        text.isdecimal()
        and len(text) <= len(str(_LARGEST_TOLD_PX))
        and int(text) <= _LARGEST_TOLD_PX
    )


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 20 else f"a text of {len(text)} characters"


def _check_names(path: Path | str, model: UNet) -> None:
    """Raise WeightsError unless a network's tensors are those that its kind has."""
    arguments: dict[str, Any] = model.hyperparameters()
    with torch.device("meta"):
        wanted = build_unet(**arguments).state_dict()
    if odd := sorted(wanted.keys() ^ model.state_dict().keys()):
        raise WeightsError(
            f"{path}: not written, as nobody could load it: {odd[0]} is in this network or in a "
            f"{type(model).__name__} of its hyperparameters, and not in both; a parametrization "
            "goes by torch.nn.utils.parametrize.remove_parametrizations"
        )


def _check_tensors(path: Path | str, model: UNet, file: Any) -> None:
    """Raise WeightsError unless a file holds a network's tensors, each in its shape and kind."""
    wanted = model.state_dict()
    if odd := sorted(wanted.keys() ^ set(file.keys())):
        raise WeightsError(
            f"{path}: its {len(file.keys())} tensors are not the {len(wanted)} of the network its "
            f"header describes; {odd[0]} is in one and not in the other"
        )
    for name, value in wanted.items():
        found = file.get_slice(name)
        kinds = tuple(_KINDS.values()) if value.is_floating_point() else ("I64",)
        shape, kind = tuple(found.get_shape()), found.get_dtype()
        if shape != tuple(value.shape):
            raise WeightsError(f"{path}: {name} is {shape}, wanted {tuple(value.shape)}")
        if kind not in kinds:
            raise WeightsError(f"{path}: {name} is {kind}, wanted {' or '.join(kinds)}")
