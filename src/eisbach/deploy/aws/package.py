"""The functions' code as one archive, made without Docker: locked wheels for the target, our sources, nothing else.

Promises: equal inputs give equal bytes; every wheel is checked against its hash, and then made smaller (``shrinking``);
what functions load is compiled where there is an interpreter of their version (``compiling``), and else it is said that
it is not; an archive that Lambda would refuse, or over our own bound, is refused with its largest parts. The archive is
never run here when the target is another machine.
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
from eisbach.deploy.aws.compiling import compile_modules, find_interpreter, version_of
from eisbach.deploy.aws.shrinking import shrink
from eisbach.kernel.errors import Invalid, Unavailable

__all__ = ["TARGETS", "Packed", "Target", "build_package", "sources"]

_REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
_SOURCES: Final = Path(eisbach.__file__).parent
_LEFT_OUT: Final = (
    "web/static", "plan", "testing", "cli", "edge", "deploy/laptop", "deploy/burst", "deploy/aws/stacks",
    "deploy/aws/requirements.txt", "deploy/aws/loaded.txt", "deploy/aws/account.py", "deploy/aws/burst",
    "deploy/aws/cold_start.py", "deploy/aws/compiling.py", "deploy/aws/deployer.py", "deploy/aws/diff.py",
    "deploy/aws/key_material.py", "deploy/aws/lint.py", "deploy/aws/node.py", "deploy/aws/package.py",
    "deploy/aws/promises.py", "deploy/aws/proof.py", "deploy/aws/shrinking.py", "deploy/aws/synth.py",
    "bootstrap/agent.py", "bootstrap/bounded_http.py", "bootstrap/control.py", "bootstrap/control_calls.py",
    "bootstrap/control_peers.py", "bootstrap/entrance.py", "bootstrap/hub.py", "bootstrap/kinds.py",
    "bootstrap/link.py", "bootstrap/logs.py", "bootstrap/pages.py", "bootstrap/restore_cell.py",
    "bootstrap/single.py", "bootstrap/tools.py", "cell/paced_peer.py", "control/burst.py", "control/leaving.py",
    "control/losses.py", "control/lost_", "control/region_health.py", "control/slot_map.py",
    "engines/embedded/company.py", "engines/embedded/gaps.py", "engines/embedded/item_cache.py",
    "engines/embedded/presence.py", "hub/store_lost.py", "media/demo.py", "media/scenes.py",
)  # fmt: skip
"""Of our own: what no function imports; of the deployment only what functions read their documents with."""
_ABSENT: Final = (b"\nimport apsw", b"\nfrom apsw", b"\nimport nats", b"\nfrom nats")
"""Nor any module that imports what is not in the archive, nor any that imports such a one."""
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


PYTHON: Final = "3.13"
"""The functions' runtime; the stacks ask for the same."""
TARGETS: Final = {
    "lambda-arm64": Target(
        python=PYTHON,
        platform="aarch64-manylinux_2_28",
        wheels=("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    ),
    "lambda-x86-64": Target(
        python=PYTHON,
        platform="x86_64-manylinux_2_28",
        wheels=("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    ),
    "here": Target(python=f"{sys.version_info[0]}.{sys.version_info[1]}", platform="", wheels=()),
}
"""``here`` is for rehearsals on this machine and its Python, ``lambda-x86-64`` for those on Lambda's Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was made."""

    path: Path
    target: str
    compiled: int
    """Modules; 0: there is no interpreter of the functions' version here."""
    compiled_by: str
    """Its version."""
    zipped: int
    unzipped: int
    """Bytes."""
    largest: Sequence[tuple[str, int]]
    """Top-level parts and their bytes, the largest first."""


def build_package(path: Path, *, target: str = "lambda-arm64", interpreter: Path | None = None) -> Packed:
    """Write the archive to ``path``; needs PyPI, or what its client has cached.

    Args:
        path: a file.
        target: of ``TARGETS``.
        interpreter: compiles modules; without, one of the target's version is looked for.

    Raises:
        Invalid: no such target, an interpreter of another version, ``path`` cannot be written, or too large.
        Unavailable: the wheels could not be had; the message has the installer's last words.
    """
    if target not in TARGETS:
        raise Invalid(f"target {target[:40]!r} is not one of {', '.join(TARGETS)}")
    interpreter = _compiler(TARGETS[target].python, interpreter)
    unfinished = _room(path)
    with tempfile.TemporaryDirectory(prefix="eisbach-package-") as name:
        folder = Path(name) / "code"
        folder.mkdir()
        _install(folder, TARGETS[target])
        shrink(folder)
        for file in sources():
            place = folder / "eisbach" / file.relative_to(_SOURCES)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        compiled = compile_modules(folder, interpreter) if interpreter else 0
        unzipped = {part.name: _size(part) for part in folder.iterdir()}
        _zip(folder, unfinished)
    unfinished.replace(path)
    largest = sorted(unzipped.items(), key=lambda part: (-part[1], part[0]))
    packed = Packed(
        path=path,
        target=target,
        compiled=compiled,
        compiled_by=version_of(interpreter)[0] if interpreter else "",
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
    """Our own files that go into the archive, in order: none that would fail to import."""
    found: dict[Path, bytes] = {}
    absent = list(_ABSENT)
    for path in sorted(_SOURCES.rglob("*")):
        where = path.relative_to(_SOURCES).as_posix()
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        if where.startswith(_LEFT_OUT):
            absent.append(_import_of(path))
        else:
            found[path] = path.read_bytes()
    while useless := [path for path, content in found.items() if any(word in content for word in absent)]:
        absent = [_import_of(path) for path in useless]
        for path in useless:
            del found[path]
    yield from found


def _import_of(path: Path) -> bytes:
    """How a module that cannot do without it begins a line."""
    words = path.relative_to(_SOURCES.parent).with_suffix("").parts
    return b"\nfrom " + ".".join(words).encode() + b" import"


def _compiler(python: str, asked: Path | None) -> Path | None:
    if asked is None:
        return find_interpreter(python)
    version, _ = version_of(asked)
    if not version.startswith(f"{python}."):
        raise Invalid(
            f"{asked} is Python {version or '?'}; functions run on {python}, and read its compiled files only"
        )
    return asked


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
