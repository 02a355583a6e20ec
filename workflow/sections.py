"""The sections of ``params.yaml`` as types: what each key means, its unit and its range.

No field has a default: every number that runs stands in ``params.yaml``, where DVC and git see it.
The content of files and folders that are named here is watched too (`workflow.named`).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pconv.method_names import ClassicalName
from workflow.mask_kinds import GENERATED_KINDS
from workflow.sources.names import without_control

Seed = Annotated[int, Field(ge=0, lt=2**32, description="Seed of every draw of this stage.")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Items = Annotated[int, Field(gt=0, le=100_000_000)]
Epochs = Annotated[int, Field(gt=0, le=1_000_000)]
Batch = Annotated[int, Field(gt=0, le=65_536)]
NonNegative = Annotated[int, Field(ge=0)]
SizePx = Annotated[int, Field(ge=16, le=4096, description="Side of the square pictures, pixels.")]
Network = Literal["pconv-first", "pconv-last", "plain-first", "plain-last"]
Sha256 = Annotated[
    str, Field(pattern="^([0-9a-f]{64})?$", description="SHA-256 of the archive; empty: any.")
]
Weight = Annotated[float, Field(ge=0, description="Weight of a loss term; 0 leaves it out.")]


class Section(BaseModel):
    """One section of ``params.yaml``: one stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _names_are_text(self) -> "Section":
        for key, value in self:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and without_control(text) != text:
                    raise ValueError(f"{key} is {text!r}; wanted text without control characters")
        return self

    @model_validator(mode="after")
    def _lists_name_each_once(self) -> "Section":
        for key, value in self:
            if isinstance(value, list) and len(set(value)) < len(value):
                raise ValueError(f"{key} is {value}, which names one twice; wanted each once")
        return self


