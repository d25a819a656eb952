"""The images that tell most about a classifier, and the training images that are most like them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.evaluation.unknowns import unit_length

CONFIDENT, UNCERTAIN = "confident mistakes", "least certain"
MOST_MISTAKES, MOST_UNCERTAIN, MOST_PAIRS, MOST_OF_PAIR = 24, 12, 6, 4
NEIGHBOURS = 3


def telling_images(predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows of `predictions` under what they are an example of, `sheet`: mistakes, the most confident first; the images
    with the least lead of the first class over the second; and of each pair of classes that are often confused,
    "taken for", some more mistakes. An image may be in several sheets.

    predictions: see `Judgement`. `place`: each row's place among them. `lead`: of the first class over the second.
    """
    numbered = predictions.assign(place=range(len(predictions)), lead=_leads(predictions))
    wrong = numbered[numbered["label"] != numbered["predicted"]]
    mistakes = wrong.sort_values(["probability", "relpath"], ascending=[False, True])
    sheets = {
        CONFIDENT: mistakes.head(MOST_MISTAKES),
        UNCERTAIN: numbered.sort_values(["lead", "relpath"]).head(MOST_UNCERTAIN),
    }
    pairs = wrong.groupby(["category", "predicted_category"]).size().sort_values(ascending=False, kind="stable")
    for category, predicted in pairs[pairs > 1].head(MOST_PAIRS).index:
        of_pair = mistakes[mistakes["category"].eq(category) & mistakes["predicted_category"].eq(predicted)]
        sheets[f"{category} taken for {predicted}"] = of_pair.head(MOST_OF_PAIR)
    rows = pd.concat([table.assign(sheet=sheet) for sheet, table in sheets.items()], ignore_index=True)
    columns = [
        "sheet",
        "place",
        "relpath",
        "category",
        "label",
        "predicted",
        "predicted_category",
        "probability",
        "lead",
    ]
    return rows[columns]


def nearest(
    features: NDArray[np.float32], references: NDArray[np.float32], count: int = NEIGHBOURS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The places of the references that are most alike, and their cosines, (images, count) each, the nearest first.

    features: (images, width); references: (others, width).
    """
    cosines = unit_length(features) @ unit_length(references).T
    count = min(count, len(references))
    places = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(cosines, places, axis=1)


def _leads(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """By how much the most probable class leads the second."""
    probabilities = np.sort(predictions.filter(regex="^p_").to_numpy(), axis=1)
    leads: NDArray[np.float64] = probabilities[:, -1] - probabilities[:, -2]
    return leads
