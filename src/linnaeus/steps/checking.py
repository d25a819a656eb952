"""Scanning and checking images: from a folder to everything that is odd in it."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.data.catalogue import Catalogue, read_catalogue
from linnaeus.data.checks import ODD_BELOW
from linnaeus.data.dataset import ImageDataset
from linnaeus.data.decode import Pixels, thumbnail_luma
from linnaeus.data.duplicates import duplicate_pairs, group_numbers
from linnaeus.data.issues import Issues, find_issues
from linnaeus.data.labels import label_issues, out_of_fold_probabilities, outlier_scores
from linnaeus.data.scan import scan_files, scan_means
from linnaeus.data.sources import Source
from linnaeus.errors import ProjectError
from linnaeus.files import write_table
from linnaeus.networks.classifier import build_classifier
from linnaeus.progress import Progress
from linnaeus.project import Project
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.settings import CheckRecipe, CleanRecipe, ScanRecipe
from linnaeus.training.features import cached_activations, trunks_of

THUMBNAIL_SIDE = 128
DECIMALS = 4


def scan_images(
    folder: Path,
    sources: list[Source],
    known: pd.DataFrame | None,
    recipe: ScanRecipe,
    *,
    has_heif: bool,
    progress: Progress,
) -> pd.DataFrame:
    """What is in every file; those that `known` has as they are now are not decoded again."""
    return scan_files(
        folder,
        [source.relpath for source in sources],
        known,
        scanned_by=scan_means(recipe.max_pixels, has_heif=has_heif),
        max_pixels=recipe.max_pixels,
        progress=progress,
    )


def find_duplicates(folder: Path, images: pd.DataFrame, recipe: ScanRecipe, progress: Progress) -> pd.DataFrame:
    """The pairs of images that are the same or nearly so; small copies of likely ones are read to be sure."""
    return duplicate_pairs(images, partial(_luma, folder, recipe.max_pixels), recipe.duplicates, progress)


def _luma(folder: Path, max_pixels: int, relpath: str) -> Pixels:
    return thumbnail_luma(folder / relpath, THUMBNAIL_SIDE, max_pixels=max_pixels)


def load_catalogue(project: Project) -> Catalogue:
    """The catalogue that the project has."""
    excluded, duplicates = pd.read_parquet(project.excluded), pd.read_parquet(project.duplicates)
    return Catalogue(read_catalogue(project.catalogue), excluded, duplicates)


def last_clean_recipe(project: Project) -> CleanRecipe:
    """How the clean copy was made; the default where there is none yet."""
    try:
        return CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    except ProjectError:
        return CleanRecipe()


def load_issues(project: Project) -> Issues:
    """The issues that the project has."""
    return Issues(pd.read_parquet(project.issues), pd.read_parquet(project.checked))


def check_afresh(project: Project, recipe: CheckRecipe, progress: Progress) -> None:
    """Hold every image against every check, and write down what was found."""
    found = load_catalogue(project)
    judged = _judge(project, recipe, progress) if recipe.judge_labels else None
    issues = find_issues(found.images, found.excluded, found.pairs, judged, recipe)
    write_table(issues.findings, project.issues)
    write_table(issues.checked, project.checked)


def _judge(project: Project, recipe: CheckRecipe, progress: Progress) -> pd.DataFrame:
    """What the features of the clean copy say of each image: relpath (of the original), then the columns of
    label_issue and outlier, and suggested_label."""
    cleaned = read_catalogue(project.clean_catalogue)
    features = _features(project, cleaned, recipe, progress)
    pairs = pd.read_parquet(project.duplicates)
    groups = group_numbers(pairs, cleaned["source"])
    labels = cleaned["label"].to_numpy()
    probabilities = out_of_fold_probabilities(
        features, labels, groups, folds=recipe.labels.folds, seed=recipe.labels.seed, progress=progress
    )
    doubts = label_issues(probabilities, labels)
    likeness = outlier_scores(features, labels, groups, threshold=recipe.labels.outlier_threshold)
    classes = np.array(sorted(cleaned["category"].unique()))
    return pd.DataFrame(
        {
            "relpath": cleaned["source"],
            "label_issue_score": doubts["label_score"].round(DECIMALS),
            "is_label_issue": doubts["is_label_issue"],
            "suggested_label": classes[doubts["suggested"]],
            "outlier_score": likeness.round(DECIMALS),
            "is_outlier": likeness < ODD_BELOW,
        }
    )


def _features(project: Project, cleaned: pd.DataFrame, recipe: CheckRecipe, progress: Progress) -> np.ndarray:
    """What the backbone makes of each clean image, (images, width) float32."""
    model = TransferRecipe(backbone=recipe.backbone, weights=recipe.weights, input_size=recipe.input_size)
    classifier = build_classifier(model, sorted(cleaned["category"].unique()), last_clean_recipe(project))
    images = ImageDataset(cleaned, project.clean_folder, shuffle=False, preprocess=classifier.facts.preprocessing)
    hashes = [*cleaned["sha256"]]
    trunks = trunks_of(classifier.body)
    activations = cached_activations(trunks, images, hashes, project.features, progress=progress)
    return activations[np.arange(len(images))]
