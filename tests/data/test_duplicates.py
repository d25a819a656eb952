import hashlib
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from linnaeus.data import duplicates
from linnaeus.data.catalogue import PAIR_COLUMNS
from linnaeus.data.decode import Pixels
from linnaeus.data.duplicates import conflicting_pairs, duplicate_pairs, group_numbers
from linnaeus.data.perceptual import hash_columns
from linnaeus.errors import DecodeError
from linnaeus.settings import DuplicateRecipe

SIDE = 160
RECIPE = DuplicateRecipe()


def _picture(seed: int = 0, *, width: int = SIDE) -> Pixels:
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.random((cells, cells), dtype=np.float32)).resize(
                (width, SIDE), Image.Resampling.BICUBIC
            )
        )
        for cells in (3, 7, 15, 40)
    ]
    return (np.average(layers, axis=0, weights=(4, 3, 2, 1)) * 255).clip(0, 255).astype(np.uint8)


class Album:
    """Grey pictures by relpath, and the catalogue's table of them; an unreadable one is hashed but cannot be read."""

    def __init__(self, pictures: dict[str, Pixels], encodings: dict[str, str] | None = None) -> None:
        self.pictures = pictures
        self.unreadable: set[str] = set()
        self.read: list[str] = []
        pixels = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures.values()]
        encoded = [
            digest + (encodings or {}).get(relpath, "") for relpath, digest in zip(pictures, pixels, strict=True)
        ]
        columns = {"relpath": [*pictures], "sha256": encoded, "pixels_sha256": pixels}
        self.table = pd.DataFrame(columns | hash_columns([*pictures.values()]))
        self.table["category"] = [relpath.split("/")[0] for relpath in pictures]

    def read_luma(self, relpath: str) -> Pixels:
        self.read.append(relpath)
        if relpath in self.unreadable:
            raise DecodeError("cannot be opened")
        return self.pictures[relpath]

    def pairs(self, recipe: DuplicateRecipe = RECIPE) -> pd.DataFrame:
        return duplicate_pairs(self.table, self.read_luma, recipe)


def _rescaled(picture: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC))


