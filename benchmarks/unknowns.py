"""How well images of none of the classes are told: some classes of a folder are left out, and stand for them.

    python benchmarks/unknowns.py IMAGES [--rename animals10] [--work FOLDER] [--recipes NAME ...] [--known 2]
        [--rivals]

By default each class is left out in turn; with `--known N`, all but N classes that follow one another in the alphabet.
Each recipe is trained on the others. Known images are their test part, unknown ones all of those that were left out.

`AUROC` is the area under the ROC curve, `FPR@95` the share of the unknown taken for known where the threshold keeps
95 % of the known test images, both as mean +- standard deviation (lowest to highest) over the trials. `kept` and
`taken` are the shares of known test images and of unknown ones that reach the threshold that keeps 95 % of validation:
what a user of the product sees. With --rivals also scores that are not in the library. `--work` keeps the project and
the features. A CNN from scratch can be among the recipes; it is trained anew for each trial, in minutes.

What is left out is much like the rest (a horse among cows and sheep), and ImageNet, on which the backbone was trained,
has most of it. So these are hard unknowns, but of a kind that the features were made to tell.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.linalg import cholesky, inv
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

import linnaeus
from linnaeus.data.catalogue import with_labels
from linnaeus.data.split import Splits
from linnaeus.evaluation.calibration import fit_temperature, softmax
from linnaeus.evaluation.inference import Outputs
from linnaeus.evaluation.unknowns import (
    NEIGHBOURS,
    auroc_and_fpr,
    energy,
    fit_class_distance,
    maximum_probability,
    threshold,
    unit_length,
)
from linnaeus.settings import CleanRecipe
from linnaeus.steps.evaluation import outputs_of
from linnaeus.steps.training import training_images
from linnaeus.training.train import train_classifier

RECIPES = ("lite0-probe", "lite0-dense256", "lite0-knn")
FIGURES = ["AUROC", "FPR@95", "kept", "taken"]
A_CLASS = 100  # images of each class among the fewer neighbours
Score = Callable[[Outputs], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--known", type=int)
    parser.add_argument("--rivals", action="store_true")
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary) / "project"
        linnaeus.catalogue(options.images, work, rename=options.rename, progress=linnaeus.bars)
        linnaeus.clean(work, progress=linnaeus.bars)
        splits = linnaeus.split(work)
        project = linnaeus.open_project(work)
        rows = []
        for name in options.recipes:
            started = perf_counter()
            for known in known_classes(splits.classes, options.known):
                rows += trial(project, linnaeus.load_recipe(name), known, rivals=options.rivals)
            print(f"{name}: {perf_counter() - started:.0f} s for {len(splits.classes)} trials", flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{len(splits.table)} images\n{summary(table).to_string()}")
    print(f"\nAUROC of each trial\n{by_trial(table).to_string()}")


def known_classes(classes: Sequence[str], count: int | None) -> list[list[str]]:
    """As many sets of `count` neighbours as there are classes, the last ones going on at the beginning."""
    around = [*classes, *classes]
    return [around[place : place + (count or len(classes) - 1)] for place in range(1, len(classes) + 1)]


def trial(
    project: linnaeus.Project, recipe: linnaeus.Recipe, known: Sequence[str], *, rivals: bool
) -> list[dict[str, object]]:
    images = training_images(project)
    is_unknown = ~images.splits.table["category"].isin(known)
    splits = Splits(with_labels(images.splits.table[~is_unknown].reset_index(drop=True)))
    classifier = linnaeus.build_classifier(recipe.model, splits.classes, CleanRecipe(), seed=recipe.training.seed)
    train_classifier(classifier, recipe, replace(images, splits=splits))
    unknown_images = images.splits.table[is_unknown].reset_index(drop=True).assign(label=0)
    parts = (splits.train, splits.val, splits.test, unknown_images)
    train, val, test, unknown = (outputs_of(project, recipe, classifier, part, linnaeus.silent) for part in parts)
    labels = splits.train["label"].to_numpy()
    ways = scores(train.features, labels, fit_temperature(val.logits, splits.val["label"].to_numpy()))
    if rivals:
        ways |= rival_scores(train.features, labels)
    rows = []
    for name, score in ways.items():
        of_test, of_unknown, least = score(test), score(unknown), threshold(score(val))
        apart = auroc_and_fpr(of_test, of_unknown)
        figures = [apart.auroc, apart.false_positive_rate, np.mean(of_test >= least), np.mean(of_unknown >= least)]
        left_out = [name for name in images.splits.classes if name not in known]
        told = f"without {left_out[0]}" if len(left_out) == 1 else " ".join(known)
        named = {"recipe": recipe.name, "score": name, "trial": told}
        rows.append(named | dict(zip(FIGURES, figures, strict=True)))
    return rows


def scores(features: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, Score]:
    """The library's three."""
    distance = fit_class_distance(features, labels)
    return {
        "maximum probability": lambda outputs: maximum_probability(softmax(outputs.logits, temperature)),
        "energy": lambda outputs: energy(outputs.logits),
        "distance": lambda outputs: distance.score(outputs.features),
    }


