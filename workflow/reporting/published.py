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
    "The paper's PSNR and SSIM (19.37 dB, 0.9276) were computed as in its authors' notebook, on "
    "ImageNet-normalised tensors converted to 8 bits, and carry the distortion of that. Here they "
    "stand beside our numbers computed the same way: composite and truth are normalised, "
    "multiplied by 255, wrapped into 8 bits and measured with scikit-image's defaults. The paper's "
    "L_TV, 0.68, is not of images in 0..1 either: for these, equation 6 gives at most twice the "
    "share of the picture that the hole and its rim cover. Nor are L_valid and L_hole, which "
    "contribute 1.36 to its L_total. PSNR and SSIM that are not called the paper's way are "
    "computed on plain 8-bit composites, and the paper has no number to compare them with."
)

# Liu et al. 2018 on Places2, whole picture, by hole share.
LIU_LABEL = "Liu et al., Places2"
LIU = {
    "psnr": {"10-20 %": 28.32, "20-30 %": 25.25, "30-40 %": 22.89},
    "ssim": {"10-20 %": 0.870, "20-30 %": 0.779, "30-40 %": 0.689},
}
LIU_NOTE = (
    "Liu et al. (2018) published these means for Places2, with their own masks and training. The "
    "data differ, so these numbers show the order of magnitude only. They are quoted from a table "
    "of maruru-hub/PartialConv-paddle, which does not say whether the holes reach the border."
)