class DownloadParams(Section):
    """Where the photographs come from."""

    source: Literal["sample", "icme", "folder"] = Field(
        description="Photos of installed packages, the challenge's, or one's own."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of made masks and of held-out.")]
    masks_per_photo: Annotated[
        Items, Field(description="Masks made a kind and validation photo (sample, folder).")
    ]
    masks_mark_holes: Annotated[
        bool, Field(description="The found masks are foreign: white marks what is missing.")
    ]
    max_rejected: Annotated[NonNegative, Field(description="Unusable files before failing.")]
    max_pixels: Annotated[
        # Pillow refuses twice its MAX_IMAGE_PIXELS itself.
        int,
        Field(gt=0, le=178_956_970, description="Largest photo or mask that is read."),
    ]
    max_files: Annotated[Positive, Field(description="Members an archive may hold.")]
    max_bytes: Annotated[Positive, Field(description="Bytes of an archive, packed or unpacked.")]
    max_file_bytes: Annotated[Positive, Field(description="Bytes of one member, unpacked.")]
    expected_train: Annotated[NonNegative, Field(description="Training photos; 0: any number.")]
    expected_valid: Annotated[NonNegative, Field(description="Validation photos; 0: any number.")]
    expected_ec: Annotated[NonNegative, Field(description="ec masks; 0: any number.")]
    expected_or: Annotated[NonNegative, Field(description="or masks; 0: any number.")]
    icme_train: Annotated[
        list[str], Field(description="Addresses, archives or unpacked folders, tried in turn.")
    ]
    icme_valid: Annotated[list[str], Field(description="Likewise for the validation archive.")]
    icme_train_sha256: Sha256
    icme_valid_sha256: Sha256
    icme_downloads: Annotated[
        str, Field(min_length=1, description="Folder that keeps fetched archives.")
    ]
    icme_retries: Annotated[int, Field(ge=0, le=20, description="Attempts after the first.")]
    icme_timeout_s: Annotated[float, Field(gt=0, description="How long a server may be silent.")]
    folder_train: Annotated[str, Field(description="Folder of training photos.")]
    folder_valid: Annotated[
        str, Field(description="Folder of validation photos; empty: hold out a share.")
    ]
    folder_held_out_share: Annotated[Share, Field(description="Share of folder_train held out.")]
    folder_ec: Annotated[
        str, Field(description="Folder of ec masks, PHOTO.png or PHOTO_1.png; empty: draw.")
    ]
    folder_or: Annotated[
        str, Field(description="Folder of or masks, PHOTO.png or PHOTO_1.png; empty: draw.")
    ]

    @model_validator(mode="after")
    def _source_has_a_place(self) -> "DownloadParams":
        needed = {"icme": ("icme_train", "icme_valid"), "folder": ("folder_train",)}
        for name in needed.get(self.source, ()):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given when source is {self.source}")
        return self


class AugmentParams(Section):
    """How the training images are drawn from the training photographs."""

    seed: Seed
    size_px: SizePx
    images: Annotated[Items, Field(description="Training images to make.")]
    flip_share: Annotated[Share, Field(description="Probability of a left-right flip.")]
    upside_down_share: Annotated[Share, Field(description="Probability of an up-down flip.")]
    quarter_turn_share: Annotated[Share, Field(description="Probability of a turn by 90 degrees.")]
    rotation_degrees: Annotated[
        float, Field(ge=0, le=45, description="Most rotation either way, degrees.")
    ]
    crop_min_share: Annotated[
        float, Field(gt=0, le=1, description="Least area of the crop over the largest that fits.")
    ]
    crop_max_aspect: Annotated[
        float, Field(ge=1, le=2, description="Most width over height of the crop, or its inverse.")
    ]
    brightness: Annotated[Share, Field(description="Most relative change of brightness.")]
    contrast: Annotated[Share, Field(description="Most relative change of contrast.")]
    saturation: Annotated[Share, Field(description="Most relative change of saturation.")]
    hue_turns: Annotated[
        float, Field(ge=0, le=0.5, description="Most shift of hue, turns of the colour circle.")
    ]


class MasksParams(Section):
    """The generated masks, for training and for validation."""

    seed: Seed
    size_px: SizePx
    train: Annotated[Items, Field(description="Training masks.")]
    valid: Annotated[
        Items, Field(description="Validation masks, of which the evaluated pairs are drawn.")
    ]
    held_out: Annotated[
        Items,
        Field(
            description="Held-out pairs of the training's log; their masks are the first of "
            "validation."
        ),
    ]
    kinds: Annotated[
        list[
            Literal[
                "walk", "strokes", "rectangles", "blocks", "brush", "borders", "bucket", "folder"
            ]
        ],
        Field(min_length=1, description="Kinds of masks, each equally likely."),
    ]
    hole_share_min: Annotated[
        Share, Field(description="Walks, strokes, rectangles, borders with less are redrawn.")
    ]
    hole_share_max: Annotated[
        Share, Field(description="Walks, strokes and borders with more are redrawn.")
    ]
    walk_directions: Annotated[Literal[4, 8], Field(description="8 has diagonal moves too.")]
    walk_steps_per_pixel: Annotated[
        float, Field(gt=0, le=100, description="Steps of a walk over pixels of the mask.")
    ]
    walk_brush_px: Annotated[
        int, Field(gt=0, le=256, description="Diameter of the disc each step damages, pixels.")
    ]
    strokes_max_each: Annotated[
        int, Field(gt=0, le=1000, description="Most lines, most circles, most ellipse arcs.")
    ]
    strokes_min_thickness_px: Annotated[
        int, Field(gt=0, le=256, description="Least thickness and least radius, pixels.")
    ]
    strokes_max_thickness_share: Annotated[
        Share, Field(description="Most thickness or radius over height + width.")
    ]
    rectangles_max: Annotated[int, Field(gt=0, le=1000, description="Most rectangles in a mask.")]
    rectangles_min_side_share: Annotated[
        Share, Field(description="Least side of a rectangle over the side of the mask.")
    ]
    rectangles_max_side_share: Annotated[
        Share, Field(description="Most side of a rectangle over the side of the mask.")
    ]
    rectangles_hole_share_max: Annotated[
        Share, Field(description="Rectangles with larger holes are redrawn.")
    ]
    bucket_min: Annotated[Share, Field(description="The bucket's hole shares lie above this.")]
    bucket_max: Annotated[Share, Field(description="Largest hole share of the bucket.")]
    bucket_margin_share: Annotated[
        float,
        Field(ge=0, lt=0.5, description="Border of a bucket mask that stays known, over size_px."),
    ]
    folder: Annotated[
        str | None, Field(description="Folder of masks for the kind folder, else null.")
    ]

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> "MasksParams":
        for least, most in (
            ("hole_share_min", "hole_share_max"),
            ("hole_share_min", "rectangles_hole_share_max"),
            ("rectangles_min_side_share", "rectangles_max_side_share"),
            ("bucket_min", "bucket_max"),
        ):
            if getattr(self, least) >= getattr(self, most):
                raise ValueError(
                    f"{least} is {getattr(self, least)} but {most} is {getattr(self, most)}; "
                    "the least must be below the most"
                )
        return self

    @model_validator(mode="after")
    def _kinds_can_be_drawn(self) -> "MasksParams":
        # An empty name would be the project's own folder, with every picture below it.
        if self.folder == "" or ("folder" in self.kinds) != (self.folder is not None):
            raise ValueError(
                f"folder is {self.folder!r} and kinds {self.kinds}; give a folder of masks if "
                "and only if folder is among the kinds"
            )
        return self


class TrainParams(Section):
    """The network and its training; `pconv.plan.TrainingPlan` says more of each number."""

    seed: Seed
    kinds: list[Literal["pconv", "plain"]] = Field(
        min_length=1, description="Networks to train, each on the same data."
    )
    initial_weights: Annotated[
        str | None,
        Field(description="File of weights to begin with (fine-tuning), null to draw them."),
    ]
    width: Annotated[
        int, Field(gt=0, le=4096, description="Filters of the first layer; 64 in Figure 4.")
    ]
    levels: Annotated[int, Field(ge=1, le=16, description="Halvings of the size; 8 in Figure 4.")]
    centre: Annotated[
        Literal["half", "known"],
        Field(description="What its rows see as zero: 0.5, or the mean of what a picture shows."),
    ]
    mask_channel: Annotated[
        bool, Field(description="Show it the mask as one more channel; Figure 4 does not.")
    ]
    batch_size: Annotated[Batch, Field(description="Images a step, over all processes.")]
    epochs: Annotated[Epochs, Field(description="Times through all training images.")]
    first_epoch: Annotated[Epochs, Field(description="Epoch of the earlier weights compared.")]
    finetune_from_epoch: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="Epochs of the first phase; `epochs` for no second."),
    ]
    learning_rate: Annotated[float, Field(gt=0, description="Adam's, first phase.")]
    finetune_learning_rate: Annotated[float, Field(gt=0, description="Adam's, second phase.")]
    finetune_freezes: Annotated[
        Literal["encoder", "statistics"],
        Field(description="What it freezes: the encoder's batch norms, or the statistics of all."),
    ]
    anneal: Annotated[bool, Field(description="Let the rates fall along a cosine, not by a step.")]
    valid_weight: Weight
    hole_weight: Weight
    perceptual_weight: Weight
    style_weight: Weight
    tv_weight: Weight
    features: Annotated[str, Field(description="imagenet, random, or a file of VGG-16 weights.")]
    features_seed: Seed
    precision: Literal["float32", "bf16"] = Field(description="Of products and convolutions.")
    tf32: Annotated[bool, Field(description="Faster, coarser float32 products on CUDA.")]
    channels_last: Annotated[bool, Field(description="Keep a pixel's channels together in memory.")]
    compile: Annotated[bool, Field(description="Compile network and losses (torch.compile).")]
    threads: Annotated[
        int, Field(gt=0, le=4096, description="CPU threads; they decide the last bits.")
    ]
    checkpoint_every_epochs: Annotated[Epochs, Field(description="Epochs between checkpoints.")]
    validate_every_epochs: Annotated[Epochs, Field(description="Epochs between measurements.")]
    pictures_every_epochs: Annotated[Epochs, Field(description="Epochs between sets of pictures.")]

    # `pconv.plan` and `pconv.losses` refuse the next two as well, but not before there is data; and
    # this module is read by every stage and the Snakefile, which torch would hold up.
    @model_validator(mode="after")
    def _epochs_come(self) -> "TrainParams":
        for name in ("first_epoch", "finetune_from_epoch"):
            if getattr(self, name) > self.epochs:
                raise ValueError(
                    f"{name} is {getattr(self, name)} but epochs is {self.epochs}; an epoch after "
                    "the last never comes"
                )
        return self

    @model_validator(mode="after")
    def _something_is_learned(self) -> "TrainParams":
        names = [name for name in type(self).model_fields if name.endswith("_weight")]
        if not any(getattr(self, name) for name in names):
            raise ValueError(f"{', '.join(names)} are all 0; give one of them a weight")
        return self

    @model_validator(mode="after")
    def _weights_are_of_one_kind(self) -> "TrainParams":
        if self.initial_weights and len(self.kinds) > 1:
            raise ValueError(
                f"initial_weights is {self.initial_weights!r} and kinds {self.kinds}; a file "
                "holds weights of one kind of network, so name that one only"
            )
        return self


