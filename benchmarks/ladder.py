"""CNNs from scratch, each trained with several seeds for the same number of epochs or the same time.

    python benchmarks/ladder.py IMAGES [--rename animals10] [--set ladder|deck|insights] [--only PATTERN]
                                       [--seeds 3] [--epochs N | --minutes M] [--project FOLDER]

"ladder": the recipes ladder-0-deck to ladder-9-average, each against the one below it, and the last against the first.
"deck": the deck's CNNs, and which of its insights hold here; "insights": only the models that these compare, with
EfficientNet-Lite0 (frozen, then fine-tuned) for the last of them.

With neither epochs nor minutes each CNN is trained for its recipe's epochs, and never stopped early. For `--minutes`
two epochs of each recipe are timed first, so that all get the same time. Lite0 keeps its recipes' own epochs.

Each run is added to FOLDER/ladder.csv when it ends, and the same command goes on where it was interrupted. Intervals
are Student's, 95 %, over the seeds: how much another start would change things, and not how much other photographs
would. The split is the same for all seeds.
"""

import argparse
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import linnaeus
from linnaeus.data.balance import balanced
from linnaeus.files import read_json, write_json, write_with
from linnaeus.recipe import recipe_names


@dataclass(frozen=True)
class Claim:
    """That one recipe's test accuracy is above another's."""

    what: str
    better: str
    other: str


DECK_CLAIMS = [
    Claim("increasing widths, 3 layers", "conv3invert-dense1", "conv3-dense1"),
    Claim("increasing widths, 4 layers", "conv4lesspollinv-dense1", "conv4lesspoll-dense1"),
    Claim("4 layers, not 3", "conv4invto128-dense1", "conv3invert-dense1"),
    Claim("5 layers, not 3", "conv5invto128-dense1", "conv3invert-dense1"),
    Claim("dense layer of 256, not 128", "conv4invto128-dense256", "conv4invto128-dense1"),
    Claim("mid-sampling, not down", "base-meansamp-augment+", "base-downsamp-augment+"),
    Claim("mid-sampling, not up", "base-meansamp-augment+", "base-up-augment+"),
    Claim("mid-sampling, not up (best CNN)", "conv4invto128-dense256", "conv4invto128-dense256-up"),
    Claim("fine-tuned, not only frozen", "lite0-dense256-finetune", "lite0-dense256"),
]

ALL = [linnaeus.load_recipe(name) for name in recipe_names()]
DECK = [
    recipe
    for recipe in ALL
    if recipe.model.kind == "scratch" and not recipe.name.startswith(("ladder-", "demo-"))
    # The others are one of these at more epochs, and those are the same for all here.
    if recipe.starts_from is None and not recipe.name.endswith("-80")
]
COMPARED = {name for claim in DECK_CLAIMS for name in (claim.better, claim.other)}
SETS = {
    "ladder": [recipe for recipe in ALL if recipe.name.startswith("ladder-")],
    "deck": DECK,
    "insights": [recipe for recipe in ALL if recipe.name in COMPARED],
}


def main() -> None:
    options = parsed()
    recipes = [recipe for recipe in SETS[options.set] if fnmatchcase(recipe.name, options.only)]
    if not recipes:
        raise SystemExit(f"no recipe of the {options.set} is called {options.only!r}")
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        project = options.project or Path(temporary) / "project"
        linnaeus.catalogue(options.images, project, rename=options.rename, progress=linnaeus.bars)
        linnaeus.clean(project, progress=linnaeus.bars)
        train = linnaeus.split(project).train
        rows: list[dict[str, object]] = []
        for seed in range(options.seeds):
            for recipe in recipes:
                rows.append(one_run(project, timed(recipe, project, options), train, seed))
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
                keep(rows[-1], project / "ladder.csv")
            print(
                f"\nAfter {seed + 1} of {options.seeds} seeds:\n{summary(pd.DataFrame(rows)).to_string()}\n", flush=True
            )
        claims = ladder_claims([recipe.name for recipe in recipes]) if options.set == "ladder" else DECK_CLAIMS
        if not (verdicts := judged(pd.DataFrame(rows), claims)).empty:
            print(verdicts.to_string(index=False))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--set", choices=SETS, default="ladder")
    parser.add_argument("--only", default="*", help="a pattern of names, such as 'ladder-[0-4]*'")
    parser.add_argument("--seeds", type=int, default=3)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int)
    length.add_argument("--minutes", type=float, help="of training for each recipe and seed, validation included")
    parser.add_argument("--project", type=Path, help="a folder that is kept, and gone on with")
    return parser.parse_args()


def timed(recipe: linnaeus.Recipe, project: Path, options: argparse.Namespace) -> linnaeus.Recipe:
    """The recipe for the epochs that are asked for, or that fit into the minutes."""
    if recipe.model.kind == "transfer":
        return recipe
    epochs = options.epochs or recipe.training.epochs
    if options.minutes is not None:
        epochs = max(1, round(60 * options.minutes / seconds_per_epoch(recipe, project)))
    changes = {"training.epochs": epochs, "training.patience": None}
    return recipe.changed(changes, name=recipe.name)


