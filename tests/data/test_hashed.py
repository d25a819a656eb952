import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.groups import image_groups
from linnaeus.data.hashed import draw_by_hash, part_by_hash
from linnaeus.data.split import split_table
from linnaeus.errors import SplitError
from linnaeus.settings import SplitRecipe

HASH = SplitRecipe(method="hash")


def _table(images: int, first: int = 0) -> pd.DataFrame:
    relpaths = [f"{'cat' if number % 2 else 'dog'}/{number}.jpg" for number in range(first, first + images)]
    return pd.DataFrame({"relpath": relpaths, "category": [relpath[:3] for relpath in relpaths]})


def _manifest(parts: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"relpath": parts.keys(), "split": parts.values()})


def _drawn(
    relpaths: list[str], keys: list[int], earlier: dict[str, str]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    table = pd.DataFrame({"relpath": relpaths})
    drawn, left_out = draw_by_hash(table, image_groups(table, HASH, keys), HASH, _manifest(earlier))
    parts = dict(zip(table["relpath"][drawn.index], drawn["split"], strict=True))
    return parts, [(exclusion.relpath, exclusion.detail) for exclusion in left_out]


def test_the_hash_s_parts_are_these_on_every_system_and_in_every_version() -> None:
    # printf 5:image:cat/20.jpg | sha256sum begins with 0d: 0.05 of the whole, below test's 0.1.
    expected = ["test", "train", "val", "val", "train", "train", "train", "test", "train"]
    assert [part_by_hash(f"image:cat/{number}.jpg", HASH) for number in range(20, 29)] == expected


def test_the_shares_are_kept_roughly() -> None:
    table = split_table(_table(4000), HASH).table
    shares = table["split"].value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.2, abs=0.03)
    assert shares["test"] == pytest.approx(0.1, abs=0.03)


def test_adding_images_and_another_order_move_none() -> None:
    few = split_table(_table(200), HASH).table.set_index("relpath")["split"]
    many = split_table(_table(900).iloc[::-1], HASH).table.set_index("relpath")["split"]
    assert many[few.index].equals(few)


def test_the_seed_is_part_of_the_hash() -> None:
    first, other = (split_table(_table(200), SplitRecipe(method="hash", seed=seed)) for seed in (1, 2))
    assert {*first.test["relpath"]} != {*other.test["relpath"]}


def test_a_path_spelled_as_on_macos_has_the_same_part() -> None:
    texts = [f"image:cat/caf\u00e9{number}.jpg" for number in range(50)]
    assert [part_by_hash(text, HASH) for text in texts] == [
        part_by_hash(text.replace("\u00e9", "e\u0301"), HASH) for text in texts
    ]


def test_a_clean_copy_is_known_by_its_source_however_it_is_called() -> None:
    table = _table(200).assign(source=[f"raw/{number}.png" for number in range(200)])
    earlier = split_table(table, HASH)
    other_seed = SplitRecipe(method="hash", seed=6)
    renamed = table.assign(relpath=table["relpath"].str.replace(".jpg", "-1234.jpg"))
    again = split_table(renamed, other_seed, earlier=earlier).table
    assert again.set_index("source")["split"].equals(earlier.table.set_index("source")["split"])
    afresh = split_table(renamed, HASH).table
    assert afresh.set_index("source")["split"].equals(earlier.table.set_index("source")["split"])


def test_images_of_one_column_value_go_together_where_its_hash_says() -> None:
    table = _table(400).assign(site=[f"s{number // 4}" for number in range(400)])
    recipe = SplitRecipe(method="hash", group_column="site")
    manifest = split_table(table, recipe).table
    assert (manifest.groupby("group_name")["split"].nunique() == 1).all()
    for name, rows in manifest.groupby("group_name"):
        assert rows["split"].iloc[0] == part_by_hash(f"group:{name}", recipe)
    few = split_table(table.iloc[100:], recipe).table.set_index("relpath")["split"]
    assert manifest.set_index("relpath")["split"][few.index].equals(few)


def test_new_images_join_the_part_of_their_group() -> None:
    names = [f"{number}.jpg" for number in range(30)]
    for part in ("train", "val", "test"):
        parts, left_out = _drawn(names, [0] * 30, {"3.jpg": part})
        assert parts == dict.fromkeys(names, part)
        assert left_out == []


