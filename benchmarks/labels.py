"""How many planted wrong labels are found, beside cleanlab's defaults on the same features.

    python benchmarks/labels.py IMAGES [--rename animals10] [--work FOLDER]

5 % of the labels are made wrong, with three seeds: "any" chooses another class evenly, "confused" the class that the
unmodified folder's own probabilities put next. `top` is the share of wrong ones among as many most doubtful labels as
were planted, `AP` the average precision, `precision` and `recall` are of the labels that are flagged. Labels that were
wrong in the folder before count as right here, so that nothing reaches 1. `--work` keeps the project and the features.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import linnaeus
from linnaeus.data.dataset import ImageDataset
from linnaeus.data.labels import label_issues, out_of_fold_probabilities, outlier_scores
from linnaeus.evaluation.inference import Forward
from linnaeus.networks.backbone import backbone_preprocessing, build_backbone
from linnaeus.project import Project
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.training.features import cached_activations

SHARE = 0.05
SEEDS = (0, 1, 2)
FIGURES = ["top", "AP", "precision", "recall", "flagged"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        features, labels = features_of(options.images, options.rename, options.work or Path(temporary) / "project")
    started = perf_counter()
    probabilities = out_of_fold_probabilities(features, labels)
    print(f"{len(labels)} images, probabilities in {perf_counter() - started:.1f} s")
    started = perf_counter()
    outliers = outlier_scores(features, labels) < 0.5
    print(f"nothing planted: {outliers.sum()} outliers in {perf_counter() - started:.1f} s; labels flagged:")
    for name, (flagged, _) in judged(features, labels, 0).items():
        print(f"    {name:38} {flagged.sum():6}")
    for kind in ("any", "confused"):
        rows = [row for seed in SEEDS for row in trial(features, labels, probabilities, kind=kind, seed=seed)]
        print(f"\n{SHARE:.0%} made wrong, {kind}: mean (lowest to highest) of {len(SEEDS)} seeds")
        print(summary(pd.DataFrame(rows)).to_string())


def features_of(images: Path, rename: str | None, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """EfficientNet-Lite0's pooled features of each image, and the labels."""
    linnaeus.catalogue(images, work, rename=rename, progress=linnaeus.bars)
    table = linnaeus.clean(work, progress=linnaeus.bars).images
    backbone = build_backbone(TransferRecipe(), pretrained=True)
    preprocess = backbone_preprocessing(backbone, None)
    dataset = ImageDataset(table, Project(work).clean_folder, shuffle=False, preprocess=preprocess)
    cache = Project(work).features
    features = cached_activations([Forward(backbone)], dataset, [*table["sha256"]], cache, progress=linnaeus.bars)
    return np.asarray(features[np.arange(len(table))]), table["label"].to_numpy()


def planted(labels: np.ndarray, probabilities: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with some made wrong, and which."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(labels), round(SHARE * len(labels)), replace=False)
    others = probabilities[rows].copy()
    others[np.arange(len(rows)), labels[rows]] = -1
    classes = probabilities.shape[1]
    steps = random.integers(1, classes, len(rows))
    given, is_wrong = labels.copy(), np.zeros(len(labels), dtype=bool)
    given[rows] = (labels[rows] + steps) % classes if kind == "any" else others.argmax(axis=1)
    is_wrong[rows] = True
    return given, is_wrong


def judged(features: np.ndarray, given: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which labels each way flags, and its scores (low for doubtful)."""
    ours = out_of_fold_probabilities(features, given, seed=seed)
    plain_probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    plain = cross_val_predict(plain_probe, features, given, method="predict_proba")
    table = label_issues(ours, given)
    return {
        "linnaeus": (table["is_label_issue"].to_numpy(), table["label_score"].to_numpy()),
        "cleanlab, the same probabilities": by_cleanlab(given, ours),
        "cleanlab, plain logistic regression": by_cleanlab(given, plain),
    }


def by_cleanlab(given: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return find_label_issues(given, probabilities, n_jobs=1), get_label_quality_scores(given, probabilities)


def trial(
    features: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, *, kind: str, seed: int
) -> list[dict[str, object]]:
    given, is_wrong = planted(labels, probabilities, kind, seed)
    rows = []
    for name, (flagged, scores) in judged(features, given, seed).items():
        top = is_wrong[np.argsort(scores, kind="stable")[: is_wrong.sum()]].mean()
        precision = is_wrong[flagged].mean() if flagged.any() else np.nan
        figures = [top, average_precision_score(is_wrong, -scores), precision, flagged[is_wrong].mean(), flagged.sum()]
        rows.append({"way": name} | dict(zip(FIGURES, figures, strict=True)))
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    by_way = rows.groupby("way", sort=False)[FIGURES]
    mean, low, high = by_way.mean(), by_way.min(), by_way.max()
    return pd.DataFrame(
        {
            name: [
                f"{mean[name][way]:.{digits}f} ({low[name][way]:.{digits}f} to {high[name][way]:.{digits}f})"
                for way in mean.index
            ]
            for name in FIGURES
            for digits in [0 if name == "flagged" else 3]
        },
        index=mean.index,
    )


if __name__ == "__main__":
    main()
