"""The stages, top to bottom: one short function per verb. They talk through the files of a project; jobs.py joins them.

`force` does a stage again although it is finished; `progress` is how long work shows how far it is (`linnaeus.bars` or
`linnaeus.silent`). All raise the errors of `errors.py`.
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import overload

import pandas as pd

from linnaeus.data.catalogue import Catalogue, build_catalogue, exclusion_table, read_catalogue, rename_map
from linnaeus.data.clean import Cleaning, clean_images
from linnaeus.data.issues import Issues
from linnaeus.data.sources import find_sources, folder_state
from linnaeus.data.split import Splits
from linnaeus.decisions import apply_decisions, propose, read_decisions
from linnaeus.deploy.predictor import find_files, predict_files
from linnaeus.errors import PredictionError, ProjectError, RecipeError
from linnaeus.evaluation.comparison import leaderboard
from linnaeus.files import file_hash, fingerprint, whole_folder, write_table, write_text, write_with
from linnaeus.networks.classifier import load_classifier
from linnaeus.networks.pretrained import pretrained_table
from linnaeus.networks.summary import ModelSummary, recipe_table, summarise
from linnaeus.outcomes import Comparison, Evaluation
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project, open_project
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.reporting.figures import save_figure, tradeoff_figure
from linnaeus.reporting.gather import gather_facts
from linnaeus.reporting.page import build_page
from linnaeus.runs import Run
from linnaeus.settings import CheckRecipe, CleanRecipe, ScanRecipe, SplitRecipe
from linnaeus.steps.checking import (
    check_afresh,
    find_duplicates,
    last_clean_recipe,
    load_catalogue,
    load_issues,
    scan_images,
)
from linnaeus.steps.evaluation import evaluate_afresh, is_evaluated_on_current
from linnaeus.steps.splitting import check_no_leaks, goes_on, load_splits, split_afresh
from linnaeus.steps.training import Manner, Training, train_afresh, weights_hash

AnyProject = Project | str | Path


def catalogue(
    images: str | Path,
    project: AnyProject | None = None,
    recipe: ScanRecipe | None = None,
    *,
    rename: str | Path | dict[str, str] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Catalogue:
    """A row for every image of a folder, and one for everything that was left out, with the reason.

    Each file is decoded once; of a folder that was scanned before, only what is new or changed.
    """
    folder, names, recipe = Path(images), rename_map(rename), recipe or ScanRecipe()
    sources, excluded = find_sources(folder)
    state = fingerprint(folder_state(folder, sources, excluded))
    opened = create_project(folder, project)
    has_heif = find_spec("pillow_heif") is not None

    def work() -> None:
        known = pd.read_parquet(opened.scan) if opened.scan.is_file() and not force else None
        scanned = scan_images(folder, sources, known, recipe, has_heif=has_heif, progress=progress)
        found = build_catalogue(folder, sources, excluded, scanned, names)
        write_with(opened.scan, partial(scanned.to_parquet, index=False))
        write_table(found.images, opened.catalogue)
        write_table(found.excluded, opened.excluded)
        write_table(find_duplicates(folder, found.images, recipe, progress), opened.duplicates)

    inputs = {"folder": state, "rename": names, "heif": has_heif, "recipe": recipe.model_dump(mode="json")}
    outputs = [opened.scan, opened.catalogue, opened.excluded, opened.duplicates]
    opened.finish("catalogue", inputs, outputs, work, force=force)
    return load_catalogue(opened)


def clean(
    project: AnyProject,
    recipe: CleanRecipe | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Catalogue:
    """The catalogue of a normalised copy of every image; the images themselves are only read.

    What `decisions.csv` drops is left out, and what it relabels is copied into the folder of its new class.
    """
    opened, recipe = open_project(project), recipe or CleanRecipe()
    scan = ScanRecipe(**opened.stamp("catalogue")["inputs"]["recipe"])
    images, decisions = opened.images, read_decisions(opened.decisions)

    def work() -> None:
        wanted, dropped = apply_decisions(read_catalogue(opened.catalogue), decisions)
        with whole_folder(opened.clean_folder) as folder:
            cleaned, lost = clean_images(wanted, images, folder, Cleaning(recipe, scan.max_pixels), progress)
        write_table(cleaned, opened.clean_catalogue)
        write_table(exclusion_table([*dropped, *lost]), opened.clean_excluded)

    inputs = {
        "catalogue": file_hash(opened.catalogue),
        "recipe": recipe.model_dump(mode="json"),
        "decisions": decisions.changing,
    }
    outputs = [opened.clean_folder, opened.clean_catalogue, opened.clean_excluded]
    opened.finish("clean", inputs, outputs, work, force=force)
    return Catalogue(read_catalogue(opened.clean_catalogue), pd.read_parquet(opened.clean_excluded))


def check(
    project: AnyProject,
    recipe: CheckRecipe | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Issues:
    """Everything odd about the images, the gravest first; and `decisions.csv`, proposed where there is none yet.

    Wrong labels and outliers are judged by features of the clean copy, which is made, or made anew, where need be.
    """
    opened, recipe = open_project(project), recipe or CheckRecipe()
    opened.stamp("catalogue")
    if recipe.judge_labels:
        clean(opened, last_clean_recipe(opened), progress=progress)
    inputs = {
        "catalogue": file_hash(opened.catalogue),
        "excluded": file_hash(opened.excluded),
        "duplicates": file_hash(opened.duplicates),
        "clean": file_hash(opened.clean_catalogue) if recipe.judge_labels else None,
        "weights": weights_hash(recipe.weights),
        "recipe": recipe.model_dump(mode="json"),
    }
    work = partial(check_afresh, opened, recipe, progress)
    opened.finish("check", inputs, [opened.issues, opened.checked], work, force=force)
    issues = load_issues(opened)
    if not opened.decisions.exists():
        write_with(opened.decisions, partial(propose(issues.findings).to_csv, index=False))
    return issues


def split(
    project: AnyProject,
    recipe: SplitRecipe | None = None,
    *,
    table: str | Path | None = None,
    force: bool = False,
) -> Splits:
    """The images divided into training, validation and test: of the clean catalogue, or of any other `table`.

    Near-duplicates stay together, and so do images that the recipe's column or pattern says belong together. By hash,
    images that were divided before stay where they are, unless `force` or other shares or another seed are asked for.
    """
    opened, recipe = open_project(project), recipe or SplitRecipe()
    if table is None:
        opened.stamp("clean")
    source = Path(table) if table is not None else opened.clean_catalogue
    rows = read_catalogue(source)
    own_table = None if table is None else str(source.resolve())
    inputs = {
        "table": file_hash(source),
        "own_table": own_table,
        "recipe": recipe.model_dump(mode="json"),
        "duplicates": file_hash(opened.duplicates) if opened.duplicates.is_file() else None,
        "decisions": read_decisions(opened.decisions).changing,
    }
    outputs = [opened.splits, opened.leaks, opened.left_out]
    if force or not goes_on(opened, recipe):
        opened.splits.unlink(missing_ok=True)
    opened.finish("split", inputs, outputs, partial(split_afresh, opened, rows, recipe), force=force)
    return load_splits(opened)


def train(
    project: AnyProject,
    recipe: Recipe | str | Path,
    *,
    allow_leaks: bool = False,
    manner: Manner = Manner(),  # noqa: B008  # frozen
    force: bool = False,
    progress: Progress = silent,
) -> Run:
    """One model trained on the project's splits; the run that a recipe starts from is trained first.

    Where images of one group lie in several parts, that is refused unless `allow_leaks`; the report then says so.
    `manner`: whether a training that was cut short goes on, how often it is kept, and who else is told of it.
    """
    opened = open_project(project)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    opened.stamp("split")
    check_no_leaks(opened, allow=allow_leaks)
    earlier = _earlier_run(opened, recipe, allow_leaks, manner, progress)
    trained = Run(opened.runs / recipe.name)
    inputs = {
        "recipe": recipe.model_dump(mode="json"),
        **opened.current_inputs(),
        "weights": weights_hash(recipe.model.weights) if isinstance(recipe.model, TransferRecipe) else None,
        "starts_from": opened.stamp(f"train-{earlier.model_id}")["key"] if earlier else None,
    }
    work = partial(train_afresh, opened, recipe, earlier, Training(manner, fingerprint(inputs), progress))
    opened.finish(f"train-{recipe.name}", inputs, [trained.folder], work, force=force)
    return trained


def evaluate(
    project: AnyProject,
    model_ids: Sequence[str] | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> list[Evaluation]:
    """How good the runs are on validation and test; a row each in results.csv.

    By default all that were trained on the project's present splits; others would be judged on images they know.
    """
    opened = open_project(project)
    current = opened.current_inputs()
    names = model_ids if model_ids is not None else [n for n in opened.trained() if opened.is_trained_on_current(n)]
    if not names:
        raise ProjectError(
            f"{opened.root} has no model trained on its present splits; run: linnaeus train {opened.root} --recipe NAME"
        )
    evaluations = []
    for name in names:
        evaluated = Run(opened.runs / name)
        inputs = {"trained": opened.stamp(f"train-{name}")["key"], **current}
        if not opened.is_trained_on_current(name):
            raise ProjectError(
                f"{name} was trained on other images or splits than {opened.root} has now; train it again"
            )
        work = partial(evaluate_afresh, opened, evaluated, progress)
        opened.finish(f"evaluate-{name}", inputs, [evaluated.metrics_file, opened.results], work, force=force)
        evaluations.append(Evaluation(evaluated, evaluated.metrics, evaluated.class_report(), evaluated.confusion()))
    return evaluations


def compare(project: AnyProject) -> Comparison:
    """The evaluated runs ranked by validation accuracy, with the test accuracy's 95 % interval beside it."""
    opened = open_project(project)
    names = opened.trained()
    stale = tuple(name for name in names if not is_evaluated_on_current(opened, name))
    results = [Run(opened.runs / name).metrics for name in names if name not in stale]
    if not results:
        without = f" ({', '.join(stale)} are of other splits, or not evaluated)" if stale else ""
        raise ProjectError(f"{opened.root} has nothing to compare{without}; run: linnaeus evaluate {opened.root}")
    test_images = len(load_splits(opened).test)
    table = leaderboard(pd.DataFrame(results), test_images)
    write_table(table, opened.leaderboard)
    save_figure(tradeoff_figure(table), opened.figures / "tradeoff.png")
    return Comparison(table, stale)


