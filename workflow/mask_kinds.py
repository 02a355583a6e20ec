"""The kinds of masks that the validation pairs are sampled of, in the order of the report."""

RAW_KINDS = ("ec", "or")  # masks that belong to one photo and lie beside it in data/raw
GENERATED_KINDS = ("walk", "strokes", "rectangles")  # masks drawn by the masks stage
KINDS = RAW_KINDS + GENERATED_KINDS
