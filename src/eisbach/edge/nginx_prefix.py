"""A folder that an nginx runs on (``nginx -p``): files are tested aside, moved in whole, and reloaded on change only.

Promises: what nginx would refuse never gets into the folder; the configuration text is moved in last; a crash between
move and reload is made good by the next ``put``, because the digest of what nginx was told stands in ``applied``.
Never starts or stops nginx: whoever supervises it does.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.limits import MIB

__all__ = ["CONFIG", "NginxPrefix", "write_whole"]

CONFIG: Final = "nginx.conf"
_APPLIED: Final = "applied"
_PID: Final = "n.pid"
_LOGS: Final = ("access.log", "error.log")
_LOG_BYTES_MAX: Final = 32 * MIB
"""Of one log file; one older one is kept beside it."""
_TEST_WAIT_S: Final = 10.0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, fsynced, readable by its owner only.

    Raises:
        OSError: the disk refused; it has the path, which a write to a descriptor does not know.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class NginxPrefix:
    """One nginx."""

    def __init__(self, folder: Path, *, nginx: str) -> None:
        """``nginx``: path of the binary that tests; the running one is found by its pid file."""
        self._folder, self._nginx = folder, nginx
        self.reloads = 0

    async def check(self, files: Mapping[str, bytes]) -> None:
        """``nginx -t`` over ``files`` in a folder aside.

        Raises:
            Invalid: with nginx's own words; nothing was changed.
            Unavailable: the binary cannot be run.
        """
        aside = self._folder / "next"
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in files.items():
            write_whole(aside / name, content)
        command = [self._nginx, "-t", "-p", f"{aside}/", "-e", "error.log", "-c", CONFIG]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise Unavailable(f"nginx at {self._nginx!r} cannot be run: {error}; set EISBACH_NGINX") from error
        try:
            _, said = await asyncio.wait_for(process.communicate(), _TEST_WAIT_S)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise Unavailable(
                f"nginx -t gave no answer within {_TEST_WAIT_S:.0f} s; the old configuration stays"
            ) from error
        # By its words, not its exit code: the supervisor reaps whatever dies, and its loop then knows no code.
        if b"test is successful" not in said:
            words = said.decode(errors="replace").strip()[-500:]
            raise Invalid(f"configuration for {self._folder.name} refused by nginx: {words}; the old one stays")

    def holds(self, files: Mapping[str, bytes]) -> bool:
        """Whether nginx was told exactly these files, and they still lie here."""
        told = self._read(_APPLIED) == _digest(files)
        return told and all(self._read(name) == content for name, content in files.items())

    def put(self, files: Mapping[str, bytes]) -> None:
        """Move checked files in, the configuration last, and have a running nginx reload."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in sorted(files, key=lambda name: (name == CONFIG, name)):
            write_whole(self._folder / name, files[name])
        self._signal(signal.SIGHUP)
        write_whole(self._folder / _APPLIED, _digest(files))
        self.reloads += 1

    def rotate_logs(self) -> None:
        """Set a log aside that has grown large; without this nginx would fill the disk."""
        for name in _LOGS:
            log = self._folder / name
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > _LOG_BYTES_MAX:
                    log.rename(self._folder / f"{name}.1")
                    self._signal(signal.SIGUSR1)

    @property
    def running(self) -> bool:
        """Whether an nginx runs on this folder."""
        return self._master() is not None

    def _signal(self, number: signal.Signals) -> None:
        pid = self._master()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago; the next start reads the new files
                os.kill(pid, number)

    def _master(self) -> int | None:
        """The pid, if that process is this folder's nginx: a pid file outlives a kill, and pids are used again."""
        try:
            pid = int(self._read(_PID) or b"")
            os.kill(pid, 0)
            command = Path(f"/proc/{pid}/cmdline")
            ours = (
                not command.parent.parent.joinpath("self").exists()
                or str(self._folder).encode() in command.read_bytes()
            )
        except (ValueError, OSError):
            return None
        return pid if ours else None

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None


def _digest(files: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest().encode()
