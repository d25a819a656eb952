"""The project folder: the only file that knows its layout, and which stages are finished.

pets-linnaeus/
  project.json             the image folder, and the version that made this
  catalogue.csv .parquet   a row an image          excluded.csv .parquet        what was left out, and why
  scan.parquet             every file as read      duplicates.csv .parquet      pairs of the same or nearly same images
  clean/                   the normalised copy     clean.csv .parquet           its catalogue
  clean-excluded.csv ...   lost while cleaning     issues.csv .parquet          everything odd, worst first
  checked.csv .parquet     every check of an image decisions.csv                the user's: keep, drop, relabel
  splits.csv .parquet      the manifest            leaks.csv .parquet           pairs of images that cross parts
  left-out.csv .parquet    images in no part
  features/                activations of frozen trunks, by content
  runs/<model_id>/         one folder a model (see runs.py)
  results.csv              a row a run             leaderboard.csv .parquet     ranked by validation
  test-looks.csv           when test was opened    pairs.csv .parquet           runs compared two by two
  figures/                 pictures of the whole   report.html                  the report
  deck.csv .parquet        the deck's models, and ours
  stages/<stage>.json      what each finished stage was made from, and what it took
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from linnaeus.decisions import read_decisions
from linnaeus.errors import ProjectError
from linnaeus.files import file_hash, fingerprint, read_json, write_json
from linnaeus.records import StageCost


@dataclass(frozen=True)
class Project:
    """A project folder, which may not exist yet. Open one with `open_project`."""

    root: Path

    @property
    def catalogue(self) -> Path:
        """The raw folder's catalogue (its .csv stands beside it)."""
        return self.root / "catalogue.parquet"

    @property
    def excluded(self) -> Path:
        """What the catalogue left out."""
        return self.root / "excluded.parquet"

    @property
    def scan(self) -> Path:
        """What the last scan found in every file, by which the next one decodes only what is new."""
        return self.root / "scan.parquet"

    @property
    def duplicates(self) -> Path:
        """Pairs of images that are the same, or nearly."""
        return self.root / "duplicates.parquet"

    @property
    def issues(self) -> Path:
        """Everything odd, a row a finding."""
        return self.root / "issues.parquet"

    @property
    def checked(self) -> Path:
        """The score of every check, a row an image."""
        return self.root / "checked.parquet"

    @property
    def decisions(self) -> Path:
        """The user's decisions about single images."""
        return self.root / "decisions.csv"

    @property
    def leaks(self) -> Path:
        """Pairs of images that lie in different parts and should not."""
        return self.root / "leaks.parquet"

    @property
    def clean_folder(self) -> Path:
        """The normalised copy of the images."""
        return self.root / "clean"

    @property
    def clean_catalogue(self) -> Path:
        """The catalogue of the normalised copy."""
        return self.root / "clean.parquet"

    @property
    def clean_excluded(self) -> Path:
        """What could not be cleaned."""
        return self.root / "clean-excluded.parquet"

    @property
    def splits(self) -> Path:
        """The manifest of the parts."""
        return self.root / "splits.parquet"

    @property
    def left_out(self) -> Path:
        """Images that the split had to leave out of every part."""
        return self.root / "left-out.parquet"

    @property
    def features(self) -> Path:
        """The cache of activations."""
        return self.root / "features"

    @property
    def pixels(self) -> Path:
        """The cache of decoded images."""
        return self.root / "pixels"

    @property
    def checkpoints(self) -> Path:
        """Where trainings stand that have not finished, by model_id."""
        return self.root / "checkpoints"

    @property
    def tuning(self) -> Path:
        """Searches for better settings, by the recipe's name."""
        return self.root / "tune"

    @property
    def runs(self) -> Path:
        """The folder of run folders."""
        return self.root / "runs"

    @property
    def results(self) -> Path:
        """The log: a row for each evaluated run."""
        return self.root / "results.csv"

    @property
    def leaderboard(self) -> Path:
        """The comparison."""
        return self.root / "leaderboard.parquet"

    @property
    def looks(self) -> Path:
        """When the test part was looked at, and with which runs."""
        return self.root / "test-looks.csv"

    @property
    def pairs(self) -> Path:
        """The ranked runs compared two by two."""
        return self.root / "pairs.parquet"

    @property
    def deck(self) -> Path:
        """The deck's models beside ours."""
        return self.root / "deck.parquet"

    @property
    def figures(self) -> Path:
        """Pictures that are about more than one run."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def images(self) -> Path:
        """The user's image folder. Raises ProjectError where the project does not know one."""
        path = self.root / "project.json"
        if not path.is_file():
            raise ProjectError(f"{self.root} is no project yet; begin with: linnaeus catalogue IMAGES")
        images = Path(read_json(path)["images"])
        if not images.is_dir():
            raise ProjectError(
                f"the images of {self.root} are no longer at {images}; say where they are: "
                f"linnaeus catalogue IMAGES --project {self.root}"
            )
        return images

    def stamp(self, stage: str) -> dict[str, Any]:
        """What a finished stage was made from. Raises ProjectError, with what to run, where it is not finished."""
        path = self._stamp_path(stage)
        if not path.is_file():
            verb, _, name = stage.partition("-")
            what = f"{verb} of {name}" if name else verb
            commands = {
                "catalogue": f"catalogue IMAGES --project {self.root}",
                "train": f"train {self.root} --recipe {name}",
                "final": f"evaluate {self.root} {name} --final",
            }
            command = commands.get(verb, f"{verb} {self.root} {name}".rstrip())
            raise ProjectError(f"{self.root}: {what} has not run yet; run: linnaeus {command}")
        content: dict[str, Any] = read_json(path)
        return content

    def finish(
        self,
        stage: str,
        inputs: dict[str, Any],
        outputs: Sequence[Path],
        work: Callable[[], object],
        *,
        force: bool = False,
    ) -> None:
        """Do a stage's work, unless it was finished from the very same inputs and its outputs are still there.

        inputs: JSON-like; hashes of what the stage reads, and its settings. The stamp that records them is written
        last, so that a stage which was cut short is done again.
        """
        path = self._stamp_path(stage)
        key = fingerprint([version("linnaeus"), inputs])
        is_first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun starts; others write nothing
        if path.is_file() and not force:
            stamp = read_json(path)
            if stamp["key"] == key and all(output.exists() for output in outputs):
                return
        if not is_first:
            work()
            return
        path.unlink(missing_ok=True)
        started = perf_counter()
        work()
        stamp = {
            "stage": stage,
            "key": key,
            "inputs": inputs,
            "seconds": perf_counter() - started,
            "peak_memory_mib": peak_memory_mib(),
            "finished": now(),
        }
        write_json(path, stamp)

    def trained(self) -> list[str]:
        """The model_ids of the finished runs, in the order in which they finished."""
        names = [cost.stage.removeprefix("train-") for cost in self.costs() if cost.stage.startswith("train-")]
        return [name for name in names if (self.runs / name).is_dir()]

    def current_inputs(self) -> dict[str, str]:
        """What every run is trained and evaluated on: the hashes of the clean copy's catalogue and of the splits.

        Raises ProjectError where a stage was done again and one that reads from it was not.
        """
        clean, split = self.stamp("clean")["inputs"], self.stamp("split")["inputs"]
        hashes = {"clean": file_hash(self.clean_catalogue), "splits": file_hash(self.splits)}
        if clean["catalogue"] != file_hash(self.catalogue):
            raise ProjectError(
                f"the catalogue has changed since the images were cleaned; run: linnaeus clean {self.root}"
            )
        if clean["decisions"] != read_decisions(self.decisions).changing:
            raise ProjectError(
                f"{self.decisions} has changed since the images were cleaned; run: linnaeus clean {self.root}"
            )
        if split["own_table"] is None and split["table"] != hashes["clean"]:
            raise ProjectError(f"the clean copy has changed since it was split; run: linnaeus split {self.root}")
        return hashes

    def is_trained_on_current(self, model_id: str) -> bool:
        """Whether a run was trained on the images and splits that the project has now."""
        return bool(self.current_inputs().items() <= self.stamp(f"train-{model_id}")["inputs"].items())

    def costs(self) -> tuple[StageCost, ...]:
        """What each finished stage took, in the order in which they finished."""
        stamps = [read_json(path) for path in sorted((self.root / "stages").glob("*.json"))]
        stamps.sort(key=lambda stamp: stamp["finished"])
        return tuple(StageCost(s["stage"], s["seconds"], s["peak_memory_mib"]) for s in stamps)

    def _stamp_path(self, stage: str) -> Path:
        return self.root / "stages" / f"{stage}.json"


