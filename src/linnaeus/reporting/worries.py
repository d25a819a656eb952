"""What the owner of a model should worry about: each worry is computed, and said only where it is true."""

from collections.abc import Iterator
from dataclasses import dataclass

from linnaeus.decisions import DROPPED
from linnaeus.records import PART_NAMES
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.trust import calibration_errors, chance_error
from linnaeus.reporting.words import counted, listing, percent, slice_name

# From here on a fact is worth a line on the first screen. They are judgements, not statistics.
UNEVEN = 2.0  # times as many images in the largest class as in the smallest
WIDE = 0.05  # width of the 95 % interval of the test accuracy
OVERFITTED = 0.05  # training accuracy above validation accuracy
WEAK = 0.05  # the weighted F1 score above the F1 score of the weakest class
CONFIDENT = 0.9  # probability of a mistake
OFF = 0.03  # calibration error


@dataclass(frozen=True)
class Worry:
    """One thing to worry about: what it is, and what it means."""

    headline: str
    meaning: str


def worries(facts: ReportFacts) -> list[Worry]:
    """What is worth a reader's doubt, the gravest first: leaks, labels, the model, the measurement, the folder."""
    return [*_leaks(facts), *_labels(facts), *_model(facts), *_measurement(facts), *_folder(facts)]


def _leaks(facts: ReportFacts) -> Iterator[Worry]:
    leaks = len(facts.division.leaks)
    if leaks:
        yield Worry(
            f"The split leaks: {counted(leaks, 'pair of images lies', 'pairs of images lie')} in different parts",
            "A test image whose copy or companion was trained on is no test: the accuracy may look better than it is. "
            "Training was told to go on all the same.",
        )


def _labels(facts: ReportFacts) -> Iterator[Worry]:
    conflicts = int((facts.copy_groups["classes"] > 1).sum())
    if conflicts:
        yield Worry(
            f"{counted(conflicts, 'picture has', 'pictures have')} copies with different labels",
            "At least one of the labels is wrong, unless the picture shows both classes.",
        )
    if facts.suspects:
        yield Worry(
            f"{counted(facts.suspects, 'label is', 'labels are')} suspect",
            "A network that learnt from the other images names another class. These are suspects, not errors: in a "
            "well-kept folder most of them are right. Look at each.",
        )
    if facts.issues is None:
        yield Worry(
            "The images were not checked",
            "Wrong labels, outliers and dark, blurry or empty images were not looked for: run linnaeus check.",
        )


def _model(facts: ReportFacts) -> Iterator[Worry]:
    result, report = facts.chosen.result, facts.chosen.class_report
    part = PART_NAMES[facts.chosen.part]
    largest = facts.predictions["category"].value_counts()
    if facts.accuracy[1] <= largest.iloc[0] / facts.judged_images:
        yield Worry(
            "The model may be no better than a constant answer",
            f"Always saying {largest.index[0]} would be right for "
            f"{percent(largest.iloc[0] / facts.judged_images)} of the {part} images.",
        )
    if result["acc_train"] - result["acc_val"] > OVERFITTED:
        yield Worry(
            f"It does better on images it has seen: {percent(result['acc_train'])} in training, "
            f"{percent(result['acc_val'])} in validation",
            "It has partly learnt these by heart (overfitting). More images or stronger augmentation may help.",
        )
    together = report["f1-score"].loc["weighted avg"]
    f1_scores = report["f1-score"].loc[[*facts.splits.classes]]
    weakest = [str(name) for name in f1_scores.index[f1_scores == f1_scores.min()]]
    if together - f1_scores.min() > WEAK:
        yield Worry(
            f"The weakest {'class is' if len(weakest) == 1 else 'classes are'} {listing(weakest)}: "
            f"F1 score {percent(f1_scores.min())}",
            f"All together have {percent(together)}: the overall accuracy hides what is weak.",
        )
    confident = int((facts.mistakes["probability"] >= CONFIDENT).sum())
    if confident:
        yield Worry(
            f"{confident:,} of {counted(len(facts.mistakes), 'mistake')} came with a probability of "
            f"{percent(CONFIDENT, 0)} or more",
            "A high probability is no guarantee. Look at these first: some may be wrong labels.",
        )


