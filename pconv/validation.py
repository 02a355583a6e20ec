"""What a training run sees of itself: held-out pairs, filled, measured and shown."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pconv.dataset import ImageSet, as_network_input
from pconv.errors import DataError
from pconv.images import Pixels
from pconv.metrics import hole, l1, psnr
from pconv.unet import UNet, composite

IDENTICAL_DB = 100.0  # the most that a fill counts; one that equals the truth has no finite PSNR


class HeldOut:
    """Fixed pairs of image and mask that are never trained on.

    Args:
        pairs: Image i belongs to mask i.
        batch_size: Pairs filled at once.

    Raises:
        DataError: If there are not as many masks as images, or a mask has no hole to measure.
    """

    def __init__(self, pairs: ImageSet, batch_size: int) -> None:
        if len(pairs.images) != len(pairs.masks):
            raise DataError(
                f"{len(pairs.images)} held-out images but {len(pairs.masks)} masks; "
                "wanted one mask an image"
            )
        whole = np.flatnonzero(pairs.masks.all(axis=(1, 2)))
        if whole.size:
            raise DataError(f"held-out mask number {whole[0]} has no hole to measure")
        self.pairs = pairs
        self._batch_size = batch_size

    def measure(self, model: UNet) -> dict[str, float]:
        """Return mean L1 (0..1) and mean PSNR (dB) inside the holes of the 8-bit composites."""
        l1s, psnrs = [], []
        for filled, truth, mask in self._fill(model, len(self.pairs.images)):
            l1s.append(l1(filled, truth, hole(mask)))
            psnrs.append(psnr(filled, truth, hole(mask)).clamp(max=IDENTICAL_DB))
        return {
            "valid_hole_l1": float(torch.cat(l1s).mean()),
            "valid_hole_psnr": float(torch.cat(psnrs).mean()),
        }

    def picture(self, model: UNet, rows: int) -> Pixels:
        """Show the first pairs, one a row: truth, damaged on grey, filled.

        Returns:
            uint8 RGB, ``(rows·H, 3·W, 3)``.
        """
        shown = []
        for filled, truth, mask in self._fill(model, min(rows, len(self.pairs.images))):
            damaged = torch.where(mask != 0, truth, torch.full_like(truth, 128))
            shown.append(torch.cat([truth, damaged, filled], dim=3))
        pixels = torch.cat(shown).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return np.concatenate(list(pixels), axis=0)

    @torch.no_grad()
    def _fill(self, model: UNet, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield composites and truths, values 0..255, and masks, a batch at a time."""
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        for start in range(0, count, self._batch_size):
            chosen = slice(start, min(start + self._batch_size, count))
            image, mask = as_network_input(
                torch.from_numpy(np.array(self.pairs.images[chosen])).to(device),
                torch.from_numpy(np.array(self.pairs.masks[chosen])).to(device),
            )
            filled = composite(model(image, mask), image, mask).float()
            yield filled.clamp(0, 1).mul(255).round(), image.mul(255).round(), mask
        model.train(was_training)
