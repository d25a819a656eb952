"""Pictures as the page holds them: inside it, each with its text alternative."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from linnaeus.reporting.facts import ReportFacts


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, empty where it could not be read, with its text alternative."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Thumbnail:
    """A small picture with what is written below it."""

    picture: Picture
    lines: tuple[str, ...]
    relpath: str


def small(facts: ReportFacts, folder: str, relpath: str, alt: str) -> Picture:
    """The thumbnail of an image of the "raw" or the "clean" folder."""
    jpeg = facts.read_small(folder, relpath)
    return Picture("" if jpeg is None else _data_uri(jpeg, "image/jpeg"), alt)


def stored(read: Callable[[str], bytes], name: str, alt: str) -> Picture:
    """A JPEG that a run keeps, by its name."""
    try:
        return Picture(_data_uri(read(name), "image/jpeg"), alt)
    except OSError:
        return Picture("", alt)


def embedded(png: bytes, alt: str) -> Picture:
    """A drawn figure."""
    return Picture(_data_uri(png, "image/png"), alt)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
