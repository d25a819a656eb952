import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from linnaeus.evaluation import measures as measures_module
from linnaeus.evaluation.intervals import group_weights, percentile_interval, wilson_interval
from linnaeus.evaluation.measures import Figures, curves, measures, weighted_figures
from linnaeus.evaluation.metrics import Labels

Floats = NDArray[np.float64]
Part = tuple[Labels, Floats]
CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
SHARES = {"top_1", "top_3", "top_5", "recall_weighted", "recall", "precision"}


def _part(sizes: list[int], seed: int = 0) -> Part:
    """Labels of so many images a class, and probabilities that are often right."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    exponents = np.exp(generator.normal(size=(len(labels), len(sizes))) + 1.2 * np.eye(len(sizes))[labels])
    return labels, exponents / exponents.sum(axis=1, keepdims=True)


def _tied() -> Part:
    """Probabilities in tenths, so that most are equal to others, in their row and in their column."""
    labels, probabilities = _part([12, 9, 7, 5, 4, 3])
    return labels, np.random.default_rng(1).multinomial(10, probabilities) / 10


def _never_predicted() -> Part:
    labels, probabilities = _part([10, 10, 10, 10, 10, 10])
    probabilities[:, 2] *= 1e-3
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def _certain() -> Part:
    """Probabilities of exactly 0 and 1, some of them wrong."""
    labels, probabilities = _part([10, 9, 8, 7, 6, 5])
    return labels, np.eye(6)[probabilities.argmax(axis=1)]


PARTS: dict[str, Callable[[], Part]] = {
    "balanced": lambda: _part([10, 10, 10, 10, 10, 10]),
    "imbalanced": lambda: _part([60, 20, 8, 4, 2, 1]),
    "tied": _tied,
    "never predicted": _never_predicted,
    "absent": lambda: _part([15, 12, 10, 0, 8, 6]),
    "certain": _certain,
    "two classes": lambda: _part([20, 12]),
    "three classes": lambda: _part([20, 12, 9]),
}
ALL_PARTS = pytest.mark.parametrize("name", PARTS)


def _weights(labels: Labels, kind: str) -> Floats:
    generator = np.random.default_rng(5)
    if kind == "one":
        return np.ones(len(labels))
    if kind == "fractional":
        return generator.uniform(0.1, 3, size=len(labels))
    counts = generator.integers(0, 3, size=len(labels)).astype(np.float64)
    counts[np.unique(labels, return_index=True)[1]] = 1  # of each class, some image is drawn
    return counts


def _expected(part: Part, weights: Floats) -> tuple[dict[str, float], dict[str, Floats]]:
    """The figures by scikit-learn: overall, and by class."""
    labels, probabilities = part
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    present = np.bincount(labels, minlength=classes) > 0
    all_classes = {"labels": range(classes), "zero_division": 0, "sample_weight": weights}
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, **all_classes)
    binary = [((labels == label).astype(int), probabilities[:, label]) for label in range(classes)]
    known = np.flatnonzero(present)
    roc_auc, average_precision, brier = (np.full(classes, np.nan) for _ in range(3))
    roc_auc[known] = [metrics.roc_auc_score(*binary[label], sample_weight=weights) for label in known]
    average_precision[known] = [
        metrics.average_precision_score(*binary[label], sample_weight=weights) for label in known
    ]
    brier[:] = [metrics.brier_score_loss(*pair, sample_weight=weights) for pair in binary]
    overall = {
        "top_1": metrics.accuracy_score(labels, predicted, sample_weight=weights),
        "balanced_accuracy": _balanced_accuracy(labels, predicted, weights),
        "cohen_kappa": metrics.cohen_kappa_score(labels, predicted, sample_weight=weights),
        "matthews_correlation": metrics.matthews_corrcoef(labels, predicted, sample_weight=weights),
        "log_loss": metrics.log_loss(labels, probabilities, labels=range(classes), sample_weight=weights),
        "brier": metrics.brier_score_loss(
            labels, probabilities, labels=range(classes), sample_weight=weights, scale_by_half=False
        ),
    }
    for average in ("macro", "weighted"):
        figures = metrics.precision_recall_fscore_support(labels, predicted, average=average, **all_classes)
        names = ("precision", "recall", "f1")
        overall |= {f"{name}_{average}": figure for name, figure in zip(names, figures, strict=False)}
        share = support[known] if average == "weighted" else None
        overall[f"roc_auc_{average}"] = np.average(roc_auc[known], weights=share)
        overall[f"average_precision_{average}"] = np.average(average_precision[known], weights=share)
    for k in (3, 5):
        if k < classes:
            # scikit-learn puts the last of equal classes first, Linnaeus the first, as argmax does.
            mirrored = (classes - 1 - labels, probabilities[:, ::-1])
            overall[f"top_{k}"] = metrics.top_k_accuracy_score(
                *mirrored, k=k, labels=range(classes), sample_weight=weights
            )
    blank = np.where(present, 1, np.nan)
    by_class = {"precision": precision, "recall": recall * blank, "f1": f1 * blank}
    return overall, by_class | {"roc_auc": roc_auc, "average_precision": average_precision, "brier": brier}


def _balanced_accuracy(labels: Labels, predicted: Labels, weights: Floats) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        return float(metrics.balanced_accuracy_score(labels, predicted, sample_weight=weights))


def _rows(table: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Value, low and high by measure and class."""
    columns = (table[column] for column in ("measure", "class", "value", "low", "high"))
    return {(measure, name): tuple(interval) for measure, name, *interval in zip(*columns, strict=True)}