class SampleParams(Section):
    """Which validation pairs are evaluated."""

    seed: Seed
    pairs: Annotated[Items, Field(description="ec and or pairs drawn without replacement.")]
    pairs_per_generated_kind: NonNegative = Field(
        description="Pairs each of walk, strokes and rectangles."
    )


class EvaluateParams(Section):
    """Which methods are measured, and on how many pairs; the trained networks always are."""

    methods: list[ClassicalName] = Field(description="Classical methods measured on every pair.")
    slow_methods: list[ClassicalName] = Field(
        description="Classical methods measured on fewer pairs."
    )
    slow_pairs: Annotated[NonNegative, Field(description="Pairs for slow_methods, at most.")]
    vgg_methods: list[ClassicalName | Network] = Field(
        description="Methods whose perceptual and style loss, and so the total, are taken."
    )
    vgg_pairs: Annotated[NonNegative, Field(description="Pairs for vgg_methods, at most.")]
    mirrored: Annotated[
        bool, Field(description="Measure the last weights also by the mean of four flips.")
    ]
    features: Annotated[str, Field(description="imagenet, random, or a file of VGG-16 weights.")]
    features_seed: Seed
    batch_size: Annotated[Batch, Field(description="Pairs filled and measured at once.")]

    @model_validator(mode="after")
    def _methods_are_fast_or_slow(self) -> "EvaluateParams":
        if both := sorted(set(self.methods) & set(self.slow_methods)):
            raise ValueError(
                f"{', '.join(both)}: in methods, which fill all pairs, and in slow_methods, which "
                "fill slow_pairs; name it in one of them"
            )
        return self