def open_project(project: "Project | str | Path") -> Project:
    """The project in a folder. Raises ProjectError where the path is a file."""
    root = project.root if isinstance(project, Project) else Path(project)
    if root.is_file():
        raise ProjectError(f"{root} is a file, not a project folder")
    return Project(root)


def create_project(images: Path, project: "Project | str | Path | None" = None) -> Project:
    """The project for an image folder, by default ./<name of the folder>-linnaeus; made where it is not there yet.

    A project whose images were moved is told where they are now. Raises ProjectError where project and images would lie
    inside one another, where the project is about other images, or where the folder holds something else.
    """
    images = images.resolve()
    opened = open_project(project or Path.cwd() / f"{images.name}-linnaeus")
    root = opened.root.resolve()
    if root.is_relative_to(images) or images.is_relative_to(root):
        raise ProjectError(
            f"the project {opened.root} and the image folder {images} would lie inside one another, and images are "
            "only ever read; run from elsewhere or give --project"
        )
    facts = opened.root / "project.json"
    if facts.is_file():
        known = Path(read_json(facts)["images"])
        if known == images:
            return opened
        if known.is_dir():
            raise ProjectError(f"the project {opened.root} is about {known}; give --project for a new one")
    elif root.is_dir() and not (root / "stages").is_dir() and any(not p.name.startswith(".") for p in root.iterdir()):
        raise ProjectError(f"{opened.root} holds other things and is no project; give --project a new folder")
    write_json(facts, {"images": str(images), "linnaeus": version("linnaeus"), "created": now()})
    return opened


def now() -> str:
    """The time, UTC, as ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def peak_memory_mib() -> float:
    """The most memory this process has held so far, MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)
