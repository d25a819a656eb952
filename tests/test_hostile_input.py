"""Bad and odd images, names, links and tables: each ends as the tables say, and nothing of the user's changes."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import EpsImagePlugin
from typer.testing import CliRunner

import linnaeus
from hostile import encoded, noise, postscript
from hostile_cases import CASES, CLASSES, IMAGES, LEFT_OUT, Case, name_of
from linnaeus.cli.main import app
from linnaeus.data.catalogue import Catalogue, read_catalogue
from linnaeus.data.decode import decode
from linnaeus.data.issues import Issues
from linnaeus.data.sources import find_sources
from linnaeus.data.split import Splits
from linnaeus.errors import CatalogueError, DecodeError, RecipeError
from linnaeus.project import Project, open_project
from linnaeus.settings import CheckRecipe, CleanRecipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse half of these names and links")

RUNNER = CliRunner()
PLAIN_IMAGES = 12  # in every class, enough for every part
SMALL = CleanRecipe(size=24)
NO_LABELS = CheckRecipe(judge_labels=False)
Snapshot = dict[str, tuple[int, int, str]]


@dataclass(frozen=True)
class Ran:
    """What the stages made of a folder, and everything around the project before and after."""

    project: Project
    found: Catalogue
    cleaned: Catalogue
    issues: Issues
    splits: Splits
    before: Snapshot
    after: Snapshot


def write_plain(folder: Path, first_seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(PLAIN_IMAGES):
        (folder / f"plain-{place:02}.png").write_bytes(encoded(noise(first_seed + place)))


def snapshot(root: Path, without: Path) -> Snapshot:
    """Kind, time of change (ns) and SHA-256, or a link's target, of everything below a folder but one thing in it."""
    found: Snapshot = {}
    waiting = [root]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.path == str(without):
                continue
            facts = entry.stat(follow_symlinks=False)
            content = ""
            if entry.is_symlink():
                content = os.readlink(entry.path)  # noqa: PTH115
            elif entry.is_dir():
                waiting.append(Path(entry.path))
            elif entry.is_file():
                content = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
            found[entry.path] = (stat.S_IFMT(facts.st_mode), facts.st_mtime_ns, content)
    return found


def make_folder(root: Path) -> Path:
    """The image folder with every case in it, and what its links lead to beside it."""
    images, outside = root / "raw", root / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret.png").write_bytes(encoded(noise(90_000)))
    (outside / "folder" / "inside.png").write_bytes(encoded(noise(90_001)))
    for place, name in enumerate(CLASSES):
        write_plain(images / name, 10_000 + 100 * place)
    for seed, case in enumerate(CASES, start=1):
        case.put(images / case.relpath, seed)
    return images


