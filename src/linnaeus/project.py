"""The project folder: the only file that knows its layout, and which stages are finished.

pets-linnaeus/
  project.json             the image folder, and the version that made this
  catalogue.csv .parquet   a row an image          excluded.csv .parquet        what was left out, and why
  clean/                   the normalised copy     clean.csv .parquet           its catalogue
  clean-excluded.csv ...   lost while cleaning     splits.csv .parquet          the manifest
  features/                activations of frozen trunks, by content
  runs/<model_id>/         one folder a model (see runs.py)
  results.csv              a row a run             leaderboard.csv .parquet     ranked by validation
  figures/                 pictures of the whole   report.html                  the report
  stages/<stage>.json      what each finished stage was made from, and what it took
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from linnaeus.errors import ProjectError
from linnaeus.files import fingerprint, read_json, write_json
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
    def features(self) -> Path:
        """The cache of activations."""
        return self.root / "features"

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
        return Path(read_json(path)["images"])

    def stamp(self, stage: str) -> dict[str, Any]:
        """What a finished stage was made from. Raises ProjectError, with what to run, where it is not finished."""
        path = self._stamp_path(stage)
        if not path.is_file():
            verb, _, name = stage.partition("-")
            option = f" --recipe {name}" if verb == "train" else ""
            what = f"{verb} of {name}" if name else verb
            raise ProjectError(f"{self.root}: {what} has not run yet; run: linnaeus {verb} {self.root}{option}")
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
        if path.is_file() and not force:
            stamp = read_json(path)
            if stamp["key"] == key and all(output.exists() for output in outputs):
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
        return [c.stage.removeprefix("train-") for c in self.costs() if c.stage.startswith("train-")]

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

    Raises ProjectError where the project would lie among the images, or belongs to another image folder.
    """
    images = images.resolve()
    opened = open_project(project or Path.cwd() / f"{images.name}-linnaeus")
    if opened.root.resolve().is_relative_to(images):
        raise ProjectError(
            f"the project {opened.root} would lie inside the image folder {images}, which is only ever read; "
            "run from elsewhere or give --project"
        )
    facts = opened.root / "project.json"
    if facts.is_file() and Path(read_json(facts)["images"]) != images:
        known = read_json(facts)["images"]
        raise ProjectError(f"the project {opened.root} is about {known}; give --project for a new one")
    if not facts.is_file():
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
