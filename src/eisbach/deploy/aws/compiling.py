"""Compiled modules for the functions' archive: a cold start spends three fifths of its CPU on compiling without them.

Promises: compiled by an interpreter of the functions' own minor version, whose format no other one reads; equal sources
and an equal interpreter give equal bytes. Only what functions load at a start is compiled (``loaded.txt``; a test holds
it to what they load), since all of it would be above the archive's bound. Files of others are then without their
source, for the same reason: a traceback names file and line, and quotes no line. Ours keep theirs.
May not know: wheels, targets.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid

__all__ = ["LOADED", "compile_modules", "find_interpreter", "loaded_modules", "version_of"]

LOADED: Final = Path(__file__).parent / "loaded.txt"
_OURS: Final = "eisbach"
_KEPT_BY: Final = (".pyenv/versions/{0}*/bin/python{0}", ".local/share/uv/python/cpython-{0}*/bin/python{0}")
"""Where pyenv and uv put interpreters, below the home folder."""
_ASKED: Final = (
    "import sys, importlib.util as i; print('.'.join(map(str, sys.version_info[:3])), i.cache_from_source('x.py'))"
)
_CODE: Final = """
import os, py_compile, sys
folder, *names = sys.stdin.read().splitlines()
for line in names:
    source, compiled = line.split("\\t")
    py_compile.compile(
        os.path.join(folder, source), os.path.join(folder, compiled), source, doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
"""
_SECONDS_MAX: Final = 300


def loaded_modules() -> list[str]:
    """Files that functions load at a start, as ``aiohttp/client.py``, in order."""
    return [line for line in LOADED.read_text().splitlines() if line and not line.startswith("#")]


def version_of(interpreter: Path) -> tuple[str, str]:
    """``3.13.5`` and the tag in names of compiled files (``cpython-313``); empty where it does not run."""
    try:
        done = subprocess.run(
            [str(interpreter), "-I", "-S", "-c", _ASKED], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    version, _, cached = done.stdout.strip().partition(" ")
    return (version, cached.split(".")[-2]) if done.returncode == 0 and cached else ("", "")


def find_interpreter(python: str) -> Path | None:
    """One of this minor version (``3.13``) that runs here: this one, on the path, pyenv's, uv's."""
    return next((path for path in _candidates(python) if version_of(path)[0].startswith(f"{python}.")), None)


def _candidates(python: str) -> Iterator[Path]:
    yield Path(sys.executable)
    if found := shutil.which(f"python{python}"):
        yield Path(found)
    for pattern in _KEPT_BY:
        yield from sorted(Path.home().glob(pattern.format(python)))


def compile_modules(folder: Path, interpreter: Path) -> int:
    """Compile in place what functions load; how many modules.

    Raises:
        Invalid: it does not run, or refuses a file; the message has its last line.
    """
    _, tag = version_of(interpreter)
    if not tag:
        raise Invalid(f"{interpreter} is no Python that runs here")
    files = [name for name in loaded_modules() if (folder / name).is_file()]
    places = {name: _compiled(name, tag) for name in files}
    told = "\n".join([str(folder), *(f"{name}\t{place}" for name, place in places.items())])
    done = subprocess.run(
        [str(interpreter), "-P", "-S", "-B", "-s", "-c", _CODE],
        input=told,
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the order of sets is in the bytes
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Invalid(f"{interpreter} could not compile the package: {said[-1] if said else '?'}")
    for name in files:
        if not name.startswith(f"{_OURS}/"):
            (folder / name).unlink()
    return len(files)


def _compiled(name: str, tag: str) -> str:
    """Ours in the cache folder beside the source; of others in the source's place."""
    path = Path(name)
    if name.startswith(f"{_OURS}/"):
        return str(path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc")
    return str(path.with_suffix(".pyc"))