def spoil(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let files of these names be unreadable, gone or changing, which to root they would not be otherwise."""
    open_file, facts_of = os.open, os.fstat
    changing: set[int] = set()

    def opened(path: str | Path, *options: int) -> int:
        name = Path(path).name
        if name in names and name == "locked.jpg":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if name in names and name in {"vanishes.jpg", "gone-later.png"}:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        number = open_file(path, *options)
        if name in names and name == "changes.jpg":
            changing.add(number)
        return number

    def facts(number: int) -> object:
        found = facts_of(number)
        if number not in changing:
            return found
        changing.remove(number)
        return SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_mtime_ns=found.st_mtime_ns - 1)

    patch.setattr(os, "open", opened)
    patch.setattr(os, "fstat", facts)


def run_stages(images: Path, project: Path) -> tuple[Catalogue, Catalogue, Issues, Splits]:
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, "locked.jpg", "vanishes.jpg", "changes.jpg")
        found = linnaeus.catalogue(images, project)
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, "gone-later.png")
        cleaned = linnaeus.clean(project, SMALL)
    return found, cleaned, linnaeus.check(project, NO_LABELS), linnaeus.split(project)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    root = tmp_path_factory.mktemp("hostile")
    images, project = make_folder(root), root / "project"
    (root / "here").mkdir()
    before = snapshot(root, project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "here")
        results = run_stages(images, project)
    return Ran(open_project(project), *results, before, snapshot(root, project))


@pytest.mark.parametrize("case", IMAGES, ids=name_of)
def test_an_odd_file_becomes_an_image_with_its_facts(ran: Ran, case: Case) -> None:
    (row,) = ran.found.images[ran.found.images["relpath"] == case.relpath].to_dict("records")
    assert {name: row[name] for name in case.facts} == case.facts
    (cleaned,) = ran.cleaned.images[ran.cleaned.images["source"] == case.relpath].to_dict("records")
    with (ran.project.clean_folder / cleaned["relpath"]).open("rb") as file:
        assert file.read(3) == b"\xff\xd8\xff"
    assert cleaned["relpath"] in set(ran.splits.table["relpath"])


@pytest.mark.parametrize("case", LEFT_OUT, ids=name_of)
def test_a_bad_file_is_listed_once_with_its_reason(ran: Ran, case: Case) -> None:
    written = pd.read_csv(ran.project.excluded.with_suffix(".csv"), keep_default_na=False)
    assert [*written.loc[written["relpath"] == case.listed, "reason"]] == [case.reason]
    assert case.relpath not in set(ran.found.images["relpath"])
    findings = ran.issues.findings
    assert [*findings.loc[findings["relpath"] == case.listed, "check"]] == [str(case.reason).replace(" ", "_")]


@pytest.mark.parametrize("case", [case for case in CASES if case.lost], ids=name_of)
def test_a_file_that_goes_before_it_is_cleaned_is_listed_as_lost(ran: Ran, case: Case) -> None:
    written = pd.read_csv(ran.project.clean_excluded.with_suffix(".csv"), keep_default_na=False)
    assert [*written.loc[written["relpath"] == case.relpath, "reason"]] == [case.reason]
    assert case.relpath in set(ran.found.images["relpath"])


def test_nothing_else_is_left_out(ran: Ran) -> None:
    assert sorted(ran.found.excluded["relpath"]) == sorted(case.listed for case in LEFT_OUT)


def test_links_to_files_and_folders_elsewhere_are_followed(ran: Ran) -> None:
    relpaths = {"links/outside.png", "links/outside-folder/inside.png", "links/other-class.png"}
    assert relpaths <= set(ran.found.images["relpath"])


def test_a_copy_by_link_in_another_class_is_told_as_a_conflict(ran: Ran) -> None:
    conflicts = ran.issues.findings[ran.issues.findings["check"] == "label_conflict"]
    assert {"links/other-class.png", "odd/plain-00.png"} <= set(conflicts["relpath"])


def test_every_image_gets_a_clean_copy_of_its_own(ran: Ran) -> None:
    copies = {path for path in snapshot(ran.project.clean_folder, Path()) if path.endswith(".jpg")}
    assert len(copies) == len(ran.cleaned.images) == len(ran.found.images) - 1


def test_nothing_outside_the_project_is_written_or_changed(ran: Ran) -> None:
    assert ran.after == ran.before


def test_a_second_run_finds_the_same(ran: Ran) -> None:
    images = ran.project.images
    again = run_stages(images, ran.project.root)
    pd.testing.assert_frame_equal(again[0].images, ran.found.images)
    pd.testing.assert_frame_equal(again[3].table, ran.splits.table)


def test_postscript_is_never_handed_to_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments: calls.append(arguments))
    with pytest.raises(DecodeError):
        decode(postscript(1), ".eps")
    assert calls == []


FOLDERS = (
    *("con", "a\\b", "aux.jpg", "dot.", "space ", "n" * 255, "TRAIN", "Cat", "cat", "[", "=1+1", "-rf", "~", "%s"),
    *("\u00e9", "e\u0301", "\U0001f431", "NA", "null", "007", "1e5", "a,b", 'a"b', "<b>", "nul", "C:", "a|b?*"),
)


@pytest.fixture(scope="module")
def odd_classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image folder, given as a link, of classes with odd names; and its project."""
    root = tmp_path_factory.mktemp("classes")
    for place, name in enumerate(FOLDERS):
        write_plain(root / "raw" / name, 20_000 + 100 * place)
    (root / "images").symlink_to("raw")
    options = ["--project", str(root / "project")]
    done = RUNNER.invoke(app, ["catalogue", str(root / "images"), *options])
    assert done.exit_code == 0, done.output
    linnaeus.clean(root / "project", SMALL)
    linnaeus.check(root / "project", NO_LABELS)
    linnaeus.split(root / "project")
    return root / "raw", root / "project"


@pytest.mark.parametrize("name", FOLDERS, ids=ascii)
def test_a_class_folder_may_have_any_name_that_can_be_written(odd_classes: tuple[Path, Path], name: str) -> None:
    project = open_project(odd_classes[1])
    for table in (project.catalogue, project.clean_catalogue, project.splits):
        for written in (pd.read_parquet(table), read_catalogue(table.with_suffix(".csv"))):
            assert (written["category"] == name).sum() == PLAIN_IMAGES


def test_a_name_that_looks_like_markup_does_not_stop_the_command_line(odd_classes: tuple[Path, Path]) -> None:
    images, project = odd_classes
    (images / "[" / "].txt").write_text("words")
    done = RUNNER.invoke(app, ["catalogue", str(images), "--project", str(project)])
    (images / "[" / "].txt").unlink()
    assert done.exit_code == 0, done.output
    assert "not an image" in done.output


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("Train", "cat"), {"Train", "cat"}),
        (("TRAIN/cat", "Val/cat", "test/cat", "train.d"), None),
        (("a", "A"), {"a", "A"}),
    ],
)
def test_a_class_named_like_a_part_is_a_class_unless_there_are_other_parts(
    tmp_path: Path, folders: tuple[str, ...], classes: set[str] | None
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jpg").touch()
    if classes is None:
        with pytest.raises(CatalogueError, match="mixes split folders"):
            find_sources(tmp_path)
    else:
        assert {source.class_folder for source in find_sources(tmp_path)[0]} == classes


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = RUNNER.invoke(app, ["catalogue", str(tmp_path / "images"), "--project", str(tmp_path / "p"), "--quiet"])
    assert done.exit_code == 1
    assert done.stderr.startswith("CatalogueError: ")


def test_an_image_folder_whose_path_is_no_unicode_is_refused(tmp_path: Path) -> None:
    images = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    write_plain(images / "cat", 1)
    with pytest.raises(CatalogueError, match="is no Unicode"):
        find_sources(images)


def test_links_to_folders_that_multiply_come_to_an_end(tmp_path: Path) -> None:
    for place in range(30):
        (tmp_path / f"k{place}").mkdir()
        for name in ("left", "right"):
            (tmp_path / f"k{place}" / name).symlink_to(f"../k{place + 1}")
    (tmp_path / "k30").mkdir()
    (tmp_path / "k30" / "x.jpg").touch()
    sources, excluded = find_sources(tmp_path)
    assert "k27/left/right/left/x.jpg" in {source.relpath for source in sources}
    assert "k26/left/right/left/left/" in {exclusion.relpath for exclusion in excluded}
    assert {exclusion.reason for exclusion in excluded} == {"link within too many links", "empty class folder"}


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """An image folder with an image below more folders than calls can be nested."""
    images = tmp_path / "raw"
    write_plain(images / "cat", 1)
    write_plain(images / "dog", 101)
    path = str(images / "cat")
    levels = [path := f"{path}/d" for _ in range(sys.getrecursionlimit() + 100)]
    for level in levels:
        os.mkdir(level)  # noqa: PTH102  # a Path of it would be slow
    (Path(path) / "deep.png").write_bytes(encoded(noise(201)))
    yield images
    (Path(path) / "deep.png").unlink()
    for level in reversed(levels):  # what pytest removes folders with is recursive
        os.rmdir(level)  # noqa: PTH106


def test_an_image_below_more_folders_than_calls_can_be_nested_is_used(deep: Path, tmp_path: Path) -> None:
    found, cleaned, _, splits = run_stages(deep, tmp_path / "project")
    (relpath,) = found.images.loc[found.images["name"] == "deep.png", "relpath"]
    (copy,) = cleaned.images.loc[cleaned.images["source"] == relpath, "relpath"]
    assert copy.startswith("cat/deep-")
    assert copy in set(splits.table["relpath"])


LEADING_OUT = ("../outside/secret.png", "/etc/passwd", "a/../../secret.png", "..", "a\0b.png")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("relpath", LEADING_OUT, ids=ascii)
def test_a_table_that_leads_out_of_the_folder_is_refused_with_its_line(
    ran: Ran, tmp_path: Path, relpath: str, suffix: str
) -> None:
    table = ran.cleaned.images[["relpath", "category"]].copy()
    table.loc[1, "relpath"] = relpath
    path = tmp_path / f"mine{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    before = ran.project.splits.read_bytes()
    with pytest.raises(CatalogueError, match=r"mine\.\w+, line 3: .* leads out of the image folder"):
        linnaeus.split(ran.project, table=path)
    assert ran.project.splits.read_bytes() == before


def test_a_table_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("relpath,category\na.jpg,cat,\nb.jpg,dog,\n")
    with pytest.raises(CatalogueError, match="more cells than its first line"):
        read_catalogue(tmp_path / "mine.csv")


def test_a_decision_about_an_image_elsewhere_touches_nothing_and_is_listed(odd_classes: tuple[Path, Path]) -> None:
    root, project = odd_classes[0].parent, open_project(odd_classes[1])
    (root / "secret.png").write_bytes(encoded(noise(1)))
    before = snapshot(root, project.root)
    project.decisions.write_text("relpath,decision\n../secret.png,drop\n/etc/passwd,drop\n", encoding="utf-8")
    cleaned = linnaeus.clean(project, SMALL)
    project.decisions.unlink()
    assert [*cleaned.excluded["relpath"]] == ["../secret.png", "/etc/passwd"]
    assert {*cleaned.excluded["reason"]} == {"decision about an image that is not there"}
    assert snapshot(root, project.root) == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"relpath,decision\ncat/plain-00.png,delete\n", "line 2 .* is no decision"),
        (b"relpath,decision,relabel_to\ncat/plain-00.png,relabel,../x\n", "which is no class"),
        (b"relpath,decision\na,drop,\nb,drop,\n", "more cells than its first line"),
        (bytes(range(256)), "is no readable table"),
        ("relpath,decision\n\u00e9.png,drop\n".encode("latin-1"), "is no readable table"),
        (b"", "is no readable table"),
    ],
)
def test_decisions_that_cannot_be_meant_are_refused(
    odd_classes: tuple[Path, Path], content: bytes, complaint: str
) -> None:
    project = open_project(odd_classes[1])
    project.decisions.write_bytes(content)
    with pytest.raises(RecipeError, match=complaint) as caught:
        linnaeus.clean(project, SMALL)
    project.decisions.unlink()
    assert "\n" not in str(caught.value)


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files_of(project: Path) -> list[str]:
    return sorted(path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file())


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    write_plain(tmp_path / "pets" / "cat", 1)
    write_plain(tmp_path / "pets" / "dog", 101)
    return tmp_path / "pets"


