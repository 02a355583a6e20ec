"""Which of torch's devices are here."""

import torch

from pconv.errors import ParameterError


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def existing_device(name: str | torch.device | None) -> torch.device:
    """Return a device by its name, as tensors on it tell it: ``cuda`` with the GPU's number.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``…; none for `default_device`.

    Raises:
        ParameterError: If there is no such device here.
    """
    if name is None:
        return default_device()
    try:
        here = torch.zeros(1, device=torch.device(name))
        here.item()  # "meta" is a device too, but one without memory
    # torch's own ways to say that it has none, and that it is no device.
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        # The rest may be a list of all kinds of device that torch was ever built for.
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ParameterError(f"device is {str(name)!r}, which is not here: {reason}") from error
    return here.device