class ReportParams(Section):
    """The table's statistics and the pictures."""

    seed: Seed
    bootstrap_draws: Annotated[
        int, Field(ge=100, le=100_000, description="Draws of photographs behind an interval.")
    ]
    examples: Annotated[
        int, Field(gt=0, le=20, description="Pairs in the ec and or figures and the README's.")
    ]
    extremes: Annotated[
        int, Field(gt=0, le=12, description="Fills shown of each best, median and worst.")
    ]
    error_pair: Annotated[
        str | None, Field(description="Pair of the error map; null: a median ec or or pair.")
    ]


class Params(Section):
    """The whole of ``params.yaml``."""

    download: DownloadParams
    augment: AugmentParams
    masks: MasksParams
    train: TrainParams
    sample: SampleParams
    evaluate: EvaluateParams
    report: ReportParams

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Params":
        if self.masks.size_px != self.augment.size_px:
            raise ValueError(
                f"masks.size_px is {self.masks.size_px} but augment.size_px is "
                f"{self.augment.size_px}; a mask must be as large as the image it damages"
            )
        return self

    @model_validator(mode="after")
    def _images_fill_a_batch(self) -> "Params":
        if self.train.batch_size > self.augment.images:
            raise ValueError(
                f"train.batch_size is {self.train.batch_size} but augment.images is "
                f"{self.augment.images}; an epoch needs the images of one batch at least"
            )
        return self

    @model_validator(mode="after")
    def _there_are_masks(self) -> "Params":
        missing = [kind for kind in GENERATED_KINDS if kind not in self.masks.kinds]
        if self.sample.pairs_per_generated_kind and missing:
            raise ValueError(
                f"masks.kinds lacks {', '.join(missing)} but sample.pairs_per_generated_kind is "
                f"{self.sample.pairs_per_generated_kind}; it asks for {', '.join(GENERATED_KINDS)}"
            )
        return self
