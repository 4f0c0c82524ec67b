"""A TOML file with the line of every key, so that an error can say where.

Promises: bounded (256 KiB, UTF-8); a wrong file is ``Invalid`` with file and line, whatever its bytes are.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eisbach.kernel.errors import Invalid

__all__ = ["Source", "parse_source", "read_source"]

_BYTES_MAX: Final = 256 << 10
_WORD: Final = r'(?:[A-Za-z0-9_-]+|"[^"\n]*"|\'[^\'\n]*\')'
_PATH: Final = rf"{_WORD}(?:\s*\.\s*{_WORD})*"
_HEADER: Final = re.compile(rf"^\s*(\[\[?)\s*({_PATH})\s*\]")
_KEY: Final = re.compile(rf"^\s*({_PATH})\s*=")
_INLINE: Final = re.compile(r"[{,]\s*([A-Za-z0-9_-]+)\s*=")
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file. ``lines`` has the line of each path; list members are numbered from 0."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[Place, int]

    def refuse(self, path: Place, why: str) -> Invalid:
        """The error for a place: ``file:line: a.b: why``."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 1)
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        return Invalid(f"{self.name}:{line}: {where}: {why}" if where else f"{self.name}:{line}: {why}")


def read_source(path: Path) -> Source:
    """Read and parse a file.

    Raises:
        Invalid: it cannot be read, is too large, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    return parse_source(raw, str(path))


def parse_source(raw: bytes, name: str) -> Source:
    """Parse bytes; see ``read_source``."""
    if len(raw) > _BYTES_MAX:
        raise Invalid(f"{name}: larger than {_BYTES_MAX} bytes; a workload is a page of text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Invalid(f"{name}:{line}: not UTF-8 text (byte {error.start})") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise Invalid(f"{name}:{line}: not TOML: {error}") from error
    except (RecursionError, ValueError) as error:
        raise Invalid(f"{name}:1: not TOML: {type(error).__name__}; nested too deep or a number too long") from error
    return Source(name, data, _lines(text))


def _lines(text: str) -> dict[Place, int]:
    """Where keys stand. Reads lines, not TOML: inside a text of several lines it may name a wrong one, never fail."""
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _split(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                found.setdefault(table, number)
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *_split(key[1]))
            found.setdefault(path, number)
            for inner in _INLINE.finditer(line, key.end()):
                found.setdefault((*path, inner[1]), number)
    return found


def _split(path: str) -> Place:
    return tuple(word.strip("\"'") for word in re.findall(_WORD, path))
