"""The sections of a recipe: what the model is, what it sees, how it is trained. Every default lives here."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from linnaeus.settings import Section

Balance = Literal["none", "down", "up", "mid", "median", "class-weights"] | Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

# Dense heads by name: widths and dropouts of the layers between the backbone and the last one. All but the last are
# the deck's.
HEADS: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "dense128": ((128,), ()),
    "dense256": ((256,), ()),
    "2dense": ((128, 32), (0.0, 0.2)),
    "3dense": ((32, 64, 128), (0.2, 0.3, 0.2)),
    "mlp": ((512, 256), (0.5, 0.5)),
}
# Heads that are fitted to features at once, without epochs.
FITTED_HEADS = ("probe", "knn")


class AugmentRecipe(Section):
    """Random changes to training images; the defaults are the deck's, which leave out those from `shift` on.

    `rand_augment`: how many operations of RandAugment (Cubuk et al. 2020) are drawn for each image, each as strong as
    `magnitude`. `erase`: the odds of noise over a random rectangle (Zhong et al. 2020).
    """

    flip_horizontal: bool = True
    flip_vertical: bool = True
    brightness: float = Field(0.1, ge=0, le=1, description="added, up to this share of white")
    contrast: tuple[float, float] = (0.8, 1.2)
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: float = Field(0.05, ge=0, le=0.5, description="share of a full turn of the colour circle")
    crop: float = Field(0.85, gt=0, le=1, description="smallest share of the side that a crop keeps")
    shift: float = Field(0, ge=0, le=1, description="at most, a share of the side")
    rotate: float = Field(0, ge=0, le=180, description="degrees at most, either way")
    rand_augment: int = Field(0, ge=0, le=14)
    magnitude: float = Field(0.3, ge=0, le=1)
    erase: float = Field(0, ge=0, le=1)


class DataRecipe(Section):
    """What training sees: the balance of its classes, and augmentation (null for none).

    `views`: under a frozen trunk, how many augmented views of each image are kept and reused in turn, an epoch each;
    null makes a new view every epoch, at the price of a pass through the trunk.
    """

    balance: Balance = "mid"
    augment: AugmentRecipe | None = AugmentRecipe()
    views: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _views_are_of_something(self) -> Self:
        if self.views is not None and self.augment is None:
            raise ValueError("views are augmented ones; without augment there is nothing to keep views of")
        return self


class ScratchRecipe(Section):
    """A CNN from scratch: 3x3 convolutions, each with max-pooling and ReLU; then dense layers.

    As the deck has them by default. `padding` keeps the sides at each convolution, `batch_norm` normalises after it
    (Ioffe and Szegedy 2015), `residual` adds a block of two more convolutions and a shortcut after each but the first
    (He et al. 2016), `pooling` "average" ends in the mean of each channel instead of all of its pixels. `stem_stride`:
    by how many pixels the first convolution moves on.
    """

    kind: Literal["scratch"] = "scratch"
    conv_widths: tuple[Width, ...] = Field(min_length=1)
    pool_sizes: tuple[Width, ...] = Field(min_length=1)
    stem_stride: Width = 1
    padding: bool = False
    batch_norm: bool = False
    residual: bool = False
    pooling: Literal["flatten", "average"] = "flatten"
    dense_widths: tuple[Width, ...] = ()
    dropouts: tuple[Dropout, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.pool_sizes) != len(self.conv_widths):
            raise ValueError(f"{len(self.conv_widths)} conv_widths but {len(self.pool_sizes)} pool_sizes")
        _check_dropouts(self)
        return self


class TransferRecipe(Section):
    """A pretrained backbone under a head.

    `more_backbones`: their features are joined to those of the first. `weights`: "auto" takes them from an installed
    package or else from the hub, "random" none, otherwise a file (safetensors, or a state dict).
    `head`: "dense" layers; one of HEADS, which sets the widths; "probe", a logistic regression, or "knn", nearest
    neighbours, both fitted at once to the frozen features, with their setting chosen on validation.
    `unfrozen_last_layers` or `unfrozen_last_blocks` of 0 keep the whole backbone frozen. `batch_norm` "frozen" leaves
    the running statistics of the backbone's normalisation alone, "updated" trains those of the unfrozen layers.
    """

    kind: Literal["transfer"] = "transfer"
    backbone: str = "tf_efficientnet_lite0"
    more_backbones: tuple[str, ...] = ()
    weights: str = "auto"
    input_size: int | None = Field(None, ge=16, description="pixels; null for the backbone's own")
    head: Literal["dense", "probe", "knn"] = "dense"
    dense_widths: tuple[Width, ...] = (256,)
    dropouts: tuple[Dropout, ...] = ()
    unfrozen_last_layers: int = Field(0, ge=0)
    unfrozen_last_blocks: int = Field(0, ge=0)
    batch_norm: Literal["frozen", "updated"] = "frozen"

    @property
    def is_frozen(self) -> bool:
        """Whether nothing but the head is trained."""
        return self.unfrozen_last_layers == self.unfrozen_last_blocks == 0

    @model_validator(mode="before")
    @classmethod
    def _named_head(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("head", "dense") == "dense":
            return content
        head = content["head"]
        if head in FITTED_HEADS:
            return {"dense_widths": (), **content}
        others = {key: value for key, value in content.items() if key != "head"}
        if head not in HEADS:
            raise ValueError(f"no head {head!r}; there are {', '.join((*HEADS, *FITTED_HEADS))}")
        if {"dense_widths", "dropouts"} & others.keys():
            raise ValueError("give either head, or dense_widths and dropouts")
        return others | dict(zip(("dense_widths", "dropouts"), HEADS[head], strict=True))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_dropouts(self)
        if self.head in FITTED_HEADS and (self.dense_widths or not self.is_frozen):
            raise ValueError(f"a {self.head} is fitted to frozen features: neither dense_widths nor unfrozen layers")
        if self.unfrozen_last_layers and self.unfrozen_last_blocks:
            raise ValueError("give either unfrozen_last_layers or unfrozen_last_blocks")
        if self.more_backbones and not self.is_frozen:
            raise ValueError("several backbones stay frozen; to fine-tune, choose one")
        if self.more_backbones and self.weights not in {"auto", "random"}:
            raise ValueError("a weights file fits one backbone; several take theirs from packages or the hub")
        return self


ModelRecipe = Annotated[ScratchRecipe | TransferRecipe, Field(discriminator="kind")]


def _check_dropouts(model: ScratchRecipe | TransferRecipe) -> None:
    if model.dropouts and len(model.dropouts) != len(model.dense_widths):
        raise ValueError(f"{len(model.dense_widths)} dense_widths but {len(model.dropouts)} dropouts")


class TrainingRecipe(Section):
    """How the weights are found; the epoch with the lowest validation loss is kept. The defaults are the deck's.

    Where training moves running statistics, a last batch of less than a quarter of `batch_size` is left out.
    `patience`: epochs without a lower validation loss after which training stops; null never stops early.
    `weight_decay`: decoupled from the rate's adaption with adamw (Loshchilov and Hutter 2019), L2 otherwise.
    `schedule`: the rate stays, falls to 0 as half a cosine (Loshchilov and Hutter 2017), or rises from a 25th to the
    rate and falls to almost nothing (one-cycle, Smith and Topin 2018). `warm_up`: share of the steps over which the
    rate rises from 0; one-cycle has its own. `label_smoothing`: Szegedy et al. 2016. `mix_up`, `cut_mix`: alpha of the
    Beta distribution by which images are blended (Zhang et al. 2018) or pasted into one another (Yun et al. 2019);
    with both, either with odds of 1 in 2. `average`: decay of the running average of the weights that is validated and
    kept instead of them (EMA; Polyak and Juditsky 1992).
    `backbone_rate`: the backbone's rate as a share of the head's. `layer_decay`: each block's rate as a share of that
    of the block above it. `unfreeze_epochs`: the backbone's unfrozen blocks begin to be trained one after another,
    from the top, spread over this many epochs (Howard and Ruder 2018); 0 trains all from the start.
    `compile`: torch.compile; null where it pays.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(0.0005, gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    warm_up: Fraction = 0.0
    epochs: int = Field(15, ge=0)
    patience: int | None = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    label_smoothing: Fraction = 0.0
    mix_up: float = Field(0.0, ge=0, le=100)
    cut_mix: float = Field(0.0, ge=0, le=100)
    average: Fraction = 0.0
    backbone_rate: float = Field(1.0, gt=0, le=1)
    layer_decay: float = Field(1.0, gt=0, le=1)
    unfreeze_epochs: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    compile: bool | None = None
