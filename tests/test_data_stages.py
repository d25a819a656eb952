"""What the stages before training promise: nothing is decoded twice, decisions are honoured, nothing leaks."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import linnaeus
from linnaeus import stages
from linnaeus.errors import ProjectError, SplitError
from linnaeus.settings import CheckRecipe, CleanRecipe, SplitRecipe
from test_stages import tiny_recipe

CLASSES = ("ant", "bee")
EACH = 20
NO_LABELS = CheckRecipe(judge_labels=False, blurry=0.001)


def _picture(seed: int) -> Image.Image:
    """Smooth and different from every other, so that no two of them are near-duplicates."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for place, name in enumerate(CLASSES):
        (tmp_path / "insects" / name).mkdir(parents=True)
        for number in range(EACH):
            _picture(100 * place + number).save(tmp_path / "insects" / name / f"{number:02}.png")
    return tmp_path / "insects"


@pytest.fixture
def project(images: Path) -> Path:
    return images.parent / "project"


def _prepared(images: Path, project: Path, recipe: SplitRecipe | None = None) -> linnaeus.Splits:
    stages.catalogue(images, project)
    stages.clean(project, CleanRecipe(size=32))
    return stages.split(project, recipe)


def _copy_as_jpeg(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.open(source).save(target, "JPEG", quality=70)


def _part_of(splits: linnaeus.Splits) -> dict[str, str]:
    return dict(zip(splits.table["relpath"], splits.table["split"], strict=True))


def test_of_a_folder_with_new_files_only_those_are_decoded(images: Path, project: Path, decoded: list[str]) -> None:
    stages.catalogue(images, project)
    decoded.clear()
    _picture(900).save(images / "ant" / "new.png")
    assert len(stages.catalogue(images, project).images) == 2 * EACH + 1
    assert decoded == ["new.png"]
    stages.catalogue(images, project, force=True)
    assert len(decoded) == 1 + 2 * EACH + 1


def test_copies_are_found_by_the_catalogue_and_stay_in_one_part(images: Path, project: Path) -> None:
    for number in range(6):
        _copy_as_jpeg(images / "ant" / f"{number:02}.png", images / "ant" / f"copy{number}.jpg")
    splits = _prepared(images, project)
    assert len(pd.read_parquet(project / "duplicates.parquet")) == 6
    parts = _part_of(splits)
    assert all(parts[f"ant/{number:02}.jpg"] == parts[f"ant/copy{number}.jpg"] for number in range(6))
    assert pd.read_parquet(project / "leaks.parquet").empty


def test_with_near_duplicates_let_go_the_split_is_the_plain_one_and_training_refuses_what_leaks(
    images: Path, project: Path
) -> None:
    plain = _part_of(_prepared(images, project, SplitRecipe(near_duplicates=False)))
    train = next(path for path, part in plain.items() if part == "train")
    test = next(path for path, part in plain.items() if part == "test" and path[:3] == train[:3])
    _copy_as_jpeg(images / Path(train).with_suffix(".png"), images / Path(test).with_suffix(".jpg"))
    (images / Path(test).with_suffix(".png")).unlink()
    assert _part_of(_prepared(images, project, SplitRecipe(near_duplicates=False))) == plain
    leaks = pd.read_csv(project / "leaks.csv")
    assert {*leaks["first"], *leaks["second"]} == {train, test}
    with pytest.raises(ProjectError, match=r"the split leaks: 1 pairs .* say --allow-leaks"):
        stages.train(project, tiny_recipe("tiny"))
    assert stages.train(project, tiny_recipe("tiny"), allow_leaks=True).folder.is_dir()


def test_given_parts_are_kept_and_what_leaks_between_them_is_shown_with_its_pairs(images: Path, project: Path) -> None:
    given = images.parent / "given"
    for name in CLASSES:
        for number in range(EACH):
            part = "test" if number < 4 else "val" if number < 8 else "train"
            target = given / part / name / f"{number:02}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(images / name / f"{number:02}.png", target)
    shutil.copy(given / "train" / "ant" / "10.png", given / "test" / "ant" / "copied.png")
    splits = _prepared(given, project)
    assert splits.counts().loc["ant"].to_dict() == {"train": 12, "val": 4, "test": 5}
    (leak,) = pd.read_csv(project / "leaks.csv").to_dict("records")
    assert {(leak["first"], leak["first_split"]), (leak["second"], leak["second_split"])} == {
        ("ant/10.jpg", "train"),
        ("ant/copied.jpg", "test"),
    }
    assert leak["kind"] == "same bytes"
    with pytest.raises(ProjectError, match="the split leaks"):
        stages.train(project, tiny_recipe("tiny"))


def test_decisions_are_proposed_once_and_then_honoured_by_clean_and_split(images: Path, project: Path) -> None:
    shutil.copy(images / "ant" / "00.png", images / "ant" / "again.png")
    _prepared(images, project)
    stages.check(project, NO_LABELS)
    decisions = project / "decisions.csv"
    proposal = pd.read_csv(decisions, keep_default_na=False)
    assert proposal[["relpath", "decision", "suggested"]].to_numpy().tolist() == [["ant/again.png", "keep", "drop"]]

    own = "relpath,decision,relabel_to,reason\nant/again.png,drop,,a copy\nbee/03.png,relabel,ant,an ant\n"
    decisions.write_text(own)
    with pytest.raises(ProjectError, match=r"decisions.csv has changed .* linnaeus clean"):
        stages.train(project, tiny_recipe("tiny"))
    splits = _prepared(images, project)
    stages.check(project, NO_LABELS, force=True)
    assert decisions.read_text() == own
    assert {"ant/again.jpg", "bee/03.jpg"}.isdisjoint(splits.table["relpath"])
    assert "ant/03-" in "".join(splits.table.loc[splits.table["category"] == "ant", "relpath"])
    excluded = pd.read_csv(project / "clean-excluded.csv")
    assert excluded.to_numpy().tolist() == [["ant/again.png", "dropped by decision", "a copy"]]


def test_decisions_are_honoured_in_a_table_of_the_user_s_own(images: Path, project: Path) -> None:
    table = _prepared(images, project).table.drop(columns="split")
    table.to_csv(images.parent / "own.csv", index=False)
    (project / "decisions.csv").write_text("relpath,decision,relabel_to\nant/01.png,drop,\nbee/03.png,relabel,ant\n")
    _prepared(images, project)
    splits = stages.split(project, table=images.parent / "own.csv")
    assert "ant/01.jpg" not in set(splits.table["relpath"])
    assert splits.table["category"].value_counts().to_dict() == {"ant": EACH, "bee": EACH - 1}
    assert stages.train(project, tiny_recipe("tiny")).folder.is_dir()


def test_a_pattern_in_the_path_keeps_a_camera_s_images_together(images: Path, project: Path) -> None:
    for name in CLASSES:
        for number in range(EACH):
            (images / name / f"{number:02}.png").rename(images / name / f"cam{number % 10}-{number:02}.png")
    splits = _prepared(images, project, SplitRecipe(group_pattern=r"cam(\d)"))
    cameras = splits.table["relpath"].str.extract(r"cam(\d)")[0]
    assert splits.table.groupby(cameras)["split"].nunique().max() == 1
    assert splits.table["group"].nunique() == 10


def test_by_hash_added_images_move_none_and_their_copies_follow_them(images: Path, project: Path) -> None:
    recipe = SplitRecipe(method="hash", seed=0, val=0.25, test=0.25)
    before = _part_of(_prepared(images, project, recipe))
    for number in range(EACH):
        _copy_as_jpeg(images / "ant" / f"{number:02}.png", images / "ant" / f"a{number:02}.jpg")
        _picture(500 + number).save(images / "bee" / f"b{number:02}.png")
    after = _part_of(_prepared(images, project, recipe))
    assert before.items() <= after.items()
    assert all(after[f"ant/a{number:02}.jpg"] == before[f"ant/{number:02}.jpg"] for number in range(EACH))
    assert len(after) == 4 * EACH
    other = _part_of(_prepared(images, project, recipe.model_copy(update={"seed": 1})))
    assert other != after
    assert _part_of(_prepared(images, project, recipe)) != other


def test_a_class_of_copies_alone_is_refused_before_anything_is_trained(images: Path, project: Path) -> None:
    (images / "cat").mkdir()
    for number in range(EACH):
        shutil.copy(images / "ant" / "00.png", images / "cat" / f"{number}.png")
    stages.catalogue(images, project)
    stages.clean(project, CleanRecipe(size=32))
    with pytest.raises(SplitError, match="cat"):
        stages.split(project)


def test_check_works_without_a_clean_copy_and_finds_what_is_dark(images: Path, project: Path) -> None:
    Image.new("RGB", (50, 50)).save(images / "bee" / "night.png")
    stages.catalogue(images, project)
    issues = stages.check(project, NO_LABELS)
    found = ["dark", "blurry", "low_information", "grey_among_colour"]
    assert [*issues.findings["check"]] == found
    assert set(issues.findings["relpath"]) == {"bee/night.png"}
    assert not (project / "clean").exists()
    assert pd.read_csv(project / "issues.csv")["check"].tolist() == found
    assert len(pd.read_csv(project / "checked.csv")) == 2 * EACH + 1


def test_check_makes_the_clean_copy_where_labels_are_judged(images: Path, project: Path) -> None:
    stages.catalogue(images, project)
    recipe = CheckRecipe(backbone="test_efficientnet", weights="random", input_size=32)
    issues = stages.check(project, recipe)
    assert (project / "clean").is_dir()
    assert issues.checked["label_issue_score"].notna().all()
    assert issues.checked["outlier_score"].notna().all()
