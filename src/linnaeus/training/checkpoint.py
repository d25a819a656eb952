"""Where a training stands, kept on disk while it runs, so that one that is killed can go on."""

import logging
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from zipfile import ZipFile

import torch

from linnaeus.errors import TrainingError
from linnaeus.files import write_with

logger = logging.getLogger(__name__)

FORMAT = 1

Resume = bool | Literal["if-it-fits"]


@dataclass
class Standing:
    """How far a training is: finished epochs, finished steps and sums of the one that has begun, and what was best.

    `loss`, `correct`, `seen`: sums over the images of the epoch that has begun; `seconds` that it has taken so far.
    `part`: images that go through the network at once, fewer than a batch once memory ran out; 0 for whole batches.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    part: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    rows: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def begin_epoch(self) -> None:
        """Forget the sums of the epoch before."""
        self.step = self.seen = 0
        self.loss = self.correct = self.seconds = 0.0


@dataclass
class Checkpoints:
    """The one checkpoint of a training: `folder`/state.pt, written whole.

    key: of everything the training is made from; a checkpoint with another key is of another training.
    every_seconds: how much work a kill may cost at most. resume: whether to go on from what is there; "if-it-fits"
    begins anew where that is of another training, True then raises.
    """

    folder: Path
    key: str
    every_seconds: float = 30.0
    resume: Resume = False

    def __post_init__(self) -> None:
        self.saved_at = monotonic()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "state.pt"

    def is_due(self) -> bool:
        """Whether the last one was written `every_seconds` ago."""
        return monotonic() - self.saved_at >= self.every_seconds

    def save(self, standing: Standing, tensors: dict[str, Any]) -> None:
        """Write where the training stands, in place of the checkpoint before.

        Raises TrainingError where that cannot be written; the one before is kept.
        """
        content = {"format": FORMAT, "key": self.key, "standing": asdict(standing), **tensors}
        try:
            write_with(self.path, lambda partial: torch.save(content, partial))
        except (OSError, RuntimeError) as error:  # of a full disk, torch's writer raises the latter
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"{self.path} could not be written ({reason}); is the disk full? The checkpoint before, if there was "
                "one, is kept: make room, and train with --resume"
            ) from None
        self.saved_at = monotonic()

    def load(self) -> tuple[Standing, dict[str, Any]] | None:
        """Where the training stood and its tensors; None where it is to begin anew.

        Raises TrainingError where `resume` is True and there is a checkpoint, but of another training, or damaged.
        """
        if not self.resume or not self.path.is_file():
            return None
        content = _undamaged(self.path)
        problem = self._problem(content)
        if content is not None and problem is None:
            return Standing(**content["standing"]), content
        if self.resume is True:
            raise TrainingError(f"{self.path} {problem}; delete it, or train without --resume")
        logger.warning("%s %s; training begins anew", self.path, problem)
        return None

    def _problem(self, content: dict[str, Any] | None) -> str | None:
        """Why it is not possible to go on from a checkpoint; None where it is."""
        if content is None:
            return "is damaged"
        if content["format"] != FORMAT or content["standing"].keys() != {each.name for each in fields(Standing)}:
            return "was written by another version"
        return None if content["key"] == self.key else "is of a training on other images, splits or settings"


def _undamaged(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None where the file is not what was written, or never was one."""
    try:
        with ZipFile(path) as archive:
            is_whole = archive.testzip() is None  # torch does not look at the check sums
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # unpickling has errors of its own
        return None
    is_checkpoint = isinstance(content, dict) and {"format", "key", "standing"} <= content.keys()
    return content if is_whole and is_checkpoint else None
