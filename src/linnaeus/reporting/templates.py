"""The templates of this folder, with the words that they use."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from linnaeus.evaluation.paired import sentence
from linnaeus.reporting import words

WORDS = (words.percent, words.counted, words.duration, words.number, words.listing, words.escaped, sentence)


def template(name: str) -> Template:
    """A template by its file's name; what it is given is escaped where it makes HTML."""
    environment = Environment(
        autoescape=name.endswith(".html"),
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {word.__name__: word for word in WORDS}
    return environment.get_template(name)
