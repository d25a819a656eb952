"""The stages, top to bottom: one short function per verb. They talk through the files of a project; jobs.py joins them.

`force` does a stage again although it is finished; `progress` is how long work shows how far it is (`linnaeus.bars` or
`linnaeus.silent`). All raise the errors of `errors.py`.
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from linnaeus.data.catalogue import Catalogue, build_catalogue, exclusion_table, read_catalogue, rename_map
from linnaeus.data.clean import Cleaning, clean_images
from linnaeus.data.issues import Issues
from linnaeus.data.sources import find_sources, folder_state
from linnaeus.data.split import Splits
from linnaeus.decisions import apply_decisions, propose, read_decisions
from linnaeus.errors import ProjectError, RecipeError
from linnaeus.evaluation.comparison import side_by_side
from linnaeus.evaluation.saliency import Method
from linnaeus.files import file_hash, fingerprint, whole_folder, write_table, write_text, write_with
from linnaeus.looks import add_looks, read_looks
from linnaeus.outcomes import Comparison, Differences, Evaluation, Reasons
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project, now, open_project
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.records import Part
from linnaeus.reporting.card import model_card
from linnaeus.reporting.facts import ComparisonFacts
from linnaeus.reporting.figures import save_figure, tradeoff_figure
from linnaeus.reporting.gather import gather_facts
from linnaeus.reporting.page import build_page, save_data_figures
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
from linnaeus.steps.comparing import (
    compared_runs,
    differing_images,
    ranked_runs,
    run_results,
    save_differences,
    seeds_by_model,
)
from linnaeus.steps.evaluation import JUDGED_PARTS, PICTURES, draw_pictures, evaluate_afresh, is_evaluated_on_current
from linnaeus.steps.explaining import explain_afresh, last_method
from linnaeus.steps.folds import judge_by_folds
from linnaeus.steps.splitting import check_no_leaks, goes_on, load_splits, split_afresh
from linnaeus.steps.training import Manner, Training, recipe_called, train_afresh, weights_hash

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
    final: bool = False,
    folds: int | None = None,
    goes_on: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> list[Evaluation]:
    """How good the runs are on validation; a row each in results.csv, and every figure in their run folders.

    By default all that were trained on the project's present splits; others would be judged on images they know.
    final: on the test part too. It is meant to be opened once, when all is chosen; each look is written down.
    goes_on: this is a part of the last look, as where a job judges one run after another.
    folds: the recipes are also trained and judged on so many folds of training and validation together, which takes so
    many times as long and ranks them more surely where validation is small.
    """
    opened = open_project(project)
    current = opened.current_inputs()
    names = model_ids if model_ids is not None else [n for n in opened.trained() if opened.is_trained_on_current(n)]
    if not names:
        raise ProjectError(
            f"{opened.root} has no model trained on its present splits; run: linnaeus train {opened.root} --recipe NAME"
        )
    inputs = {name: {"trained": opened.stamp(f"train-{name}")["key"], **current} for name in names}
    for name in names:
        if not opened.is_trained_on_current(name):
            raise ProjectError(
                f"{name} was trained on other images or splits than {opened.root} has now; train it again"
            )
    runs = {name: Run(opened.runs / name) for name in names}

    def judge(part: Part, *, is_last: bool) -> None:
        for name, run in runs.items():
            work = partial(evaluate_afresh, opened, run, part, progress, has_pictures=is_last)
            pictures = [run.of(part, name) for name in PICTURES] if is_last else []
            outputs = [run.of(part, "metrics.json"), opened.results, *pictures]
            opened.finish(f"{JUDGED_PARTS[part]}-{name}", inputs[name], outputs, work, force=force)

    judge("val", is_last=not final)
    if folds is not None:
        for name, run in runs.items():
            work = partial(judge_by_folds, opened, run, folds, progress)
            opened.finish(f"folds-{name}", inputs[name] | {"folds": folds}, [run.folds_file], work, force=force)
    if final:
        keys = {name: fingerprint(of_run) for name, of_run in inputs.items()}
        add_looks(opened.looks, now(), keys, splits=current["splits"], is_same_look=goes_on)
        judge("test", is_last=True)
    return [Evaluation(run) for run in runs.values()]


def compare(project: AnyProject, model_ids: Sequence[str] | None = None) -> Comparison:
    """The evaluated runs ranked by validation, and which of them are better than which on the same images.

    model_ids: only these. The pairs are compared on the test part if it was opened for all of them, else on validation.
    """
    opened = open_project(project)
    names = opened.trained() if model_ids is None else [*dict.fromkeys(model_ids)]
    stale = tuple(name for name in names if not is_evaluated_on_current(opened, name))
    if model_ids is not None and stale:
        raise ProjectError(
            f"{', '.join(stale)}: not evaluated on the present splits; run: linnaeus evaluate {opened.root}"
        )
    runs = [Run(opened.runs / name) for name in names if name not in stale]
    if not runs:
        without = f" ({', '.join(stale)} are of other splits, or not evaluated)" if stale else ""
        raise ProjectError(f"{opened.root} has nothing to compare{without}; run: linnaeus evaluate {opened.root}")
    results = run_results(opened, runs, apart=model_ids is not None)
    table = ranked_runs(opened, results)
    part: Part = "test" if table["accuracy"].notna().all() else "val"
    pairs = compared_runs(opened, results, [*table["model_id"]], part)
    if model_ids is None:  # the project's own comparison
        write_table(table, opened.leaderboard)
        write_table(pairs.table, opened.pairs)
        save_figure(tradeoff_figure(table), opened.figures / "tradeoff.png")
    facts = ComparisonFacts(
        table, pairs, part, read_looks(opened.looks, opened.current_inputs()["splits"]), seeds_by_model(results)
    )
    return Comparison(facts, stale)


def differences(project: AnyProject, first: str, second: str) -> Differences:
    """How two evaluated runs differ: class by class, and the images that only one of them gets right, with a sheet of
    thumbnails in the project's `figures/`."""
    opened = open_project(project)
    if first == second:
        raise ProjectError(f"{first} cannot differ from itself; name two runs")
    comparison = compare(opened, [first, second])
    runs = Run(opened.runs / first), Run(opened.runs / second)
    images = differing_images(*runs, comparison.part)
    sheet = save_differences(opened, images, (first, second))
    one, other = (run.class_report(comparison.part) for run in runs)
    reports = side_by_side(one, other, (first, second))
    return Differences(comparison.part, comparison.pairs.pairs[0], reports, images, sheet)