def _marked(picture: Pixels) -> Pixels:
    mark = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(mark).text((SIDE // 2, SIDE - 22), "copyright", fill=150, font_size=16)
    opacity = np.asarray(mark) / 255
    return (picture * (1 - opacity) + 255 * opacity).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "near rescaled": _rescaled,
    "near brighter": lambda picture: np.clip(picture * 1.2, 0, 255).astype(np.uint8),
    "near darker": lambda picture: (picture * 0.8).astype(np.uint8),
    "near noisy": lambda picture: (picture // 2 * 2 + picture // 3 % 2).astype(np.uint8),
    "near marked": _marked,
    "mirrored": lambda picture: np.ascontiguousarray(picture[:, ::-1]),
    "cropped all around": lambda picture: np.ascontiguousarray(picture[8:-8, 8:-8]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_copy_is_found_and_named(change: str) -> None:
    originals = {f"a/{seed}": _picture(seed) for seed in range(12)}
    album = Album(originals | {f"b/{seed}": CHANGES[change](_picture(seed)) for seed in range(8)})
    pairs = album.pairs()
    assert [*zip(pairs["first"], pairs["second"], strict=True)] == [(f"a/{seed}", f"b/{seed}") for seed in range(8)]
    assert set(pairs["kind"]) == {change.split(maxsplit=1)[0]}
    assert pairs["similarity"].between(RECIPE.similarity, 1).all()
    assert pairs["distance"].between(0, RECIPE.radius).all()


def test_different_pictures_are_no_copies() -> None:
    pairs = Album({f"a/{seed}": _picture(seed) for seed in range(60)}).pairs()
    assert pairs.empty
    assert [*pairs.columns] == PAIR_COLUMNS
    assert group_numbers(pairs, pd.Series(["a/0", "a/1"])).tolist() == [0, 1]


def test_copies_of_the_same_pixels_are_a_chain_that_says_which_have_the_same_bytes() -> None:
    names = [f"a/{number}" for number in range(5)]
    album = Album(dict.fromkeys(names, _picture()), encodings={"a/1": "png", "a/3": "png"})
    pairs = album.pairs()
    assert len(pairs) == 4
    assert Counter(pairs["kind"]) == {"same bytes": 3, "same pixels": 1}
    assert set(group_numbers(pairs, album.table["relpath"])) == {0}
    assert (pairs["first"] < pairs["second"]).all()
    assert not album.read


def test_each_group_of_near_copies_is_tied_together_by_one_pair_less_than_it_has_images() -> None:
    pictures = {f"{name}/{seed}": change(_picture(seed)) for seed in range(3) for name, change in CHANGES.items()} | {
        f"original/{seed}": _picture(seed) for seed in range(3)
    }
    album = Album(pictures)
    pairs = album.pairs()
    assert len(pairs) == 3 * len(CHANGES)
    groups = group_numbers(pairs, album.table["relpath"])
    assert groups.tolist() == [*np.repeat([0, 1, 2], len(CHANGES)), 0, 1, 2]
    assert len(album.read) == len(set(album.read))


def test_memory_is_bounded_by_looking_at_some_groups_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    album = Album(
        {f"a/{seed}": _picture(seed) for seed in range(9)}
        | {f"b/{seed}": _rescaled(_picture(seed)) for seed in range(9)}
    )
    expected = album.pairs()
    monkeypatch.setattr(duplicates, "BATCH", 4)
    pd.testing.assert_frame_equal(album.pairs(), expected)
    assert len(expected) == 9


def test_blank_pictures_of_other_pixels_are_no_copies() -> None:
    greys = {f"a/{grey}": np.full((SIDE, SIDE), grey, np.uint8) for grey in range(0, 250, 10)}
    generator = np.random.default_rng(0)
    noisy = {f"b/{number}": generator.integers(100, 103, (SIDE, SIDE), dtype=np.uint8) for number in range(20)}
    assert Album(greys | noisy).pairs().empty


def test_thousands_of_pictures_with_one_hash_give_few_pairs() -> None:
    album = Album({f"a/{number}": np.full((40, 40), number % 250, np.uint8) for number in range(250)})
    table = pd.concat([album.table] * 12, ignore_index=True)
    table["relpath"] = [f"a/{number}" for number in range(len(table))]
    table["pixels_sha256"] = table["sha256"] = table["relpath"]
    picture = _picture()
    pairs = duplicate_pairs(table, lambda _: picture, RECIPE)
    assert len(pairs) == len(table) - 1


def test_an_image_that_has_become_unreadable_has_no_near_copies() -> None:
    album = Album({"a/0": _picture(), "a/1": _rescaled(_picture()), "a/2": _marked(_picture())})
    album.unreadable = {"a/1"}
    pairs = album.pairs()
    assert [*zip(pairs["first"], pairs["second"], strict=True)] == [("a/0", "a/2")]


def test_a_stricter_recipe_finds_less() -> None:
    album = Album({"a/0": _picture(), "a/1": _marked(_picture())})
    (similarity,) = album.pairs()["similarity"]
    assert album.pairs(DuplicateRecipe(similarity=similarity + 0.001)).empty
    (distance,) = album.pairs()["distance"]
    assert distance == 0 or album.pairs(DuplicateRecipe(radius=distance - 1)).empty


def test_copies_in_two_classes_are_a_conflict() -> None:
    album = Album({"cat/0": _picture(), "cat/1": _rescaled(_picture()), "dog/0": _picture(), "dog/1": _picture(1)})
    conflicts = conflicting_pairs(album.pairs(), album.table)
    assert conflicts[["first", "second", "first_category", "second_category"]].to_numpy().tolist() == [
        ["cat/0", "dog/0", "cat", "dog"]
    ]


def test_groups_are_numbered_by_first_appearance_and_pairs_with_strangers_are_ignored() -> None:
    pairs = pd.DataFrame({"first": ["b", "c", "x"], "second": ["e", "e", "y"]}).assign(kind="near")
    assert group_numbers(pairs, pd.Series([*"abcdex"])).tolist() == [0, 1, 1, 2, 1, 3]
