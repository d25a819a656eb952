import numpy as np
import pandas as pd
import pytest

from linnaeus.data.groups import image_groups
from linnaeus.errors import RecipeError, SplitError
from linnaeus.recipe import checked
from linnaeus.settings import SplitRecipe


def _table(**columns: list[object]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame({"relpath": [f"cat/{row}.jpg" for row in range(rows)], **columns})


def _paths(*relpaths: str) -> pd.DataFrame:
    return pd.DataFrame({"relpath": relpaths})


def test_without_any_criterion_every_image_is_a_group_of_its_own() -> None:
    groups = image_groups(_table(site=["a", "a"]), SplitRecipe())
    assert ([*groups.keys], groups.names, groups.unnamed) == ([0, 1], None, 0)


def test_near_duplicate_keys_count_by_position_whatever_they_and_the_index_are() -> None:
    table = _table(site=["a"] * 4)
    keys = pd.Series(["x", "y", "x", "z"], index=[9, 8, 7, 6])
    assert [*image_groups(table, SplitRecipe(), keys).keys] == [0, 1, 0, 2]
    assert [*image_groups(table.iloc[::-1], SplitRecipe(), keys).keys] == [0, 1, 0, 2]


def test_images_with_a_null_key_are_groups_of_their_own() -> None:
    groups = image_groups(_table(site=["a"] * 4), SplitRecipe(), np.array([1.0, np.nan, np.nan, 1.0]))
    assert [*groups.keys] == [0, 1, 2, 0]


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(SplitError, match="3 group keys for 2 images"):
        image_groups(_table(site=["a", "b"]), SplitRecipe(), [1, 2, 3])


def test_a_column_keeps_its_values_together_and_empty_cells_apart() -> None:
    groups = image_groups(_table(site=["a", "", "b", None, " a", "  "]), SplitRecipe(group_column="site"))
    assert [*groups.keys] == [0, 1, 2, 3, 0, 4]
    assert groups.unnamed == 3
    assert groups.names is not None
    assert [*groups.names.fillna("-")] == ["a", "-", "b", "-", "a", "-"]


def test_a_number_is_the_same_group_whether_or_not_another_cell_is_empty() -> None:
    recipe = SplitRecipe(group_column="site")
    whole, gap = image_groups(_table(site=[3, 4, 3]), recipe), image_groups(_table(site=[3, 4, 3, None]), recipe)
    assert whole.names is not None
    assert gap.names is not None
    assert [*whole.names] == ["3", "4", "3"] == [*gap.names[:3]]


def test_an_absent_column_is_refused_with_those_there_are() -> None:
    with pytest.raises(SplitError, match=r"no column 'place'; it has relpath, site"):
        image_groups(_table(site=["a"]), SplitRecipe(group_column="place"))


def test_a_column_that_is_empty_throughout_is_refused() -> None:
    with pytest.raises(SplitError, match="'site' is empty in every row"):
        image_groups(_table(site=["", None]), SplitRecipe(group_column="site"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"cam\d+", ["cam1", "cam2", "cam1"]),
        (r"cam(\d+)", ["1", "2", "1"]),
        (r"([a-z]+)/cam(\d+)", ["cat", "cat", "dog"]),
        (r"([a-z]+)/cam(?P<group>\d+)", ["1", "2", "1"]),
    ],
)
def test_a_pattern_s_value_is_its_named_group_or_its_first_or_the_whole_match(pattern: str, names: list[str]) -> None:
    table = _paths("cat/cam1-a.jpg", "cat/cam2-a.jpg", "dog/cam1-b.jpg")
    groups = image_groups(table, SplitRecipe(group_pattern=pattern))
    assert groups.names is not None
    assert [*groups.names] == names


@pytest.mark.parametrize("pattern", [r"cam(\d+)?", r"cam(\d*)"])
def test_images_without_a_match_or_with_an_empty_one_are_groups_of_their_own_and_counted(pattern: str) -> None:
    table = _paths("cat/cam1.jpg", "cat/x.jpg", "cat/cam.jpg", "cat/cam1-b.jpg", "dog/cam.jpg")
    groups = image_groups(table, SplitRecipe(group_pattern=pattern))
    assert [*groups.keys] == [0, 1, 2, 0, 3]
    assert groups.unnamed == 3


def test_a_pattern_that_matches_nothing_is_refused_with_a_path() -> None:
    with pytest.raises(SplitError, match=r"'cam\(.*' finds nothing in any of 2 paths, such as cat/0.jpg"):
        image_groups(_table(site=["a", "b"]), SplitRecipe(group_pattern=r"cam(\d+)"))


def test_a_pattern_is_searched_for_in_the_path_of_the_original() -> None:
    table = _paths("cat/a.jpg", "cat/b.jpg").assign(source=["cam1/cat/a.png", "cam1/cat/b.png"])
    assert [*image_groups(table, SplitRecipe(group_pattern="cam1")).keys] == [0, 0]


def test_a_source_that_names_no_single_image_is_not_taken_for_its_path() -> None:
    table = _paths("cat/cam1.jpg", "cat/cam2.jpg").assign(source=["web", "web"])
    assert [*image_groups(table, SplitRecipe(group_pattern=r"cam\d|web")).keys] == [0, 1]


def test_near_duplicates_column_and_pattern_are_merged_over_any_chain() -> None:
    table = _paths("cat/cam1-a.jpg", "cat/b.jpg", "cat/cam1-c.jpg", "cat/d.jpg", "cat/e.jpg", "cat/f.jpg")
    table["site"] = ["", "north", "north", "", "south", ""]
    recipe = SplitRecipe(group_column="site", group_pattern=r"cam(\d)")
    groups = image_groups(table, recipe, [0, 1, 2, 1, 4, 4])
    assert [*groups.keys] == [0, 0, 0, 0, 1, 1]
    assert groups.unnamed == 2


def test_a_column_and_a_pattern_with_the_same_value_stay_apart() -> None:
    table = _paths("cat/cam1.jpg", "cat/b.jpg", "cat/c.jpg").assign(site=["", "1", ""])
    groups = image_groups(table, SplitRecipe(group_column="site", group_pattern=r"cam(\d)"))
    assert [*groups.keys] == [0, 1, 2]
    assert groups.names is not None
    assert groups.names[0] != groups.names[1]
    assert groups.names.isna().tolist() == [False, False, True]


def test_images_tied_by_a_column_and_a_pattern_have_one_name() -> None:
    table = _paths("cat/cam1.jpg", "cat/cam1b.jpg", "cat/c.jpg").assign(site=["", "n", "n"])
    groups = image_groups(table, SplitRecipe(group_column="site", group_pattern=r"cam(\d)"))
    assert groups.names is not None
    assert groups.names.nunique() == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"group_pattern": "cam(\\d+"}, "no regular expression .*missing \\)"),
        ({"group_pattern": ""}, "at least 1 character"),
        ({"group_column": ""}, "at least 1 character"),
        ({"method": "random"}, "'stratified', 'hash' or 'kfold'"),
        ({"folds": 2}, "greater than or equal to 3"),
        ({"folds": 4, "fold": 4}, "fold 4 of 4 folds; they are numbered from 0 to 3"),
    ],
)
def test_wrong_settings_are_refused_at_once_with_the_reason(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        checked(SplitRecipe, settings, where="split")
