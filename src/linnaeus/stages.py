"""The whole product, top to bottom: one short function per verb. Stages talk through the files of a project.

`force` does a stage again although it is finished; `progress` is how long work shows how far it is (`linnaeus.bars` or
`linnaeus.silent`). All raise the errors of `errors.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, overload

import pandas as pd

from linnaeus.data.catalogue import Catalogue, catalogue_folder, exclusion_table, read_catalogue, rename_map
from linnaeus.data.clean import clean_catalogue, clean_images
from linnaeus.data.demo import write_demo_images
from linnaeus.data.sources import folder_state, image_folder
from linnaeus.data.split import Splits, split_table
from linnaeus.deploy.predictor import find_files, predict_files
from linnaeus.errors import PredictionError, ProjectError, RecipeError
from linnaeus.evaluation.comparison import leaderboard
from linnaeus.evaluation.judge import judge
from linnaeus.files import file_hash, fingerprint, whole_folder, write_table, write_text
from linnaeus.networks.classifier import (
    build_classifier,
    continue_from,
    load_classifier,
    save_classifier,
    saved_megabytes,
)
from linnaeus.networks.summary import ModelSummary, recipe_table, summarise
from linnaeus.outcomes import Comparison, Evaluation, Outcome
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project, now, open_project
from linnaeus.recipe import CleanRecipe, Plan, Recipe, SplitRecipe, TransferRecipe, load_recipe
from linnaeus.reporting.figures import confusion_figure, history_figure, save_figure, tradeoff_figure
from linnaeus.reporting.gather import gather_facts
from linnaeus.reporting.page import build_page
from linnaeus.runs import Run, log_result
from linnaeus.training.record import continued_history, training_facts
from linnaeus.training.train import TrainingImages, train_classifier

AnyProject = Project | str | Path
Show = Callable[[object], None]


def run(
    images: str | Path,
    project: AnyProject | None = None,
    plan: Plan | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
    show: Show = lambda result: None,
) -> Outcome:
    """The main job: from a folder of images to compared classifiers and a report.

    images: the folder, or the name of a public set ("animals10"), which is downloaded. `show` gets each stage's
    result as soon as there is one.
    """
    plan = plan or Plan()
    folder, names = image_folder(images)
    options: dict[str, Any] = {"force": force, "progress": progress}
    project = project or (f"{names}-linnaeus" if names else None)
    show(found := catalogue(folder, project, rename=plan.rename or names, **options))
    opened = create_project(folder, project)
    show(cleaned := clean(opened, plan.clean, **options))
    show(splits := split(opened, plan.split, force=force))
    runs = []
    for recipe in plan.recipes:
        show(trained := train(opened, recipe, **options))
        runs.append(trained)
    evaluations = evaluate(opened, [trained.model_id for trained in runs], **options)
    for evaluation in evaluations:
        show(evaluation)
    show(comparison := compare(opened))
    page = report(opened, force=force, progress=progress)
    outcome = Outcome(opened, found, cleaned, splits, tuple(runs), tuple(evaluations), comparison, page, opened.costs())
    show(outcome)
    return outcome


def catalogue(
    images: str | Path,
    project: AnyProject | None = None,
    *,
    rename: str | Path | dict[str, str] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Catalogue:
    """A row for every image of a folder, and one for everything that was left out, with the reason."""
    folder, names = Path(images), rename_map(rename)
    state = fingerprint(folder_state(folder))
    opened = create_project(folder, project)

    def work() -> None:
        found = catalogue_folder(folder, names, progress)
        write_table(found.images, opened.catalogue)
        write_table(found.excluded, opened.excluded)

    inputs = {"folder": state, "rename": names, "heif": find_spec("pillow_heif") is not None}
    opened.finish("catalogue", inputs, [opened.catalogue, opened.excluded], work, force=force)
    return Catalogue(read_catalogue(opened.catalogue), pd.read_parquet(opened.excluded))


def clean(
    project: AnyProject,
    recipe: CleanRecipe | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Catalogue:
    """The catalogue of a normalised copy of every image; the images themselves are only read."""
    opened, recipe = open_project(project), recipe or CleanRecipe()
    opened.stamp("catalogue")
    images = opened.images

    def work() -> None:
        raw = read_catalogue(opened.catalogue)
        with whole_folder(opened.clean_folder) as folder:
            lost = clean_images(raw, images, folder, recipe, progress)
            cleaned = clean_catalogue(raw, folder, progress)
        write_table(cleaned.images, opened.clean_catalogue)
        write_table(exclusion_table(lost), opened.clean_excluded)

    inputs = {"catalogue": file_hash(opened.catalogue), "recipe": recipe.model_dump(mode="json")}
    outputs = [opened.clean_folder, opened.clean_catalogue, opened.clean_excluded]
    opened.finish("clean", inputs, outputs, work, force=force)
    return Catalogue(read_catalogue(opened.clean_catalogue), pd.read_parquet(opened.clean_excluded))


def split(
    project: AnyProject,
    recipe: SplitRecipe | None = None,
    *,
    table: str | Path | None = None,
    force: bool = False,
) -> Splits:
    """The images divided into training, validation and test: of the clean catalogue, or of any other `table`."""
    opened, recipe = open_project(project), recipe or SplitRecipe()
    if table is None:
        opened.stamp("clean")
    source = Path(table) if table is not None else opened.clean_catalogue
    rows = read_catalogue(source)

    def work() -> None:
        write_table(split_table(rows, recipe).table, opened.splits)

    own_table = None if table is None else str(source.resolve())
    inputs = {"table": file_hash(source), "own_table": own_table, "recipe": recipe.model_dump(mode="json")}
    opened.finish("split", inputs, [opened.splits], work, force=force)
    return Splits(pd.read_parquet(opened.splits))


def train(
    project: AnyProject,
    recipe: Recipe | str | Path,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Run:
    """One model trained on the project's splits; the run that a recipe starts from is trained first."""
    opened = open_project(project)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    earlier = _earlier_run(opened, recipe, progress)
    trained = Run(opened.runs / recipe.name)
    inputs = {
        "recipe": recipe.model_dump(mode="json"),
        **opened.current_inputs(),
        "weights": _weights_hash(recipe),
        "starts_from": opened.stamp(f"train-{earlier.model_id}")["key"] if earlier else None,
    }
    work = partial(_train_afresh, opened, recipe, earlier, progress)
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
        work = partial(_evaluate_afresh, opened, evaluated, progress)
        opened.finish(f"evaluate-{name}", inputs, [evaluated.metrics_file, opened.results], work, force=force)
        evaluations.append(Evaluation(evaluated, evaluated.metrics, evaluated.class_report(), evaluated.confusion()))
    return evaluations