def test_a_new_group_goes_together() -> None:
    parts, _ = _drawn([f"{number}.jpg" for number in range(40)], [number // 2 for number in range(40)], {})
    assert all(parts[f"{number}.jpg"] == parts[f"{number + 1}.jpg"] for number in range(0, 40, 2))
    assert {*parts.values()} == {"train", "val", "test"}


def test_a_new_group_s_part_does_not_depend_on_the_table_s_order() -> None:
    names, keys = [f"{number}.jpg" for number in range(60)], [number // 3 for number in range(60)]
    assert _drawn(names, keys, {}) == _drawn(names[::-1], keys[::-1], {})


def test_a_new_image_that_ties_different_parts_together_is_left_out_with_the_reason() -> None:
    earlier = {"a.jpg": "test", "b.jpg": "train", "c.jpg": "train", "d.jpg": "val"}
    parts, left_out = _drawn(["new.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"], [0, 0, 0, 0, 1, 1], earlier)
    assert parts == earlier | {"e.jpg": "val"}
    assert left_out == [("new.jpg", "b.jpg is in train, a.jpg is in test")]


def test_what_is_left_out_stands_in_the_splits() -> None:
    table = _table(200)
    earlier = split_table(table, HASH)
    first, second = earlier.train["relpath"].iloc[0], earlier.test["relpath"].iloc[0]
    more = _table(201)
    keys = [1000 if relpath in {first, second, "dog/200.jpg"} else row for row, relpath in enumerate(more["relpath"])]
    splits = split_table(more, HASH, keys, earlier)
    assert splits.left_out.to_dict("records") == [
        {
            "relpath": "dog/200.jpg",
            "reason": "ties images of different parts together",
            "detail": f"{first} is in train, {second} is in test",
        }
    ]
    assert "dog/200.jpg" not in {*splits.table["relpath"]}
    assert earlier.left_out.empty
    assert [*earlier.left_out] == ["relpath", "reason", "detail"]


@pytest.mark.parametrize("settings_", [{}, {"group_column": "site"}])
def test_a_class_that_misses_a_part_is_refused_with_what_to_do(settings_: dict[str, str]) -> None:
    table = pd.concat([_table(400), pd.DataFrame({"relpath": ["ant/1.jpg", "ant/2.jpg"], "category": "ant"})])
    table["site"] = [*range(400), 1000, 1000]
    with pytest.raises(SplitError, match=r"has no image of ant.*Add images, or take method stratified"):
        split_table(table, SplitRecipe(method="hash", **settings_))


@settings(max_examples=40, deadline=None, database=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 120))
def test_adding_images_in_any_order_with_groups_that_grow_together_never_moves_one(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    whole = _table(240)
    order = rng.permutation(240)
    ties = rng.integers(0, groups, size=(2, 240))
    ties[:, rng.random(240) < 0.5] = -1
    present = np.sort(order[:160])
    earlier = None
    known: dict[str, str] = {}
    for added in (160, 200, 240):
        present = np.sort(order[:added])
        table = whole.iloc[rng.permutation(present)]
        keys = _components(ties[:, table.index])
        try:
            splits = split_table(table, HASH, keys, earlier)
        except SplitError:
            return  # few and large groups leave a part without a class, as the message says
        parts = dict(zip(splits.table["relpath"], splits.table["split"], strict=True))
        assert known.items() <= parts.items()
        assert sorted([*parts, *splits.left_out["relpath"]]) == sorted(table["relpath"])
        new = splits.table[~splits.table["relpath"].isin(known)]
        crossing = splits.table.groupby("group")["split"].nunique() > 1
        assert not new["group"].map(crossing).any()
        known, earlier = parts, splits


def _components(ties: np.ndarray) -> np.ndarray:
    """A key for each column, the same where columns share a number of either row, over any chain."""
    keys = np.arange(ties.shape[1])
    for _ in range(ties.shape[1]):
        before = keys.copy()
        for row in ties:
            for number in set(row[row >= 0]):
                keys[row == number] = keys[row == number].min()
        if (keys == before).all():
            break
    return keys
