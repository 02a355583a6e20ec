"""Numbers of others, against a second copy made where they stand."""

from workflow.reporting.names import METRIC_OF
from workflow.reporting.published import LIU, PAPER, PAPER_NOTE, PAPER_PAIRS

# The paper's Table 2, "Performance Metrics Averaged over 1750 Random Images", row by row.
TABLE_2 = {
    "L_TV": 0.678908,
    "L_perceptual": 0.057417,
    "L_style": 2.450222,
    "L_total": 295.4533,
    "PSNR": 19.37373,
    "SSIM": 0.927627,
}
# The rows "paper" of images/metrics.png in maruru-hub/PartialConv-paddle: mask, PSNR, SSIM.
METRICS_PNG = [("10~20", 28.32, 0.87), ("20~30", 25.25, 0.779), ("30~40", 22.89, 0.689)]


def test_paper() -> None:
    """The paper's numbers stand in the rows of their names, and the note quotes them."""
    assert {
        METRIC_OF[name].label.split(",")[0]: number for name, number in PAPER.items()
    } == TABLE_2
    assert PAPER_PAIRS == "1750"
    assert f"({TABLE_2['PSNR']:.2f} dB, {TABLE_2['SSIM']:.4f})" in PAPER_NOTE
    assert f"L_TV, {TABLE_2['L_TV']:.2f}," in PAPER_NOTE


def test_liu() -> None:
    """Liu et al.'s numbers stand in the rows of their hole shares."""
    shares = [f"{share.replace('~', '-')} %" for share, _, _ in METRICS_PNG]
    for metric, column in (("psnr", 1), ("ssim", 2)):
        assert LIU[metric] == {
            share: row[column] for share, row in zip(shares, METRICS_PNG, strict=True)
        }