def compare(project: AnyProject) -> Comparison:
    """The evaluated runs ranked by validation accuracy, with the test accuracy's 95 % interval beside it."""
    opened = open_project(project)
    names = opened.trained()
    stale = tuple(name for name in names if not _is_evaluated_on_current(opened, name))
    results = [Run(opened.runs / name).metrics for name in names if name not in stale]
    if not results:
        without = f" ({', '.join(stale)} are of other splits, or not evaluated)" if stale else ""
        raise ProjectError(f"{opened.root} has nothing to compare{without}; run: linnaeus evaluate {opened.root}")
    test_images = len(Splits(pd.read_parquet(opened.splits)).test)
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
        "leaderboard": file_hash(opened.leaderboard),
        "runs": [opened.stamp(f"evaluate-{name}")["key"] for name in comparison.table["model_id"]],
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
def models() -> pd.DataFrame: ...
@overload
def models(recipe: Recipe | str | Path, *, classes: int = 10, size: int = 224) -> ModelSummary: ...
def models(
    recipe: Recipe | str | Path | None = None, *, classes: int = 10, size: int = 224
) -> pd.DataFrame | ModelSummary:
    """The recipes that come with Linnaeus, as a table; or one recipe's layers, output shapes and parameters."""
    if recipe is None:
        return recipe_table()
    return summarise(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), classes, size)


def demo(
    folder: str | Path = "linnaeus-demo",
    *,
    force: bool = False,
    progress: Progress = silent,
    show: Show = lambda result: None,
) -> Outcome:
    """The main job on a small set of real handwriting, with planted mess, that is written into `folder` first."""
    place = Path(folder)
    images = place / "digits"
    if not images.is_dir():
        with whole_folder(images) as partial_folder:
            write_demo_images(partial_folder)
    recipes = (load_recipe("demo-cnn"), load_recipe("demo-transfer"))
    plan = Plan(clean=CleanRecipe(size=96), recipes=recipes)
    return run(images, place / "digits-linnaeus", plan, force=force, progress=progress, show=show)


