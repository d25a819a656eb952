"""How images are read, cleaned, checked and divided: typed settings that hold every default."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_MEGAPIXELS = 100.0  # a larger image is taken for a decompression bomb

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, and it refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DuplicateRecipe(Section):
    """Which images count as near-duplicates: their perceptual hashes are close, and then their pixels are alike.

    The defaults are measured by benchmarks/duplicates.py. Hashes of photographs differ in an even number of bits.
    """

    radius: int = Field(10, ge=0, le=12, description="bits of 64 in which the hashes may differ")
    similarity: float = Field(0.9, gt=0, le=1, description="least correlation of the fine detail, once aligned")


class ScanRecipe(Section):
    """How an image folder is read."""

    max_megapixels: float = Field(MAX_MEGAPIXELS, gt=0, description="a larger image is taken for a decompression bomb")
    duplicates: DuplicateRecipe = DuplicateRecipe()

    @property
    def max_pixels(self) -> int:
        """The largest number of pixels an image may have."""
        return round(self.max_megapixels * 1e6)


class CleanRecipe(Section):
    """How an image is normalised: a square JPEG with `size` pixels a side.

    `fit`: "squash" changes the aspect (as the deck does), "crop" cuts the longer side, "pad" adds white.
    """

    size: int = Field(224, ge=8, le=4096, description="side of the square, pixels")
    quality: int = Field(90, ge=1, le=100, description="JPEG quality")
    fit: Literal["squash", "crop", "pad"] = "squash"


class LabelRecipe(Section):
    """How labels and images are judged by their features; each fold of the images is judged by the others.

    `outlier_threshold`: robust standard deviations above its class's median distance from which an image is an outlier.
    """

    folds: int = Field(5, ge=2)
    seed: int = Field(0, ge=0, lt=2**32)
    outlier_threshold: float = Field(2.5, gt=0)


class CheckRecipe(Section):
    """From where on an image is odd; `docs/catalogue.md` has the unit of each measure.

    `dark`: 95 % of the pixels are darker than this. `bright`: 95 % are brighter. `blurry`, `information`, `grey`: least
    sharpness, entropy (bits) and colourfulness. `aspect`: longer side by shorter. `size`: how many times larger or
    smaller than the median a side may be. `backbone`, `weights`, `input_size`: of the network whose features judge
    labels and outliers, as in a transfer recipe; `judge_labels` false leaves that out.
    """

    dark: float = Field(0.25, gt=0, lt=1)
    bright: float = Field(0.8, gt=0, lt=1)
    blurry: float = Field(0.03, gt=0)
    information: float = Field(1.5, gt=0, le=8)
    grey: float = Field(0.005, gt=0, le=1)
    aspect: float = Field(3.0, gt=1)
    size: float = Field(4.0, gt=1)
    judge_labels: bool = True
    labels: LabelRecipe = LabelRecipe()
    backbone: str = "tf_efficientnet_lite0"
    weights: str = "auto"
    input_size: int | None = Field(None, ge=16, description="pixels; null for the backbone's own")


class SplitRecipe(Section):
    """How images are divided into training, validation and test, and which of them stay together.

    `val` and `test`: shares of the whole, training gets the rest. `method`: "stratified" keeps each class's shares;
    "hash" lets each image's own path decide, so that images which are added move none, and keeps shares roughly;
    "kfold" makes fold number `fold` of `folds` the test part and the next one validation, whatever the shares.
    `near_duplicates`: whether near-duplicates stay together. `group_column` and `group_pattern`: a column of the table,
    a regular expression on an image's path (its named group "group", else its first group, else the whole match);
    images with the same value stay together.
    """

    val: Share = 0.2
    test: Share = 0.1
    seed: int = Field(5, ge=0, lt=2**32)
    method: Literal["stratified", "hash", "kfold"] = "stratified"
    near_duplicates: bool = True
    group_column: str | None = Field(None, min_length=1)
    group_pattern: str | None = Field(None, min_length=1)
    folds: int = Field(5, ge=3)
    fold: int = Field(0, ge=0)

    @field_validator("group_pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test together must leave a share for training")
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} folds; they are numbered from 0 to {self.folds - 1}")
        return self