def rival_scores(features: np.ndarray, labels: np.ndarray) -> dict[str, Score]:
    """Others: Lee et al. 2018; Ren et al. 2021, with a covariance of all images that is estimated on its own, or is the
    sum of those within and between classes; Sun et al. 2022 with whole features, of all images or of some."""
    centres = np.stack([features[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    middle = features.mean(axis=0, keepdims=True)
    within = ledoit_wolf(features - centres[labels], assume_centered=True)[0]
    between = np.cov((centres - middle).T, aweights=np.bincount(labels), ddof=0)
    of_all = ledoit_wolf(features - middle, assume_centered=True)[0]
    order = np.random.default_rng(0).permutation(len(labels))
    few = np.concatenate([order[labels[order] == label][:A_CLASS] for label in range(len(centres))])
    to_classes = squared_distance(centres, within)
    to_all, to_sum = squared_distance(middle, of_all), squared_distance(middle, within + between)
    return {
        "uncalibrated probability": lambda outputs: maximum_probability(softmax(outputs.logits)),
        "energy as it comes": lambda outputs: logsumexp(outputs.logits, axis=1),
        "largest logit": lambda outputs: outputs.logits.max(axis=1),
        "Mahalanobis": lambda outputs: -to_classes(outputs),
        "relative, two estimates": lambda outputs: to_all(outputs) - to_classes(outputs),
        "relative, their sum": lambda outputs: to_sum(outputs) - to_classes(outputs),
        "5th neighbour, all features": lambda outputs: similarity(outputs.features, features),
        f"the same of {A_CLASS} a class": lambda outputs: similarity(outputs.features, features[few]),
    }


def squared_distance(centres: np.ndarray, covariance: np.ndarray) -> Score:
    """The Mahalanobis distance to the nearest centre, squared."""
    whitening = cholesky(inv(covariance))
    there = centres @ whitening

    def distance(outputs: Outputs) -> np.ndarray:
        places = outputs.features @ whitening
        return np.stack([np.sum((places - centre) ** 2, axis=1) for centre in there]).min(axis=0)

    return distance


def similarity(rows: np.ndarray, references: np.ndarray) -> np.ndarray:
    return np.partition(unit_length(rows) @ unit_length(references).T, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(["recipe", "score"], sort=False)[FIGURES]
    mean, deviation, low, high = groups.mean(), groups.std(), groups.min(), groups.max()
    told = {
        name: [
            f"{mean[name][way]:.3f} +- {deviation[name][way]:.3f} ({low[name][way]:.3f} to {high[name][way]:.3f})"
            for way in mean.index
        ]
        for name in FIGURES
    }
    return pd.DataFrame(told, index=mean.index)


def by_trial(rows: pd.DataFrame) -> pd.DataFrame:
    table = rows.pivot(index=["recipe", "score"], columns="trial", values="AUROC")
    return table.loc[rows.groupby(["recipe", "score"], sort=False).groups.keys()].round(3)


if __name__ == "__main__":
    main()