@pytest.mark.parametrize(
    ("owner", "writer", "name"),
    [
        (pd.DataFrame, "to_parquet", "scan.parquet"),
        (pd.DataFrame, "to_csv", "catalogue.csv"),
        (Path, "write_text", "project.json"),
    ],
)
def test_a_disk_that_is_full_for_tables_is_one_line_and_leaves_no_half_file(
    pets: Path, tmp_path: Path, owner: type, writer: str, name: str
) -> None:
    project = tmp_path / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, writer, no_room)
        done = RUNNER.invoke(app, ["catalogue", str(pets), "--project", str(project), "--quiet"])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"No space left on device: {project / name}"]
    assert not {name, "catalogue.parquet", "stages/catalogue.json"} & {*files_of(project)}
    assert not [name for name in files_of(project) if ".partial" in name]
    assert len(linnaeus.catalogue(pets, project).images) == 2 * PLAIN_IMAGES


def test_a_disk_that_is_full_for_clean_copies_is_one_line_and_leaves_no_half_folder(pets: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    linnaeus.catalogue(pets, project)
    before = files_of(project)
    write_bytes = Path.write_bytes
    written: list[Path] = []

    def filling(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 5:
            no_room()
        return write_bytes(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", filling)
        done = RUNNER.invoke(app, ["clean", str(project), "--quiet"])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"No space left on device: {project / 'clean'}"]
    assert files_of(project) == before
    assert len(linnaeus.clean(project, SMALL).images) == 2 * PLAIN_IMAGES


@pytest.fixture(params=[64, 240])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system in memory of so many KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={request.param}k", "linnaeus-test", str(disk)]
    try:
        made = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("mounting a file system is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_really_full_is_one_line_and_every_file_under_its_name_is_whole(
    pets: Path, small_disk: Path
) -> None:
    project = small_disk / "project"
    commands = [["catalogue", str(pets), "--project", str(project), "--quiet"], ["clean", str(project), "--quiet"]]
    outcomes = [RUNNER.invoke(app, command) for command in commands]
    failed = [done for done in outcomes if done.exit_code != 0]
    assert {done.exit_code for done in failed} == {1}
    assert all(len(done.stderr.splitlines()) == 1 for done in failed)
    assert "No space left on device" in failed[0].stderr
    assert str(project) in failed[0].stderr
    for path in [*project.glob("*.parquet")]:
        assert len(pd.read_parquet(path).columns)
    assert not (project / "stages" / "clean.json").exists()
    assert not [name for name in files_of(project) if ".partial" in name or name.startswith("clean")]