@ALL_PARTS
@pytest.mark.parametrize("kind", ["one", "fractional", "drawn"])
def test_weighted_figures_are_scikit_learn_s(name: str, kind: str) -> None:
    part = PARTS[name]()
    weights = _weights(part[0], kind)
    overall, by_class = _expected(part, weights)
    found = weighted_figures(*part, np.stack([np.ones(len(weights)), weights]))
    assert set(found.overall) == set(overall)
    assert set(found.by_class) == set(by_class)
    for measure, figures in found.overall.items():
        assert figures[1] == pytest.approx(overall[measure], abs=1e-9), measure
    for measure, figures in found.by_class.items():
        np.testing.assert_allclose(figures[:, 1], by_class[measure], rtol=0, atol=1e-9, err_msg=measure)


@ALL_PARTS
def test_the_table_s_values_are_scikit_learn_s(name: str) -> None:
    part = PARTS[name]()
    classes = CLASSES[: part[1].shape[1]]
    overall, by_class = _expected(part, np.ones(len(part[0])))
    table = measures(*part, classes).set_index(["measure", "class"])["value"]
    assert len(table) == len(overall) + len(by_class) * len(classes)
    for measure, figure in overall.items():
        assert table[measure, ""] == pytest.approx(figure, abs=1e-9), measure
    for measure, figures in by_class.items():
        np.testing.assert_allclose([table[measure, label] for label in classes], figures, rtol=0, atol=1e-9)


def test_averages_of_areas_are_scikit_learn_s_own() -> None:
    labels, probabilities = PARTS["imbalanced"]()
    found = weighted_figures(labels, probabilities, np.ones((1, len(labels)))).overall
    for average in ("macro", "weighted"):
        roc_auc = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average=average)
        precision = metrics.average_precision_score(np.eye(6)[labels], probabilities, average=average)
        assert found[f"roc_auc_{average}"][0] == pytest.approx(roc_auc, abs=1e-9)
        assert found[f"average_precision_{average}"][0] == pytest.approx(precision, abs=1e-9)


def test_probabilities_in_32_bits_are_measured_in_64() -> None:
    labels, probabilities = _part([20, 12, 9])
    narrow = probabilities.astype(np.float32)
    once = np.ones((1, len(labels)))
    found, same = weighted_figures(labels, narrow, once), weighted_figures(labels, narrow.astype(np.float64), once)
    np.testing.assert_allclose(found.rows(), same.rows(), rtol=0, atol=1e-12)


def _without_class(part: Part, label: int) -> Figures:
    return weighted_figures(*part, (part[0] != label).astype(np.float64)[None])


def test_a_resample_without_a_class_averages_over_the_classes_that_it_has() -> None:
    labels, probabilities = part = PARTS["balanced"]()
    found = _without_class(part, 3)
    kept, others = labels != 3, [0, 1, 2, 4, 5]
    predicted = probabilities[kept].argmax(axis=1)
    assert (predicted == 3).any()
    figures = metrics.precision_recall_fscore_support(labels[kept], predicted, labels=others, average="macro")
    for name, figure in zip(("precision", "recall", "f1"), figures, strict=False):
        assert found.overall[f"{name}_macro"][0] == pytest.approx(figure, abs=1e-9)
    assert found.overall["balanced_accuracy"][0] == pytest.approx(figures[1], abs=1e-9)
    roc_auc = np.mean([metrics.roc_auc_score(labels[kept] == label, probabilities[kept, label]) for label in others])
    assert found.overall["roc_auc_macro"][0] == pytest.approx(roc_auc, abs=1e-9)
    for name in ("recall", "f1", "roc_auc", "average_precision"):
        assert np.isnan(found.by_class[name][:, 0]).tolist() == [False, False, False, True, False, False]
    assert found.by_class["precision"][3, 0] == 0


