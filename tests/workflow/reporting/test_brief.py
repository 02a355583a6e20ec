"""The small table of the README and the model card."""

import json
import subprocess
import sys
from pathlib import Path

from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.project_copy import ROOT, environment
from workflow.reporting.brief import hole_psnr_table


def test_values(tmp_path: Path) -> None:
    """A row a method; a kind that one method lacks is a dash there, one that all lack no column.

    Where a method has fewer pairs than another, their number stands beside its mean.
    """
    metrics, models = tmp_path / "metrics.json", tmp_path / "models"
    save_weights(models / "pconv/last.safetensors", PConvUNet(width=2, levels=2), {"epoch": "7"})
    psnr = {
        "pconv-last": {"ec": 20.125, "walk": 19.0, "all": 19.5},
        "telea": {"ec": 18.0, "all": 18.0},
    }
    pairs = {"pconv-last": 40, "telea": 12}
    metrics.write_text(
        json.dumps(
            {
                method: {
                    kind: {"psnr_hole": value, "pairs": pairs[method]}
                    for kind, value in row.items()
                }
                for method, row in psnr.items()
            }
        )
    )
    assert hole_psnr_table(metrics, models).splitlines() == [
        "| PSNR in the hole, dB | ec | walk | all pairs |",
        "| --- | ---: | ---: | ---: |",
        "| PConv, epoch 7 | 20.12 | 19.00 | 19.50 |",
        "| Telea | 18.00 (12 pairs) | - | 18.00 (12 pairs) |",
    ]


def test_quick() -> None:
    """A table is printed without the network's library, which takes seconds to import."""
    code = "import sys, workflow.reporting.brief; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, env=environment(ROOT))
    assert done.returncode == 0