def explain(
    project: AnyProject,
    model_id: str | None = None,
    *,
    method: Method | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Reasons:
    """Why a run says what it says, by default the best one: its telling images with what spoke for their class and the
    training images most like them, and a map of its feature space; of the test part if that was opened for it.

    method: "grad-cam" or "integrated-gradients"; None for that of the last time, else the first, where the network
    allows it.
    """
    opened = open_project(project)
    name = model_id or compare(opened).chosen
    parts: list[Part] = [part for part in ("test", "val") if is_evaluated_on_current(opened, name, part)]
    if not parts:
        raise ProjectError(
            f"{name} is not evaluated on the present splits; run: linnaeus evaluate {opened.root} {name}"
        )
    explained, part = Run(opened.runs / name), parts[0]
    judged = opened.stamp(f"{JUDGED_PARTS[part]}-{name}")["key"]
    method = method or last_method(opened, name, judged)
    work = partial(explain_afresh, opened, explained, part, method, progress)
    inputs = {"judged": judged, "method": method}
    opened.finish(f"explain-{name}", inputs, [explained.reasons(part)], work, force=force)
    return Reasons(explained, part)


def report(project: AnyProject, *, force: bool = False, progress: Progress = silent) -> Path:
    """The path of the report: one HTML file that a stranger understands."""
    opened = open_project(project)
    comparison = compare(opened)
    reasons = explain(opened, comparison.chosen, progress=progress)
    inputs = {
        "catalogue": opened.stamp("catalogue")["key"],
        "clean": opened.stamp("clean")["key"],
        "issues": file_hash(opened.issues) if opened.issues.is_file() else None,
        "decisions": file_hash(opened.decisions) if opened.decisions.is_file() else None,
        "split": opened.stamp("split")["key"],
        "leaks": file_hash(opened.leaks),
        "leaderboard": file_hash(opened.leaderboard),
        "pairs": file_hash(opened.pairs),
        "looks": fingerprint(comparison.looks.sentence),
        "reasons": opened.stamp(f"explain-{reasons.run.model_id}")["key"],
        "runs": [opened.stamp(f"evaluate-{name}")["key"] for name in comparison.table["model_id"]],
        "searches": [file_hash(table) for table in sorted(opened.tuning.glob("*/trials.csv"))],
    }

    def work() -> None:
        with progress("Writing the report", 1) as advance:
            for name in comparison.table["model_id"]:
                draw_pictures(Run(opened.runs / name), comparison.facts.part_of(name))
            facts = gather_facts(opened, comparison.facts)
            write_text(opened.report, build_page(facts))
            for name in opened.trained():  # one that was chosen before is not any more
                Run(opened.runs / name).card.unlink(missing_ok=True)
            write_text(reasons.run.card, model_card(facts))
            save_data_figures(facts, opened.figures)
            advance(1)

    opened.finish("report", inputs, [opened.report], work, force=force)
    return opened.report


def _earlier_run(project: Project, recipe: Recipe, allow_leaks: bool, manner: Manner, progress: Progress) -> Run | None:
    """The run that a recipe starts from, trained where it is not yet: by its own recipe if there was one, else ours."""
    if recipe.starts_from is None:
        return None
    chain = [recipe]
    while (name := chain[-1].starts_from) is not None:
        if name in {link.name for link in chain}:
            raise RecipeError(f"{recipe.name} starts from itself: {' from '.join(link.name for link in chain)}")
        chain.append(recipe_called(project, name))
    return train(project, chain[1], allow_leaks=allow_leaks, manner=manner, progress=progress)