def test_a_class_that_the_part_lacks_counts_as_0_in_every_resample() -> None:
    labels, probabilities = part = PARTS["absent"]()
    found = _without_class(part, 0)
    kept = labels != 0
    predicted = probabilities[kept].argmax(axis=1)
    recalls = metrics.recall_score(labels[kept], predicted, labels=[1, 2, 4, 5], average=None)
    assert found.overall["recall_macro"][0] == pytest.approx(recalls.mean() * 5 / 6, abs=1e-9)
    assert found.overall["balanced_accuracy"][0] == pytest.approx(recalls.mean(), abs=1e-9)


def test_a_resample_of_one_class_alone_has_no_area_under_a_roc_curve() -> None:
    labels, probabilities = PARTS["balanced"]()
    found = weighted_figures(labels, probabilities, (labels == 2).astype(np.float64)[None])
    assert np.isnan(found.overall["roc_auc_macro"][0])
    assert np.isnan(found.by_class["roc_auc"]).all()
    assert found.by_class["average_precision"][2, 0] == pytest.approx(1)


def test_where_one_class_is_there_and_predicted_agreement_is_not_defined() -> None:
    found = weighted_figures(np.array([1, 1]), np.array([[0.1, 0.9], [0.2, 0.8]]), np.ones((1, 2)))
    assert np.isnan(found.overall["cohen_kappa"][0])
    assert found.overall["matthews_correlation"][0] == 0


def test_the_table_names_its_measures_overall_first_and_says_where_an_interval_is_from() -> None:
    table = measures(*PARTS["balanced"](), CLASSES)
    assert [*table.columns] == ["measure", "class", "value", "low", "high", "interval"]
    assert [*table["class"]] == [""] * 18 + [*CLASSES] * 6
    assert [*table["measure"][:5]] == ["top_1", "top_3", "top_5", "balanced_accuracy", "precision_macro"]
    assert set(table.loc[table["interval"] == "wilson", "measure"]) == SHARES
    assert set(table.loc[table["interval"] == "bootstrap", "measure"]).isdisjoint(SHARES)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_shares_have_wilson_s_interval() -> None:
    labels, probabilities = PARTS["imbalanced"]()
    predicted = probabilities.argmax(axis=1)
    rows = _rows(measures(labels, probabilities, CLASSES))
    right = int((labels == predicted).sum())
    hits = int(((labels == 1) & (predicted == 1)).sum())
    assert rows["top_1", ""][1:] == rows["recall_weighted", ""][1:] == wilson_interval(right, 95)
    assert rows["recall", "bee"][1:] == wilson_interval(hits, 20)
    assert rows["precision", "bee"][1:] == wilson_interval(hits, int((predicted == 1).sum()))


def test_a_class_without_images_has_no_recall_which_then_may_be_anything() -> None:
    rows = _rows(measures(*PARTS["absent"](), CLASSES))
    np.testing.assert_array_equal(rows["recall", "dog"], (np.nan, 0, 1))
    np.testing.assert_array_equal(rows["roc_auc", "dog"], (np.nan, np.nan, np.nan))


def test_intervals_are_percentiles_over_the_drawn_groups() -> None:
    labels, probabilities = PARTS["balanced"]()
    groups = np.arange(60) // 2
    rows = _rows(measures(labels, probabilities, CLASSES, groups, seed=3))
    (weights,) = group_weights(groups, 60, resamples=2000, seed=3)
    losses = np.array([metrics.log_loss(labels, probabilities, sample_weight=row) for row in weights[:300]])
    found = weighted_figures(labels, probabilities, weights)
    np.testing.assert_allclose(found.overall["log_loss"][:300], losses, rtol=0, atol=1e-9)
    for name in ("log_loss", "f1_macro"):
        np.testing.assert_array_equal(rows[name, ""][1:], percentile_interval(found.overall[name]))
    assert rows["f1", "cat"][1] == percentile_interval(found.by_class["f1"][2])[0]


def test_groups_of_one_image_give_the_table_without_groups() -> None:
    part = _part([12, 9, 8])
    names = np.array([f"image {number}" for number in range(29, 0, -1)])
    pd.testing.assert_frame_equal(measures(*part, CLASSES[:3], names), measures(*part, CLASSES[:3]))


