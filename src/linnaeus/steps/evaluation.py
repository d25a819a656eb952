"""Evaluating one run: from its classifier to predictions, tables, pictures and a row of the log."""

from dataclasses import asdict

from linnaeus.evaluation.judge import judge
from linnaeus.networks.classifier import load_classifier
from linnaeus.progress import Progress
from linnaeus.project import Project, now
from linnaeus.reporting.figures import confusion_figure, save_figure
from linnaeus.runs import Run, log_result
from linnaeus.steps.splitting import load_splits


def evaluate_afresh(project: Project, evaluated: Run, progress: Progress) -> None:
    """Judge a run on validation and test, and write down its predictions, tables, pictures and scores."""
    splits = load_splits(project)
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


def is_evaluated_on_current(project: Project, model_id: str) -> bool:
    """Whether a run was trained and evaluated on the images and splits that the project has now."""
    current = project.current_inputs()
    if not project.is_trained_on_current(model_id) or not Run(project.runs / model_id).metrics_file.is_file():
        return False
    trained, evaluated = project.stamp(f"train-{model_id}"), project.stamp(f"evaluate-{model_id}")
    return bool(evaluated["inputs"] == {"trained": trained["key"], **current})