def _earlier_run(project: Project, recipe: Recipe, progress: Progress) -> Run | None:
    """The run that a recipe starts from, trained where it is not yet: by its own recipe if there was one, else ours."""
    if recipe.starts_from is None:
        return None
    chain = [recipe]
    while (name := chain[-1].starts_from) is not None:
        if name in {link.name for link in chain}:
            raise RecipeError(f"{recipe.name} starts from itself: {' from '.join(link.name for link in chain)}")
        earlier = Run(project.runs / name)
        chain.append(earlier.recipe if earlier.folder.is_dir() else load_recipe(name))
    return train(project, chain[1], progress=progress)


def _weights_hash(recipe: Recipe) -> str | None:
    """The hash of the weights file that a recipe names, by which a changed one is noticed."""
    named = recipe.model.weights if isinstance(recipe.model, TransferRecipe) else "none"
    return file_hash(Path(named)) if Path(named).is_file() else None


def _train_afresh(project: Project, recipe: Recipe, earlier: Run | None, progress: Progress) -> None:
    images = _training_images(project)
    clean_recipe = CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    seed = recipe.training.seed
    started = perf_counter()
    classifier = build_classifier(
        recipe.model, images.splits.classes, clean_recipe, pretrained=earlier is None, seed=seed
    )
    if earlier is not None:
        continue_from(classifier, load_classifier(earlier.folder), earlier.model_id)
    fitted = train_classifier(classifier, recipe, images, progress)
    seconds = perf_counter() - started
    with whole_folder(project.runs / recipe.name) as folder:
        save_classifier(classifier, folder)
        history = continued_history(fitted.history.assign(model_id=recipe.name), earlier)
        facts = training_facts(classifier, fitted, seconds, saved_megabytes(folder))
        made = Run(folder)
        made.save_training(recipe, history, facts)
        save_figure(history_figure(history), made.history_picture)


def _training_images(project: Project) -> TrainingImages:
    splits = Splits(pd.read_parquet(project.splits))
    cleaned = read_catalogue(project.clean_catalogue).set_index("relpath")
    unknown = set(splits.table["relpath"]) - set(cleaned.index)
    if unknown:
        raise ProjectError(
            f"the splits name {len(unknown)} images that are not in {project.clean_folder}, such as "
            f"{min(unknown)}; paths must be relative to that folder, or run: linnaeus split {project.root}"
        )
    return TrainingImages(splits, project.clean_folder, cleaned["sha256"], project.features)


def _evaluate_afresh(project: Project, evaluated: Run, progress: Progress) -> None:
    splits = Splits(pd.read_parquet(project.splits))
    classifier = load_classifier(evaluated.folder)
    val = judge(classifier, splits.val, project.clean_folder, progress)
    test = judge(classifier, splits.test, project.clean_folder, progress)
    evaluated.save_predictions("val", val.predictions)
    evaluated.save_predictions("test", test.predictions)
    report_table, confusion = test.class_report(), test.confusion()
    recipe, facts = evaluated.recipe, evaluated.training
    metrics = {
        "time": now(),
        "model_id": evaluated.model_id,
        "learning_rate": recipe.training.learning_rate,
        "epochs": facts.epochs,
        "batchsize": recipe.training.batch_size,
        "acc_train": facts.acc_train,
        "acc_val": val.scores().accuracy,
        **asdict(test.scores()),
        "parameters": facts.parameters,
        "size_mb": round(facts.size_mb, 3),
        "train_seconds": round(facts.train_seconds, 1),
        "predict_ms_per_image": round(1000 * (val.seconds + test.seconds) / (len(val) + len(test)), 2),
    }
    evaluated.save_evaluation(report_table, confusion, metrics)
    save_figure(confusion_figure(confusion), evaluated.confusion_picture)
    log_result(project.results, metrics)


def _is_evaluated_on_current(project: Project, model_id: str) -> bool:
    """Whether a run was trained and evaluated on the images and splits that the project has now."""
    current = project.current_inputs()
    if not project.is_trained_on_current(model_id) or not Run(project.runs / model_id).metrics_file.is_file():
        return False
    trained, evaluated = project.stamp(f"train-{model_id}"), project.stamp(f"evaluate-{model_id}")
    return bool(evaluated["inputs"] == {"trained": trained["key"], **current})


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