def seconds_per_epoch(recipe: linnaeus.Recipe, project: Path) -> float:
    """Measured once a project, so that who goes on trains for the same epochs: the faster of two."""
    known = project / "ladder-paces.json"
    paces: dict[str, float] = read_json(known) if known.is_file() else {}
    if recipe.name not in paces:
        short = recipe.changed({"training.epochs": 2, "training.patience": None}, name=f"{recipe.name}-pace")
        history = linnaeus.train(project, short, progress=linnaeus.bars).history
        paces[recipe.name] = float(history["seconds"].min())
        write_json(known, paces)
    return paces[recipe.name]


def one_run(project: Path, recipe: linnaeus.Recipe, train: pd.DataFrame, seed: int) -> dict[str, object]:
    """A row of the results; a run that is finished is not done again."""
    epochs = recipe.training.epochs
    changes: dict[str, object] = {"training.seed": seed}
    if recipe.starts_from is not None:
        changes["starts_from"] = seeded_name(linnaeus.load_recipe(recipe.starts_from), seed)
    seeded = recipe.changed(changes, name=seeded_name(recipe, seed))
    run = linnaeus.train(project, seeded, progress=linnaeus.bars)
    (evaluation,) = linnaeus.evaluate(project, [run.model_id], final=True)
    facts, seen = run.training, epochs * len(balanced(train, recipe.data.balance))
    return {
        "model": recipe.name,
        "seed": seed,
        "epochs": epochs,
        "best_epoch": facts.best_epoch,
        "acc_val": evaluation.metrics["acc_val"],
        "accuracy": evaluation.metrics["accuracy"],
        "train_seconds": round(facts.train_seconds, 1),
        "images_per_second": round(seen / facts.train_seconds, 1),
        "parameters": facts.parameters,
    }


def seeded_name(recipe: linnaeus.Recipe, seed: int) -> str:
    return f"{recipe.name}-{recipe.training.epochs}epochs-seed{seed}"


def keep(row: dict[str, object], path: Path) -> None:
    """Write the row into the file, in the place of an earlier one of the same model, seed and epochs."""
    key = ["model", "seed", "epochs"]
    before = [pd.read_csv(path)] if path.is_file() else []
    table = pd.concat([*before, pd.DataFrame([row])]).drop_duplicates(key, keep="last")
    write_with(path, lambda partial: table.to_csv(partial, index=False))


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a model: accuracies in percent with their intervals over the seeds, and what they cost."""
    rows = {}
    for model, own in runs.groupby("model", sort=False):
        rows[model] = {
            "seeds": len(own),
            "epochs": own["epochs"].iloc[0],
            "validation %": interval_text(100 * own["acc_val"].to_numpy()),
            "test %": interval_text(100 * own["accuracy"].to_numpy()),
            "training s": round(own["train_seconds"].mean()),
            "images/s": round(own["images_per_second"].mean()),
            "parameters": own["parameters"].iloc[0],
        }
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="model"))


def ladder_claims(models: list[str]) -> list[Claim]:
    """Each model against the one below it, and the last against the first."""
    steps = [Claim("better than the one below", upper, lower) for lower, upper in pairwise(models)]
    return [*steps, Claim("the whole ladder", models[-1], models[0])] if len(models) > 2 else steps


def judged(runs: pd.DataFrame, claims: list[Claim]) -> pd.DataFrame:
    """What the seeds say to each claim whose two models were trained: differences in points, paired by seed. The test
    part gives the verdict."""
    points = runs.pivot(index="seed", columns="model", values=["accuracy", "acc_val"]) * 100
    rows = []
    for claim in claims:
        if {claim.better, claim.other} <= {*runs["model"]}:
            test, val = (
                (points[part][claim.better] - points[part][claim.other]).to_numpy() for part in ("accuracy", "acc_val")
            )
            rows.append([claim.what, claim.better, claim.other, interval_text(test), verdict(test), interval_text(val)])
    return pd.DataFrame(rows, columns=["insight", "better", "than", "points on test", "verdict", "on validation"])


def verdict(differences: np.ndarray) -> str:
    """Fewer than three seeds tell nothing: two may agree by chance, and their interval is then a point."""
    low, high = interval(differences)
    if len(differences) < 3 or low <= 0 <= high:
        return "cannot be told"
    return "holds" if low > 0 else "does not hold"


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % t-interval of the mean; endless for fewer than two values, a point where all are equal."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(values.mean() - half), float(values.mean() + half)


def interval_text(values: np.ndarray) -> str:
    low, high = interval(values)
    return f"{values.mean():.1f}" + (f" ({low:.1f} to {high:.1f})" if np.isfinite(low) else "")


if __name__ == "__main__":
    main()