def report(project: AnyProject, *, force: bool = False, progress: Progress = silent) -> Path:
    """The path of the report: one HTML file that a stranger understands."""
    opened = open_project(project)
    comparison = compare(opened)
    inputs = {
        "catalogue": opened.stamp("catalogue")["key"],
        "clean": opened.stamp("clean")["key"],
        "issues": file_hash(opened.issues) if opened.issues.is_file() else None,
        "decisions": file_hash(opened.decisions) if opened.decisions.is_file() else None,
        "split": opened.stamp("split")["key"],
        "leaks": file_hash(opened.leaks),
        "leaderboard": file_hash(opened.leaderboard),
        "runs": [opened.stamp(f"evaluate-{name}")["key"] for name in comparison.table["model_id"]],
        "searches": [file_hash(table) for table in sorted(opened.tuning.glob("*/trials.csv"))],
    }

    def work() -> None:
        with progress("Writing the report", 1) as advance:
            write_text(opened.report, build_page(gather_facts(opened, comparison.table)))
            advance(1)

    opened.finish("report", inputs, [opened.report], work, force=force)
    return opened.report


def predict(
    model: AnyProject | Run,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 3,
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row a file with its most probable classes, or with the reason why it cannot be read.

    model: a run, a run folder, or a project, whose best model by validation is taken. images: files, folders, globs.
    """
    inputs = [images] if isinstance(images, str | Path) else list(images)
    classifier = load_classifier(_model_folder(model))
    return predict_files(classifier, find_files(inputs), top, progress)


@overload
def models(*, pretrained: str | None = None) -> pd.DataFrame:
    """The recipes, or the pretrained backbones that match a pattern, as a table."""


@overload
def models(recipe: Recipe | str | Path, *, classes: int = 10, size: int = 224) -> ModelSummary:
    """One recipe's layers, output shapes and parameters."""


def models(
    recipe: Recipe | str | Path | None = None, *, pretrained: str | None = None, classes: int = 10, size: int = 224
) -> pd.DataFrame | ModelSummary:
    """The recipes that come with Linnaeus, as a table; or one recipe's layers, output shapes and parameters; or the
    pretrained backbones whose names match a pattern such as "efficientnet*"."""
    if pretrained is not None:
        return pretrained_table(pretrained)
    if recipe is None:
        return recipe_table()
    return summarise(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), classes, size)


def _earlier_run(project: Project, recipe: Recipe, allow_leaks: bool, manner: Manner, progress: Progress) -> Run | None:
    """The run that a recipe starts from, trained where it is not yet: by its own recipe if there was one, else ours."""
    if recipe.starts_from is None:
        return None
    chain = [recipe]
    while (name := chain[-1].starts_from) is not None:
        if name in {link.name for link in chain}:
            raise RecipeError(f"{recipe.name} starts from itself: {' from '.join(link.name for link in chain)}")
        earlier = Run(project.runs / name)
        chain.append(earlier.recipe if earlier.folder.is_dir() else load_recipe(name))
    return train(project, chain[1], allow_leaks=allow_leaks, manner=manner, progress=progress)


def _model_folder(model: AnyProject | Run) -> Path:
    """The run folder that is meant: a run's own, or that of a project's best run."""
    if isinstance(model, Run):
        return model.folder
    project = open_project(model)
    if not project.leaderboard.is_file():
        if (project.root / "stages").is_dir():
            raise PredictionError(f"{project.root} has no compared models; run: linnaeus compare {project.root}")
        return project.root
    return project.runs / str(pd.read_parquet(project.leaderboard)["model_id"].iloc[0])
