"""Numbers other people published, printed beside ours."""

# The paper's Table 2: 1750 random EC and OR pairs, 150 epochs.
PAPER = {
    "tv": 0.678908,
    "perceptual": 0.057417,
    "style": 2.450222,
    "total": 295.4533,
    "psnr_paper": 19.37373,
    "ssim_paper": 0.927627,
}

PAPER_PAIRS = "1750"
PAPER_LABEL = "The paper"
PAPER_NOTE = (
    "The paper's PSNR and SSIM (19.37 dB, 0.9276) were taken on ImageNet-normalised tensors "
    "passed through an 8-bit conversion, as its authors' notebook does, and carry that "
    "distortion. They stand beside our numbers taken that way too: composite and truth are "
    "normalised, times 255, wrapped into 8 bits, and measured with scikit-image's defaults. "
    "Its L_TV, 0.68, is not of images in 0..1 either: of these equation 6 gives at most twice the "
    "share that the hole and its rim have of the picture; nor are L_valid and L_hole, of which its "
    "L_total has 1.36. "
    "PSNR and SSIM that are not named the paper's way are taken on plain 8-bit composites and have "
    "no number of the paper's to stand beside."
)

# Liu et al. 2018 on Places2, whole picture, by hole share.
LIU_LABEL = "Liu et al., Places2"
LIU = {
    "psnr": {"10-20 %": 28.32, "20-30 %": 25.25, "30-40 %": 22.89},
    "ssim": {"10-20 %": 0.870, "20-30 %": 0.779, "30-40 %": 0.689},
}
LIU_NOTE = (
    "Liu et al. (2018) published these means for Places2, with their masks and their training: "
    "other data, so they show the order of magnitude and nothing else. They are at second hand, "
    "from a table of maruru-hub/PartialConv-paddle, which does not say whether the holes reach the "
    "border."
)
