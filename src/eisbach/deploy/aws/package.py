"""The functions' code as one archive, made without Docker: locked wheels for the target, our sources, nothing else.

Promises: equal inputs give equal bytes; every wheel is checked against its hash; service models of botocore that no
function calls are left out; an archive that Lambda would refuse, or over our own bound, is refused with its largest
parts. The archive is never run here when the target is another machine.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import eisbach
from eisbach.kernel.errors import Invalid, Unavailable

__all__ = ["TARGETS", "Packed", "Target", "build_package", "sources"]

_REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
_SOURCES: Final = Path(eisbach.__file__).parent
_LEFT_OUT: Final = (
    "web/static", "plan", "testing", "cli", "edge", "deploy/laptop", "deploy/burst", "deploy/aws/stacks",
    "deploy/aws/requirements.txt",
)  # fmt: skip
"""Of our own: what no function imports."""
_SERVICES: Final = frozenset({"dynamodb", "sns", "sqs", "s3", "secretsmanager", "sts"})
"""Service models of botocore that are kept; all of them are 27 MB."""
_JUNK: Final = ("__pycache__", "bin", "pycparser", "wrapt-stubs", "tests", "cffi", "zoneinfo")
"""Folders: of builds and tests, and dateutil's copy of the time zones, which nothing here asks for."""
_NEEDLESS: Final = ("_websocket/*.so", "_testcapi.*.so", "_helpers_c.*.so", "_frozenlist.*.so", "examples-1.json*")
"""Files: aiohttp's WebSockets, which no function speaks, and two small helpers have the same in Python."""
_ZIPPED_MAX: Final = 10 * 1000 * 1000
_UNZIPPED_MAX: Final = 250 * 1000 * 1000
"""Lambda's own bound."""
_SECONDS_MAX: Final = 600
_DATE: Final = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What it is for."""

    python: str
    platform: str
    """As uv names it."""
    wheels: tuple[str, ...]
    """As pip names it."""


TARGETS: Final = {
    "lambda-arm64": Target(
        python="3.14",
        platform="aarch64-manylinux_2_28",
        wheels=("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    ),
    "here": Target(python=f"{sys.version_info[0]}.{sys.version_info[1]}", platform="", wheels=()),
}
"""``here`` is for rehearsals on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was made."""

    path: Path
    target: str
    zipped: int
    unzipped: int
    """Bytes."""
    largest: Sequence[tuple[str, int]]
    """Top-level parts and their bytes, the largest first."""


def build_package(path: Path, *, target: str = "lambda-arm64") -> Packed:
    """Write the archive to ``path``; needs PyPI, or what its client has cached.

    Raises:
        Invalid: no such target, ``path`` cannot be written, or the archive is too large.
        Unavailable: the wheels could not be had; the message has the installer's last words.
    """
    if target not in TARGETS:
        raise Invalid(f"target {target[:40]!r} is not one of {', '.join(TARGETS)}")
    unfinished = _room(path)
    with tempfile.TemporaryDirectory(prefix="eisbach-package-") as name:
        folder = Path(name) / "code"
        folder.mkdir()
        _install(folder, TARGETS[target])
        _trim(folder)
        for file in sources():
            place = folder / "eisbach" / file.relative_to(_SOURCES)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        unzipped = {part.name: _size(part) for part in folder.iterdir()}
        _zip(folder, unfinished)
    unfinished.replace(path)
    largest = sorted(unzipped.items(), key=lambda part: (-part[1], part[0]))
    packed = Packed(
        path=path,
        target=target,
        zipped=path.stat().st_size,
        unzipped=sum(unzipped.values()),
        largest=largest[:10],
    )
    if packed.zipped > _ZIPPED_MAX or packed.unzipped > _UNZIPPED_MAX:
        path.unlink()
        parts = ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in largest[:5])
        raise Invalid(
            f"the package has {packed.zipped / 1e6:.1f} MB zipped (at most {_ZIPPED_MAX / 1e6:.0f}) and "
            f"{packed.unzipped / 1e6:.1f} MB unzipped (at most {_UNZIPPED_MAX / 1e6:.0f}); largest: {parts}"
        )
    return packed


def sources() -> Iterator[Path]:
    """Our own files that go into the archive, in order."""
    for path in sorted(_SOURCES.rglob("*")):
        where = path.relative_to(_SOURCES).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not where.startswith(_LEFT_OUT):
            yield path


def _install(folder: Path, target: Target) -> None:
    uv = shutil.which("uv") or _beside(Path(sys.prefix).parent / ".uv" / "bin" / "uv")
    if uv is not None:
        platform = ["--python-platform", target.platform, "--python-version", target.python] if target.platform else []
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder), *platform]
    else:
        wheels = [word for wheel in target.wheels for word in ("--platform", wheel)]
        version = ["--python-version", target.python, "--implementation", "cp"] if target.wheels else []
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *wheels, *version]
    command += ["--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(_REQUIREMENTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the wheels did not come within {_SECONDS_MAX} s") from error
    if done.returncode:
        raise Unavailable(f"{Path(command[0]).name} could not install the wheels: {done.stderr.strip()[-600:]}")


def _beside(path: Path) -> str | None:
    return str(path) if path.exists() else None


def _trim(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name in _JUNK:
            shutil.rmtree(path)
        elif path.parent.suffix == ".dist-info" and path.name != "METADATA":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.suffix in (".pyi", ".pyx", ".pxd", ".c", ".h") or any(path.match(p) for p in _NEEDLESS):
            path.unlink()
    (folder / ".lock").unlink(missing_ok=True)  # uv's own, of the installation
    for path in sorted((folder / "botocore" / "data").iterdir()):
        if path.is_dir() and path.name not in _SERVICES:
            shutil.rmtree(path)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _room(path: Path) -> Path:
    """Where the archive is written before it gets its name; tried before wheels are fetched for minutes."""
    unfinished = path.with_name(path.name + ".unfinished")
    if path.is_dir():
        raise Invalid(f"--out {path} is a folder; name a file, such as {path / 'eisbach-lambda.zip'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        unfinished.unlink()
    except OSError as error:
        raise Invalid(f"--out {path} cannot be written ({error.strerror}); name another place") from error
    return unfinished


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix(), date_time=_DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
