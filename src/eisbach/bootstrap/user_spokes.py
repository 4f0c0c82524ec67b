"""The user's own spokes: found in a folder and by entry point, loaded beside the built-in ones, reloaded when changed.

Promises: a file that does not load is said with its error and left out, and hurts no other; a changed file takes the
place of its old spokes without losing an event, since their positions are durable. Code here runs with the rights of
the spoke host, which confines itself first.
"""

import re
import types
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from eisbach.kernel.errors import EisbachError
from eisbach.ports.clock import Clock
from eisbach.ports.spoke import SpokeSpec

__all__ = ["ENTRY_POINTS", "Loaded", "UserSpokes", "load_spokes"]

ENTRY_POINTS: Final = "eisbach.spokes"
"""Group of entry points: each names a ``SpokeSpec``, or a list of them, of an installed package."""
_LOOK_EVERY_S: Final = 1.0
_ERROR_CHARS: Final = 500
_MODULE: Final = re.compile(r"(?!test_|conftest$)[A-Za-z]\w*")
"""Names of files that are read: a spoke's test may lie beside it."""

_logger = structlog.get_logger(__name__)


class Loaded(NamedTuple):
    """What was found."""

    specs: Sequence[SpokeSpec]
    refused: Mapping[str, str]
    """File name or entry point -> why its spokes do not run."""


Loader = Callable[[Path], list[SpokeSpec]]


def load_spokes(
    folder: str, *, taken: frozenset[str] = frozenset(), others: Mapping[str, Loader] | None = None
) -> Loaded:
    """Every ``SpokeSpec`` at the top of ``*.py`` in ``folder``, by file name, then those of installed packages.

    ``taken``: names of built-in spokes, which nobody may have a second time. ``others``: file name -> what reads it.
    """
    specs: list[SpokeSpec] = []
    refused: dict[str, str] = {}
    names = set(taken)
    for where, load in [*_files(folder), *_others(folder, others or {}), *_installed()]:
        try:
            found = load()
            twice = {spec.name for spec in found} & names
            if twice or len({spec.name for spec in found}) < len(found):
                raise ValueError(f"spoke name {', '.join(sorted(twice)) or 'of this file'} is taken; choose another")
        except Exception as error:
            # Any error may come out of somebody else's module; it is said with its traceback.
            _logger.exception("spokes_refused", where=where)
            refused[where] = f"{type(error).__name__}: {error}"[:_ERROR_CHARS]
            continue
        names |= {spec.name for spec in found}
        specs += found
    return Loaded(specs, refused)


class UserSpokes:
    """Looks at the folder once a second and hands on what changed."""

    def __init__(
        self,
        folder: str,
        *,
        taken: frozenset[str],
        use: Callable[[Sequence[SpokeSpec]], Awaitable[None]],
        others: Mapping[str, Loader] | None = None,
    ) -> None:
        """``use``: makes these, and no others, the user's spokes that run; ``others``: see ``load_spokes``."""
        self._folder, self._taken, self._use, self._others = folder, taken, use, others or {}
        self.refused: Mapping[str, str] = {}

    async def run(self, clock: Clock) -> None:
        """Look for ever."""
        seen: object = None
        while True:
            found = _fingerprint(self._folder, self._others)
            if found != seen:
                seen = found
                loaded = load_spokes(self._folder, taken=self._taken, others=self._others)
                self.refused = loaded.refused
                try:
                    await self._use(loaded.specs)
                except EisbachError as error:
                    self.refused = {**loaded.refused, self._folder: str(error)}
                _logger.info("spokes_loaded", spokes=[spec.name for spec in loaded.specs], refused=dict(self.refused))
            await clock.sleep(_LOOK_EVERY_S)


def _paths(folder: str) -> list[Path]:
    if not folder or not Path(folder).is_dir():
        return []
    return [path for path in sorted(Path(folder).glob("*.py")) if _MODULE.fullmatch(path.stem)]


def _others(folder: str, loaders: Mapping[str, Loader]) -> list[tuple[str, Callable[[], list[SpokeSpec]]]]:
    there = [(Path(folder) / name, load) for name, load in loaders.items() if folder]
    return [(path.name, lambda path=path, load=load: load(path)) for path, load in there if path.is_file()]  # type: ignore[misc]


def _fingerprint(folder: str, others: Mapping[str, Loader]) -> tuple[tuple[str, int, int], ...]:
    paths = [*_paths(folder), *(Path(folder) / name for name in others if folder and (Path(folder) / name).is_file())]
    try:
        return tuple((path.name, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in paths)
    except OSError:
        return (("changing", 0, 0),)  # a file went away between the two looks: look again in a second


def _files(folder: str) -> list[tuple[str, Callable[[], list[SpokeSpec]]]]:
    return [(path.name, lambda path=path: _of_file(path)) for path in _paths(folder)]  # type: ignore[misc]


def _of_file(path: Path) -> list[SpokeSpec]:
    # Compiled here and not by importlib, whose cache takes a file that was saved twice in one second for unchanged.
    module = types.ModuleType(f"eisbach_user_spokes.{path.stem}")
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the user's own code is the point
    return [value for value in vars(module).values() if isinstance(value, SpokeSpec)]


def _installed() -> list[tuple[str, Callable[[], list[SpokeSpec]]]]:
    return [(point.name, lambda point=point: _of_point(point.load())) for point in entry_points(group=ENTRY_POINTS)]  # type: ignore[misc]


def _of_point(value: object) -> list[SpokeSpec]:
    found = [value] if isinstance(value, SpokeSpec) else list(value) if isinstance(value, list | tuple) else []
    if not found or not all(isinstance(spec, SpokeSpec) for spec in found):
        raise TypeError(f"the entry point names a {type(value).__name__}; name a spoke or a list of spokes")
    return found