def test_copies_of_every_image_do_not_narrow_the_bootstrap() -> None:
    labels, probabilities = _part([12, 9, 8])
    once = measures(labels, probabilities, CLASSES[:3])
    copies = (np.repeat(labels, 3), np.repeat(probabilities, 3, axis=0), CLASSES[:3])
    thrice = measures(*copies, np.repeat(np.arange(29), 3))
    rows = once["interval"] == "bootstrap"
    pd.testing.assert_frame_equal(thrice[rows], once[rows], rtol=0, atol=1e-9)
    apart = measures(*copies)
    assert ((apart["high"] - apart["low"])[rows] < (once["high"] - once["low"])[rows]).all()


def test_the_seed_decides_the_bootstrap() -> None:
    part = _part([12, 9, 8])
    first, again, other = (measures(*part, CLASSES[:3], seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["value"].to_numpy() == other["value"].to_numpy()).all()
    assert (first["low"] != other["low"]).any()


@pytest.mark.parametrize(("work", "resamples"), [(10**9, 2000), (500 * 29 * 3, 500), (0, 200)])
def test_large_parts_have_fewer_resamples(monkeypatch: pytest.MonkeyPatch, work: int, resamples: int) -> None:
    asked = []

    def noted(groups: None, images: int, *, resamples: int, seed: int) -> object:
        asked.append(resamples)
        return group_weights(groups, images, resamples=resamples, seed=seed)

    monkeypatch.setattr(measures_module, "WORK", work)
    monkeypatch.setattr(measures_module, "group_weights", noted)
    measures(*_part([12, 9, 8]), CLASSES[:3])
    assert asked == [resamples]


def _curve(table: pd.DataFrame, curve: str, name: str) -> pd.DataFrame:
    return table[(table["curve"] == curve) & (table["class"] == name)].reset_index(drop=True)


@pytest.mark.parametrize("name", ["tied", "balanced"])
def test_short_curves_are_scikit_learn_s(name: str) -> None:
    labels, probabilities = PARTS[name]()
    table = curves(labels, probabilities, CLASSES)
    assert [*table.columns] == ["curve", "class", "x", "y", "threshold"]
    roc = _curve(table, "roc", "bee")
    expected = pd.DataFrame(np.stack(metrics.roc_curve(labels == 1, probabilities[:, 1]), axis=1))
    np.testing.assert_array_equal(roc[["x", "y", "threshold"]], expected.drop_duplicates([0, 1]))
    precision, recall, _ = metrics.precision_recall_curve(labels == 1, probabilities[:, 1], drop_intermediate=True)
    found = _curve(table, "precision-recall", "bee")
    assert {*zip(found["x"], found["y"], strict=True)} == {*zip(recall, precision, strict=True)}
    assert tuple(found.iloc[0, 2:4]) == (recall[0], precision[0])
    assert tuple(found.iloc[-1, 2:]) == (0, 1, np.inf)


@pytest.mark.parametrize("points", [20, 100])
def test_thinned_curves_keep_their_ends_and_their_shape(points: int) -> None:
    labels, probabilities = _part([900, 600, 300], seed=3)
    table, whole = (curves(labels, probabilities, CLASSES[:3], points=count) for count in (points, 10_000))
    for name in CLASSES[:3]:
        for curve in ("roc", "precision-recall"):
            thin, full = _curve(table, curve, name), _curve(whole, curve, name)
            assert len(thin) <= points < len(full)
            for end in (0, -1):
                assert (thin.iloc[end] == full.iloc[end]).all()
            length = full[["x", "y"]].diff().abs().to_numpy()[1:].sum()
            far = np.abs(full[["x", "y"]].to_numpy()[:, None] - thin[["x", "y"]].to_numpy()[None]).sum(axis=2)
            assert far.min(axis=1).max() <= length / (points - 1) + 1e-12


def test_each_point_of_a_curve_is_what_its_threshold_gives() -> None:
    labels, probabilities = _part([90, 60, 30], seed=3)
    table = curves(labels, probabilities, CLASSES[:3], points=15)
    for curve, name, x, y, threshold in table.itertuples(index=False):
        is_class, is_called = labels == CLASSES.index(name), probabilities[:, CLASSES.index(name)] >= threshold
        recall = is_called[is_class].mean()
        if curve == "roc":
            assert (x, y) == pytest.approx((is_called[~is_class].mean(), recall))
        else:
            assert (x, y) == pytest.approx((recall, is_class[is_called].mean() if is_called.any() else 1))


def test_a_class_without_images_or_with_all_of_them_has_no_curves() -> None:
    assert set(curves(*PARTS["absent"](), CLASSES)["class"]) == {*CLASSES} - {"dog"}
    only = curves(np.array([0, 0]), np.array([[0.7, 0.3], [0.6, 0.4]]), CLASSES[:2])
    assert [*only.columns] == ["curve", "class", "x", "y", "threshold"]
    assert only.empty
