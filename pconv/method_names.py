"""What the inpainting methods are called; without importing what they need, which takes seconds."""

from typing import Final, Literal

NETWORK: Final = "pconv"
CLASSICAL: Final = {
    "mean": "Mean of the known",
    "telea": "Telea",
    "ns": "Navier-Stokes",
    "biharmonic": "Biharmonic",
    "patchmatch": "PatchMatch",
}
"""The methods that learn nothing, with their titles; `pconv.baselines` has the functions."""
METHODS: Final = (NETWORK, *CLASSICAL)
ClassicalName = Literal["mean", "telea", "ns", "biharmonic", "patchmatch"]
