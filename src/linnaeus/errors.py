"""The errors a caller may see, one tree.

    LinnaeusError
    |-- CatalogueError      the image folder or a catalogue table cannot be used
    |-- DecodeError         one image cannot be read (becomes a listed exclusion, never ends a stage)
    |-- SplitError          the classes are too small, or the wishes contradict each other
    |-- RecipeError         a recipe, a plan or a setting is wrong
    |-- ProjectError        a stage is asked for before the stage it reads from
    |-- WeightsError        pretrained weights cannot be had
    |-- TrainingError       training went wrong (an empty part, a damaged image)
    |   `-- DivergedError   a loss, a gradient or a weight is no longer finite
    |-- PredictionError     there is nothing to predict with, or nothing to predict on
    `-- MissingExtraError   an optional package is needed; the message has its pip line

They are caught once, in the doors (the command line); each message says what, where, and what to do.
"""


class LinnaeusError(Exception):
    """Whatever Linnaeus refuses or cannot do."""


class CatalogueError(LinnaeusError):
    """The image folder or a catalogue table cannot be used."""


class DecodeError(LinnaeusError):
    """One image cannot be read; `reason` is a short phrase that exclusions are counted by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class SplitError(LinnaeusError):
    """The images cannot be divided as asked."""


class RecipeError(LinnaeusError):
    """A recipe, a plan or a setting is wrong."""


class ProjectError(LinnaeusError):
    """A stage is asked for before the stage it reads from has run."""


class WeightsError(LinnaeusError):
    """Pretrained weights cannot be had."""


class TrainingError(LinnaeusError):
    """Training cannot start or cannot go on."""


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is no longer finite, as it happens with too high a rate."""


class PredictionError(LinnaeusError):
    """There is nothing to predict with, or nothing to predict on."""


class MissingExtraError(LinnaeusError):
    """An optional package is needed that is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an optional package: pip install 'linnaeus[{extra}]'")