def _measurement(facts: ReportFacts) -> Iterator[Worry]:
    looks, part = facts.comparison.looks, PART_NAMES[facts.chosen.part]
    if not facts.is_open:
        yield Worry(
            "The test part is still closed",
            "The accuracy is that of validation, which also chose the model, and so looks a little better than it is. "
            "When all is chosen: linnaeus evaluate PROJECT --final.",
        )
    if looks.later:
        yield Worry(
            f"The test part was looked at {counted(looks.later, 'more time')}",
            "Whoever changes something after a look has begun to choose by the test images, and its accuracy then "
            "flatters. test-looks.csv has each look.",
        )
    _, low, high = facts.accuracy
    if high - low > WIDE:
        yield Worry(
            f"Only {counted(facts.judged_images, f'{part} image')}, so the accuracy is known roughly",
            f"Its 95 % interval is {100 * (high - low):.1f} percentage points wide.",
        )
    chosen = facts.chosen.model_id
    rivals = [pair.first if pair.second == chosen else pair.second for pair in facts.rivals]
    if rivals:
        yield Worry(
            f"The images cannot tell {chosen} from {listing(rivals)}",
            "By the paired test on the same images. Where size or speed matters, another of them is a fair choice.",
        )
    worse = facts.trust.slices[facts.trust.slices["is_worse"]]
    if len(worse):
        kinds = [f"{slice_name(row)} ({percent(row['accuracy'])})" for row in worse.to_dict("records")]
        yield Worry(
            f"It is right less often on {counted(len(worse), 'kind')} of images",
            f"Namely {listing(kinds)}. More images of these kinds may help.",
        )
    error = calibration_errors(facts.trust.reliability)[1].ece
    if error > max(OFF, chance_error(facts.trust.reliability)):
        yield Worry(
            f"Its probabilities are off by {percent(error)}",
            "Even after calibration, and by more than chance explains: take them as a ranking, not at their word.",
        )


def _folder(facts: ReportFacts) -> Iterator[Worry]:
    yield from _copies(facts)
    if facts.unseen:
        yield Worry(
            f"{counted(facts.unseen, 'image shows', 'images show')} next to nothing",
            "A black, white or nearly empty image teaches nothing but noise. Drop it in decisions.csv.",
        )
    sizes = facts.catalogue.by_class().sort_values()
    ratio = sizes.iloc[-1] / sizes.iloc[0]
    if ratio >= UNEVEN:
        yield Worry(
            f"Classes are uneven: {sizes.iloc[-1]:,} images of {sizes.index[-1]}, {sizes.iloc[0]:,} of "
            f"{sizes.index[0]}",
            f"That is {ratio:.1f} times as many. Accuracy says more about large classes than small ones.",
        )
    lost = facts.excluded[facts.excluded["reason"].ne(DROPPED)]
    if len(lost):
        named = [f"{reason} ({number:,})" for reason, number in lost["reason"].value_counts().items()]
        yield Worry(
            f"{counted(len(lost), 'file or folder was', 'files or folders were')} left out",
            f"Why: {listing(named)}. Every path is listed below.",
        )


def _copies(facts: ReportFacts) -> Iterator[Worry]:
    groups = facts.copy_groups
    if len(groups):
        copies = int(groups["images"].sum()) - len(groups)
        is_apart = bool((groups["parts"] > 1).any())
        yield Worry(
            f"{counted(copies, 'image is a copy or near-copy', 'images are copies or near-copies')} of another",
            "Copies count more than once, in training or in the figures of the part they are in. "
            + ("" if is_apart else "Each lies in the same part as its original, so none of them leaks. ")
            + "Drop in decisions.csv what you do not want.",
        )
