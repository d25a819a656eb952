"""Linnaeus: a folder of images becomes a classifier that its owner can trust.

The public names, nothing else. Each is imported when it is first used, so that `import linnaeus` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linnaeus.data.balance import balanced, class_weights, sample_to_n
    from linnaeus.data.catalogue import Catalogue, read_catalogue
    from linnaeus.data.dataset import ImageDataset
    from linnaeus.data.issues import Issues
    from linnaeus.data.split import Splits, split_table
    from linnaeus.errors import LinnaeusError
    from linnaeus.evaluation.comparison import side_by_side
    from linnaeus.jobs import demo, find_rate, run, tune
    from linnaeus.networks.classifier import Classifier, build_classifier, load_classifier
    from linnaeus.networks.summary import ModelSummary
    from linnaeus.outcomes import Comparison, Differences, Evaluation, Outcome, Reasons, Reproduction, Tuning
    from linnaeus.progress import bars, silent
    from linnaeus.project import Project, open_project
    from linnaeus.recipe import Plan, Recipe, load_plan, load_recipe, transfer_recipe
    from linnaeus.recipe_sections import AugmentRecipe, DataRecipe, ScratchRecipe, TrainingRecipe, TransferRecipe
    from linnaeus.records import Preprocessing
    from linnaeus.reporting.figures import (
        class_counts_figure,
        confusion_figure,
        history_figure,
        sizes_figure,
        tradeoff_figure,
    )
    from linnaeus.reproduction import reproduce
    from linnaeus.runs import Run
    from linnaeus.scale.device import keep_freed_memory
    from linnaeus.settings import CheckRecipe, CleanRecipe, ScanRecipe, SplitRecipe
    from linnaeus.stages import (
        catalogue,
        check,
        clean,
        compare,
        differences,
        evaluate,
        explain,
        report,
        split,
        train,
    )
    from linnaeus.steps.training import Manner
    from linnaeus.using import explain_files, models, predict

_HOMES = {
    "linnaeus.data.balance": ("balanced", "class_weights", "sample_to_n"),
    "linnaeus.data.catalogue": ("Catalogue", "read_catalogue"),
    "linnaeus.data.dataset": ("ImageDataset",),
    "linnaeus.data.issues": ("Issues",),
    "linnaeus.data.split": ("Splits", "split_table"),
    "linnaeus.errors": ("LinnaeusError",),
    "linnaeus.evaluation.comparison": ("side_by_side",),
    "linnaeus.jobs": ("demo", "find_rate", "run", "tune"),
    "linnaeus.networks.classifier": ("Classifier", "build_classifier", "load_classifier"),
    "linnaeus.networks.summary": ("ModelSummary",),
    "linnaeus.outcomes": (
        *("Comparison", "Differences", "Evaluation", "Outcome", "Reasons", "Reproduction", "Tuning"),
    ),
    "linnaeus.progress": ("bars", "silent"),
    "linnaeus.project": ("Project", "open_project"),
    "linnaeus.recipe": ("Plan", "Recipe", "load_plan", "load_recipe", "transfer_recipe"),
    "linnaeus.recipe_sections": (
        *("AugmentRecipe", "DataRecipe", "ScratchRecipe", "TrainingRecipe", "TransferRecipe"),
    ),
    "linnaeus.records": ("Preprocessing",),
    "linnaeus.reporting.figures": (
        *("class_counts_figure", "confusion_figure", "history_figure", "sizes_figure", "tradeoff_figure"),
    ),
    "linnaeus.reproduction": ("reproduce",),
    "linnaeus.runs": ("Run",),
    "linnaeus.scale.device": ("keep_freed_memory",),
    "linnaeus.settings": ("CheckRecipe", "CleanRecipe", "ScanRecipe", "SplitRecipe"),
    "linnaeus.stages": (
        *("catalogue", "check", "clean", "compare", "differences", "evaluate", "explain", "report", "split", "train"),
    ),
    "linnaeus.steps.training": ("Manner",),
    "linnaeus.using": ("explain_files", "models", "predict"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AugmentRecipe",
    "Catalogue",
    "CheckRecipe",
    "Classifier",
    "CleanRecipe",
    "Comparison",
    "DataRecipe",
    "Differences",
    "Evaluation",
    "ImageDataset",
    "Issues",
    "LinnaeusError",
    "Manner",
    "ModelSummary",
    "Outcome",
    "Plan",
    "Preprocessing",
    "Project",
    "Reasons",
    "Recipe",
    "Reproduction",
    "Run",
    "ScanRecipe",
    "ScratchRecipe",
    "SplitRecipe",
    "Splits",
    "TrainingRecipe",
    "TransferRecipe",
    "Tuning",
    "balanced",
    "bars",
    "build_classifier",
    "catalogue",
    "check",
    "class_counts_figure",
    "class_weights",
    "clean",
    "compare",
    "confusion_figure",
    "demo",
    "differences",
    "evaluate",
    "explain",
    "explain_files",
    "find_rate",
    "history_figure",
    "keep_freed_memory",
    "load_classifier",
    "load_plan",
    "load_recipe",
    "models",
    "open_project",
    "predict",
    "read_catalogue",
    "report",
    "reproduce",
    "run",
    "sample_to_n",
    "side_by_side",
    "silent",
    "sizes_figure",
    "split",
    "split_table",
    "tradeoff_figure",
    "train",
    "transfer_recipe",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'linnaeus' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
